"""A cohort's clipped sums, run by run on a slice of the batch at a time.

Runs of a model that is bound by arithmetic gain nothing from being computed at once, and lose the cache.
Here each slice of the batch goes through one run after another, so that what the runs share (the images'
patches) is made once, and a step's memory is that of one run and one slice, however many runs there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from clifftop.flow import Batch, GroupMap, Params
from clifftop.gradients import GraphEngine, PerExampleLoss, UnsupportedModule
from clifftop.gradients.base import GradientEngine, model_signature
from clifftop.gradients.chain import Chain, ChainEngine, ClippedSums, Weigh, slices
from clifftop.gradients.graph.runs import Run, single_runs
from clifftop.gradients.instantiated import without_padding
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Seen, Streams, Summed, clipped_sum
from clifftop.training.memory import held_bytes_per_example

_LARGEST_SLICE = 1024
_SLICE_BYTES = 1 << 28  # what the tensors of one slice of one run may take


class _Way(Protocol):
    """How one run's slice is summed."""

    def __call__(
        self, run: Run, groups: GroupMap, weigh: Callable[[Tensor], Weigh], *, diagnose: bool
    ) -> tuple[Tensor, ClippedSums]:
        """Losses, and sums by what ``weigh`` makes of them."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class ByRun:
    """Makes a cohort's clipped sums (`clifftop.private_gradient.Summing`).

    Models with convolutions go run by run, if they draw no random numbers: chains of common layers
    through `ChainEngine`, others through `GraphEngine`. Every other model, and what these two do not
    take, goes all runs at once through the engine that it is called with.

    Attributes:
        slice_size: how many examples of one run at a time; by default from what an example holds.
        chain: the engine for chains.
        graph: the engine for other models.
    """

    slice_size: int | None = None
    chain: ChainEngine = field(default_factory=ChainEngine)
    graph: GraphEngine = field(default_factory=GraphEngine)

    _ways: WeakKeyDictionary[nn.Module, dict[object, tuple[_Way, int] | None]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def takes(self, loss: PerExampleLoss, params: Params, batch: Batch) -> bool:
        """Whether the model goes run by run: then memory hardly depends on how many runs there are."""
        filled = without_padding(batch)
        return filled is not None and self._way(loss, params, filled) is not None

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
        way = None if filled is None else self._way(loss, params, filled)
        if way is None or filled is None:
            return clipped_sum(
                plan, engine, loss, params, batch, state, streams,
                diagnose=diagnose, microbatch_size=microbatch_size,
            )  # fmt: skip
        sums, size = way
        runs = list(single_runs(loss, params, filled, ()))
        weighings = [_Weighing(plan=plan, state=_row(state.clipping, r)) for r in range(len(runs))]
        found = [_Total() for _ in runs]
        groups = plan.clipping.groups(params)
        for rows in slices(batch.padded_size, size):
            for run, weighing, total in zip(runs, weighings, found, strict=True):
                part = replace(run, batch=_part(run.batch, rows))
                total.add(*sums(part, groups, weighing.of(part.batch.mask), diagnose=diagnose))
        seen = _joined(found)
        whole = _Whole(losses=seen.losses, norms=seen.sq_norms, total=_stacked([f.clipped for f in found]))
        mask = batch.mask & torch.isfinite(seen.losses)
        # The rule sees the batch as a whole, once, and says what bound it keeps.
        clipped, _, clipping = plan.clipping(whole, mask, state.clipping)
        return Summed(clipped=clipped, state=clipping, seen=seen)

    def _way(self, loss: PerExampleLoss, params: Params, filled: Batch) -> tuple[_Way, int] | None:
        known = self._ways.setdefault(loss.module, {})
        key = model_signature(loss, params, filled)
        if key not in known:
            known[key] = self._find_way(loss, params, filled)
        return known[key]

    def _find_way(self, loss: PerExampleLoss, params: Params, filled: Batch) -> tuple[_Way, int] | None:
        if filled.mask.device.type != "cpu" or not _convolves(loss.module):
            return None
        chain = self.chain.chain(loss, params, filled)
        if chain is None:
            one = next(single_runs(loss, params, filled, ()))
            try:
                known = self.graph.study(one.loss, one.params, one.batch)
            except UnsupportedModule:
                return None
            if known.plan is None or known.draws:
                return None
        size = self.slice_size
        if size is None:
            held = held_bytes_per_example(engine=self.graph, loss=loss, params=params, batch=filled)
            size = max(1, min(_LARGEST_SLICE, _SLICE_BYTES // max(1, held)))
        return (_ByGraph(self.graph) if chain is None else _ByChain(self.chain, chain)), size


def _convolves(module: nn.Module) -> bool:
    return any(isinstance(layer, _ConvNd) for layer in module.modules())


@final
@dataclass(frozen=True)
class _ByChain:
    engine: ChainEngine
    chain: Chain

    def __call__(
        self, run: Run, groups: GroupMap, weigh: Callable[[Tensor], Weigh], *, diagnose: bool
    ) -> tuple[Tensor, ClippedSums]:
        """In one pass."""
        grads = self.engine.one_run(self.chain, run, groups)
        return grads.losses, grads.clipped_sums(weigh(grads.losses), diagnose=diagnose)


@final
@dataclass(frozen=True)
class _ByGraph:
    engine: GraphEngine

    def __call__(
        self, run: Run, groups: GroupMap, weigh: Callable[[Tensor], Weigh], *, diagnose: bool
    ) -> tuple[Tensor, ClippedSums]:
        """Norms first, then sums."""
        grads = self.engine(run.loss, run.params, run.batch, groups)
        sq_norms = grads.sq_norms()
        weights = weigh(grads.losses)(sq_norms, slice(None))
        removed = None
        if diagnose:
            counts = run.batch.mask & torch.isfinite(grads.losses) & torch.isfinite(sq_norms.sum(-1))
            removed = grads.weighted_sum(torch.where(counts[..., None], 1 - weights, 0))
        return grads.losses, ClippedSums(
            clipped=grads.weighted_sum(weights), removed=removed, sq_norms=sq_norms, weights=weights
        )


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
    """The clipping rule of one run."""

    plan: PrivacyPlan
    state: Any

    def of(self, mask: Tensor) -> Callable[[Tensor], Weigh]:
        """The rule on a slice with this mask, once its losses are known; weight 0 where one is not finite."""

        def with_losses(losses: Tensor) -> Weigh:
            counts = mask & torch.isfinite(losses)
            return lambda sq_norms, rows: self.plan.clipping.weights(sq_norms, counts[:, rows], self.state)

        return with_losses


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
