"""A cohort's clipped sums, run by run on a slice of the batch at a time.

Runs of a model that is bound by arithmetic gain nothing from being computed at once, and lose the cache.
Here each slice of the batch goes through one run after another, so that what the runs share (the images'
patches) is made once, and a step's memory is that of one run and one slice, however many runs there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, final

import torch
from torch import Tensor

from clifftop.flow import Batch, Params
from clifftop.gradients import PerExampleLoss
from clifftop.gradients.base import GradientEngine
from clifftop.gradients.chain import Chain, ChainEngine, ClippedSums, slices
from clifftop.gradients.graph.runs import single_runs
from clifftop.gradients.instantiated import without_padding
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Seen, Streams, Summed, clipped_sum


@final
@dataclass(frozen=True, kw_only=True)
class ByRun:
    """Makes a cohort's clipped sums (`clifftop.private_gradient.Summing`).

    Convolutional chains go run by run through `ChainEngine`; every other model, all runs at once, through
    the engine that it is called with.

    Attributes:
        slice_size: how many examples of one run at a time.
        engine: for what goes run by run.
    """

    slice_size: int = 512
    engine: ChainEngine = field(default_factory=ChainEngine)

    def takes(self, loss: PerExampleLoss, params: Params, batch: Batch) -> bool:
        """Whether the model goes run by run: then memory hardly depends on how many runs there are."""
        return self._chain(loss, params, without_padding(batch)) is not None

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
        """The clipped sum of each run; ``microbatch_size`` matters to models that do not go run by run."""
        filled = without_padding(batch)
        chain = self._chain(loss, params, filled)
        if chain is None or filled is None:
            return clipped_sum(
                plan, engine, loss, params, batch, state, streams,
                diagnose=diagnose, microbatch_size=microbatch_size,
            )  # fmt: skip
        runs = list(single_runs(loss, params, filled, ()))
        states = [_row(state.clipping, r) for r in range(len(runs))]
        found = [_Total() for _ in runs]
        groups = plan.clipping.groups(params)
        for rows in slices(batch.padded_size, self.slice_size):
            for run, own, total in zip(runs, states, found, strict=True):
                part = replace(run, batch=_part(run.batch, rows))
                grads = self.engine.one_run(chain, part, groups)
                mask = part.batch.mask & torch.isfinite(grads.losses)
                weigh = _Weighing(plan=plan, mask=mask, state=own)
                total.add(grads.losses, grads.clipped_sums(weigh, diagnose=diagnose))
        seen = _joined(found)
        whole = _Whole(losses=seen.losses, norms=seen.sq_norms, total=_stacked([f.clipped for f in found]))
        mask = batch.mask & torch.isfinite(seen.losses)
        # The rule sees the batch as a whole, once, and says what bound it keeps.
        clipped, _, clipping = plan.clipping(whole, mask, state.clipping)
        return Summed(clipped=clipped, state=clipping, seen=seen)

    def _chain(self, loss: PerExampleLoss, params: Params, filled: Batch | None) -> Chain | None:
        if filled is None:
            return None
        chain = self.engine.chain(loss, params, filled)
        return chain if chain is not None and chain.convolves else None


@final
class _Total:
    """What the slices of one run have given so far."""

    def __init__(self) -> None:
        self.clipped: Params = {}
        self.removed: Params = {}
        self.losses: list[Tensor] = []
        self.sq_norms: list[Tensor] = []
        self.weights: list[Tensor] = []

    def add(self, losses: Tensor, sums: ClippedSums) -> None:
        """Add a slice."""
        _add(self.clipped, sums.clipped)
        _add(self.removed, sums.removed or {})
        self.losses.append(losses)
        self.sq_norms.append(sums.sq_norms)
        self.weights.append(sums.weights)


@final
@dataclass(frozen=True, kw_only=True)
class _Weighing:
    """The clipping rule of one run, on some of its examples."""

    plan: PrivacyPlan
    mask: Tensor
    state: Any

    def __call__(self, sq_norms: Tensor, rows: slice) -> Tensor:
        """Weights ``(1, b, G)``; 0 where an example's loss is not finite."""
        return self.plan.clipping.weights(sq_norms, self.mask[:, rows], self.state)


@final
@dataclass(frozen=True, kw_only=True)
class _Whole:
    """The sums as a clipping rule is shown them: made already."""

    losses: Tensor
    norms: Tensor
    total: Params

    def sq_norms(self) -> Tensor:
        """Of every example, in order."""
        return self.norms

    def weighted_sum(self, weights: Tensor) -> Params:
        """The sum that was made with these weights."""
        del weights
        return self.total


def _part(batch: Batch, rows: slice) -> Batch:
    return Batch(
        inputs=tuple(x[:, rows] for x in batch.inputs),
        targets=tuple(y[:, rows] for y in batch.targets),
        mask=batch.mask[:, rows],
    )


def _row(state: Any, r: int) -> Any:
    """One run's part of a clipping state, whose tensors have the runs on their first axis."""
    tensors = {f.name: getattr(state, f.name) for f in fields(state)}
    return replace(state, **{n: v[r : r + 1] for n, v in tensors.items() if isinstance(v, Tensor)})


def _add(total: Params, more: Params) -> None:
    for name, value in more.items():
        if name in total:
            total[name] += value
        else:
            total[name] = value


def _stacked(sums: list[Params]) -> Params:
    return {name: torch.cat([one[name] for one in sums]) for name in sums[0]}


def _joined(found: list[_Total]) -> Seen:
    removed = _stacked([f.removed for f in found]) if found[0].removed else None
    return Seen(
        losses=torch.cat([torch.cat(f.losses, 1) for f in found]),
        sq_norms=torch.cat([torch.cat(f.sq_norms, 1) for f in found]),
        weights=torch.cat([torch.cat(f.weights, 1) for f in found]),
        removed=removed,
    )
