"""A batch's clipped sum, whole or slice by slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from clifftop.flow import Batch, ClippedSum, DrawStream, Params, PerExampleGrads
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.noise import NoiseStream
from clifftop.plan import PrivacyPlan


class Streams(NoiseStream, DrawStream, Protocol):
    """The random draws of one step: normals for the noise, uniforms for the model."""


@dataclass(frozen=True, kw_only=True)
class PrivacyState:
    """What the clipping rule and the noise mechanism carry from step to step, one row a run."""

    clipping: Any
    noise: Any


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a batch's examples were like; ``removed`` is the sum of what clipping took away."""

    losses: Tensor
    sq_norms: Tensor
    weights: Tensor
    removed: Params | None


@dataclass(frozen=True, kw_only=True)
class Summed:
    """A batch's clipped sum, the clipping rule's next state, and what the examples were like."""

    clipped: ClippedSum
    state: Any
    seen: Seen


class Summing(Protocol):
    """Makes the clipped sum of a batch, as `clipped_sum` does."""

    def __call__(
        self,
        plan: PrivacyPlan,
        engine: GradientEngine,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        state: PrivacyState,
        streams: Streams,
        *,
        diagnose: bool,
        microbatch_size: int | None,
    ) -> Summed:
        """The clipped sum, and all that a step needs besides."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class _Slices:
    """A batch whose slices were summed already: what a clipping rule is shown as the whole."""

    losses: Tensor
    norms: Tensor
    total: Params

    def sq_norms(self) -> Tensor:
        """Of every example, in order."""
        return self.norms

    def weighted_sum(self, weights: Tensor) -> Params:
        """The sum that was made, slice by slice, with these weights."""
        del weights
        return self.total


@final
@dataclass(frozen=True)
class _RowsFrom:
    """The draws of a batch from row ``start`` on, so that a slice draws as it would within the whole."""

    streams: DrawStream
    start: int

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Rows ``start`` to ``start + shape[0]`` of the batch's draws; with ``offset``, so many later."""
        return self.streams.uniform(label, shape, offset=self.start + offset)


def clipped_sum(
    plan: PrivacyPlan,
    engine: GradientEngine,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    state: PrivacyState,
    streams: Streams,
    *,
    diagnose: bool,
    microbatch_size: int | None,
) -> Summed:
    """The batch's clipped sum, in slices of ``microbatch_size`` examples where that is given."""
    groups = plan.clipping.groups(params)
    if microbatch_size is None or batch.padded_size <= microbatch_size:
        grads: PerExampleGrads = engine(loss, params, batch, groups, streams)
        mask = batch.mask & torch.isfinite(grads.losses)
        clipped, weights, clipping_state = plan.clipping(grads, mask, state.clipping)
        seen = _seen(grads, mask, weights, diagnose=diagnose)
        return Summed(clipped=clipped, state=clipping_state, seen=seen)
    parts: list[Seen] = []
    total: Params = {}
    for start, part in _slices(batch, microbatch_size):
        grads = engine(loss, params, part, groups, _RowsFrom(streams, start))
        mask = part.mask & torch.isfinite(grads.losses)
        weights = plan.clipping.weights(grads.sq_norms(), mask, state.clipping)
        total = _plus(total, grads.weighted_sum(weights))
        parts.append(_seen(grads, mask, weights, diagnose=diagnose))
        del grads  # before the next slice needs the memory
    seen = _joined(parts)
    # The rule sees the batch as a whole, once: its next state does not depend on the slices.
    whole = _Slices(losses=seen.losses, norms=seen.sq_norms, total=total)
    mask = batch.mask & torch.isfinite(seen.losses)
    clipped, _, clipping_state = plan.clipping(whole, mask, state.clipping)
    return Summed(clipped=clipped, state=clipping_state, seen=seen)


def _slices(batch: Batch, size: int) -> Iterator[tuple[int, Batch]]:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"microbatch_size must be None or a whole number >= 1, found microbatch_size={size}")
    for start in range(0, batch.padded_size, size):
        rows = slice(start, start + size)
        yield (
            start,
            Batch(
                inputs=tuple(x[:, rows] for x in batch.inputs),
                targets=tuple(y[:, rows] for y in batch.targets),
                mask=batch.mask[:, rows],
            ),
        )


def _seen(grads: PerExampleGrads, mask: Tensor, weights: Tensor, *, diagnose: bool) -> Seen:
    sq_norms = grads.sq_norms()
    removed = None
    if diagnose:
        usable = (mask & torch.isfinite(sq_norms.sum(-1)))[..., None]
        removed = grads.weighted_sum(torch.where(usable, 1 - weights, 0))
    return Seen(losses=grads.losses, sq_norms=sq_norms, weights=weights, removed=removed)


def _joined(parts: list[Seen]) -> Seen:
    """The slices' examples one after another."""
    removed: Params | None = None
    for part in parts:
        removed = None if part.removed is None else _plus(removed or {}, part.removed)
    return Seen(
        losses=torch.cat([part.losses for part in parts], 1),
        sq_norms=torch.cat([part.sq_norms for part in parts], 1),
        weights=torch.cat([part.weights for part in parts], 1),
        removed=removed,
    )


def _plus(total: Params, more: Params) -> Params:
    """The sum, in the memory of ``total``; at first a copy, since an engine may reuse its own."""
    return {name: total[name].add_(v) if name in total else v.clone() for name, v in more.items()}
