"""The one private step: per-example gradients, clipped, summed, noised, scaled. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from clifftop.flow import Batch, ClippedSum, DrawStream, NoisySum, Params, PerExampleGrads
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.noise import NoiseStream
from clifftop.plan import PrivacyPlan

Reduce = Callable[[ClippedSum], ClippedSum]
"""Adds up the clipped sums of processes that share a batch; may work in place."""

Watch = Callable[[Tensor, Tensor], None]
"""Sees a step's mask ``(R, B)`` and weights ``(R, B, G)``; a real example of weight 0 was not finite."""


class Streams(NoiseStream, DrawStream, Protocol):
    """The random draws of one step: normals for the noise, uniforms for the model."""


@dataclass(frozen=True, kw_only=True)
class PrivacyState:
    """What the clipping rule and the noise mechanism carry from step to step, one row a run."""

    clipping: Any
    noise: Any


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a step looked like, one number a run; not private, and part of no release.

    Attributes:
        loss: mean loss over the batch's examples, ``(R,)``; NaN for an empty batch.
        fraction_clipped: share of examples whose gradient was scaled down.
        norm_q10: 10% quantile of the gradients' norms.
        norm_median: their median.
        norm_q90: their 90% quantile.
        clipping_bias: L2 norm of (clipped sum - sum), on the scale of the mean gradient.
        noise_norm: L2 norm of the noise, on the same scale.
        num_nonfinite: how many examples had a loss or a gradient norm that is NaN or infinite; they
            count as zero in the sum.
    """

    loss: Tensor
    fraction_clipped: Tensor
    norm_q10: Tensor
    norm_median: Tensor
    norm_q90: Tensor
    clipping_bias: Tensor
    noise_norm: Tensor
    num_nonfinite: Tensor


@torch.no_grad()
def private_gradient(
    *,
    plan: PrivacyPlan,
    engine: GradientEngine,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    state: PrivacyState,
    streams: Streams,
    diagnose: bool = True,
    microbatch_size: int | None = None,
    reduce: Reduce | None = None,
    realised_size: int | None = None,
    watch: Watch | None = None,
    summing: Summing | None = None,
) -> tuple[NoisySum, PrivacyState, StepRecord | None]:
    """One private gradient for each of R runs.

    An example whose loss or gradient norm is NaN or infinite counts as zero. Nothing here looks at the
    values of tensors, so the step can be traced as one graph if the engine can.

    Args:
        plan: the parts that the runs share; the runs' own numbers are in ``state``.
        engine: gives the per-example gradients.
        loss: the model and the criterion.
        params: trainable parameters, ``(R, ...)`` each.
        batch: one padded batch a run.
        state: from `initial_state`, or the last step.
        streams: this step's random draws.
        diagnose: whether to measure what clipping and noise did, at about a fifth of a step's cost.
        microbatch_size: how many examples go through the engine at once; None for all. Speed and peak
            memory only: the clipped sums are added before any noise, and the result is the same but
            for the order in which floats are added.
        reduce: adds up the clipped sums of processes that hold parts of one batch; noise comes after.
        realised_size: with ``reduce``, the size of the batch over all processes; it matters only to a
            plan without ``expected_batch_size``. By default the examples in ``batch``.
        watch: sees the mask and the weights.
        summing: makes the clipped sum; `clipped_sum` unless given (`clifftop.capture` has a quicker one).

    Returns:
        The noisy sum over the batch size, the next state, and the record (None unless diagnosed). With
        ``reduce``, the record's examples are this process's own.

    Raises:
        ValueError: ``microbatch_size`` is not a whole number >= 1.
    """
    summed = (summing or clipped_sum)(
        plan, engine, loss, params, batch, state, streams, diagnose=diagnose, microbatch_size=microbatch_size
    )
    clipped, seen = summed.clipped, summed.seen
    if watch is not None:
        watch(batch.mask, seen.weights)
    if reduce is not None:
        clipped = reduce(clipped)
    noisy, noise_state = plan.noise(clipped, state.noise, streams)
    size = _divisor(plan, batch, noisy.noise_std, realised_size)
    mean = NoisySum(
        value={name: v / _column(size, v) for name, v in noisy.value.items()},
        noise_std=noisy.noise_std / size,
    )
    record = None
    if diagnose:
        noise = {name: noisy.value[name] - clipped.value[name] for name in noisy.value}
        record = _record(seen, batch.mask, noise, size)
    return mean, PrivacyState(clipping=summed.state, noise=noise_state), record


def initial_state(plans: list[PrivacyPlan], device_of: Tensor) -> PrivacyState:
    """The state before the first step of runs with these plans, which must share their kinds of parts.

    Raises:
        ValueError: a plan with noise has no finite norm bound for the noise to be in proportion to.
    """
    first = plans[0]
    clipping = [plan.clipping.init(device_of=device_of) for plan in plans]
    for plan, one in zip(plans, clipping, strict=True):
        bound = plan.clipping.norm_bound(one)
        silent = getattr(plan.noise, "noise_multiplier", None) == 0
        if not silent and not bool(torch.isfinite(bound).all()):
            raise ValueError(
                f"noise needs a finite norm bound, found norm_bound={bound.tolist()} with {plan.noise}; "
                "set a clip norm, or noise_multiplier=0 for a run without privacy"
            )
    return PrivacyState(
        clipping=first.clipping.stack(clipping),
        noise=first.noise.stack(plan.noise.init(device_of=device_of) for plan in plans),
    )


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


def _divisor(plan: PrivacyPlan, batch: Batch, like: Tensor, realised_size: int | None) -> Tensor:
    """What the sum is divided by, ``(R,)``; the realised size counts at least one example."""
    if plan.expected_batch_size is not None:
        return torch.full_like(like, plan.expected_batch_size)
    if realised_size is not None:
        return torch.full_like(like, max(1, realised_size))
    return batch.mask.sum(1).clamp_min(1).to(like)


def _record(seen: Seen, mask: Tensor, noise: Params, size: Tensor) -> StepRecord:
    count = mask.sum(1)
    norms = seen.sq_norms.sum(-1).sqrt()
    finite = torch.isfinite(norms) & torch.isfinite(seen.losses)
    # A norm that is not a number sorts as an infinite one, and padding behind every example.
    ordered = norms.masked_fill(~mask | norms.isnan(), torch.inf).sort(dim=1).values
    # Lower quantile: the element at floor(q (n - 1)); an empty batch has none.
    places = (torch.tensor([0.1, 0.5, 0.9], device=mask.device) * (count[:, None] - 1).clamp_min(0)).long()
    empty = count == 0
    quantiles = ordered.gather(1, places).masked_fill(empty[:, None], torch.nan)
    clipped = ((seen.weights < 1).any(-1) & mask).sum(1)
    return StepRecord(
        loss=torch.where(mask, seen.losses, 0).sum(1) / count,
        fraction_clipped=clipped / count,
        norm_q10=quantiles[:, 0],
        norm_median=quantiles[:, 1],
        norm_q90=quantiles[:, 2],
        clipping_bias=_norm(seen.removed or {}, like=size) / size,
        noise_norm=_norm(noise, like=size) / size,
        num_nonfinite=(mask & ~finite).sum(1),
    )


def _norm(values: Params, like: Tensor) -> Tensor:
    parts = [torch.linalg.vector_norm(value.reshape(len(value), -1), dim=1) for value in values.values()]
    return torch.linalg.vector_norm(torch.stack(parts), dim=0) if parts else torch.zeros_like(like)


def _column(per_run: Tensor, like: Tensor) -> Tensor:
    return per_run.view(-1, *(1,) * (like.dim() - 1))
