"""The engine for single runs: walks the autograd graph and applies a rule to each operation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads
from clifftop.gradients.base import (
    GradientEngine,
    PerExampleLoss,
    UnsupportedModule,
    model_signature,
    refuse_unprotectable,
    with_own_buffers,
)
from clifftop.gradients.graph.bookkeeping import contributions
from clifftop.gradients.graph.choices import Choices, Predicted
from clifftop.gradients.graph.forward import losses_of
from clifftop.gradients.graph.grads import GraphGrads
from clifftop.gradients.graph.heap import return_free_memory
from clifftop.gradients.graph.plan import GraphPlan
from clifftop.gradients.graph.probing import study_graph
from clifftop.gradients.graph.refusals import GraphUnsuited, Poisoned
from clifftop.gradients.graph.runs import FirstExample, Run, doubled, join_runs, single_runs
from clifftop.gradients.graph.walk import walk
from clifftop.gradients.instantiated import no_examples, without_padding
from clifftop.gradients.randomness import Draw, draw_uniforms, find_draws, first_run
from clifftop.gradients.tape import TapeEngine
from clifftop.gradients.vmap import VmapEngine

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was found out about a model: its dropouts, and its graph's plan or the engine to use instead.

    With the plan comes what picks the way to each layer's norms.
    """

    draws: tuple[Draw, ...]
    plan: GraphPlan | None
    instead: GradientEngine | None
    choices: Choices


@final
@dataclass(frozen=True)
class GraphEngine:
    """Exact per-example norms and sums of one run, for any model that autograd records.

    One forward pass and one backward pass to the outputs of the operations that parameters enter; a
    rule for each kind of operation turns what it saved, and the gradient at its output, into norms
    and a weighted sum (book-keeping; Bu et al. 2022, arXiv:2210.00038). Shared weights, functional
    calls and parameters outside any layer are seen as they are. An operation without a rule is
    differentiated example by example.

    The first call on a model studies it on two and three examples and compares norms and sums with
    autograd's. A model that the graph does not suit goes to `TapeEngine` or `VmapEngine`, which are
    exact too. Several runs are done one after another. Buffers that the model writes are thrown away.

    Attributes:
        choices: picks the way to each layer's norms, and what memory may be kept for it.

    Raises:
        UnsupportedModule: examples influence each other, or random draws have no named stream.
    """

    choices: Choices = field(default_factory=Predicted)

    _known: WeakKeyDictionary[nn.Module, dict[object, Known]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    _dropouts: WeakKeyDictionary[nn.Module, dict[object, tuple[Draw, ...]]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> PerExampleGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        filled = without_padding(batch)
        if filled is None:
            return no_examples(params, batch, groups)
        if batch.padded_size == 1:
            # Shapes of one example hide which axis holds it, and some operations take a shorter way.
            return FirstExample(self(loss, params, doubled(batch), groups, draws))
        known = self.study(loss, params, filled)
        uniforms = draw_uniforms(known.draws, batch.padded_size, draws)
        if known.plan is None:
            assert known.instead is not None
            return known.instead(loss, params, batch, groups, draws)
        try:
            runs = single_runs(loss, params, filled, uniforms)
            return join_runs([_one_run(known, known.plan, run, groups) for run in runs])
        except (GraphUnsuited, Poisoned) as reason:
            _log.info("%s: another engine takes over for this batch", reason)
            return _Others()(loss, params, batch, groups, draws)

    def dropouts(self, loss: PerExampleLoss, params: Params, batch: Batch) -> tuple[Draw, ...]:
        """The dropouts of a forward pass; found once."""
        kept = self._dropouts.setdefault(loss.module, {})
        key = model_signature(loss, params, batch)
        if key not in kept:
            kept[key] = find_draws(loss, params, batch)
        return kept[key]

    def study(self, loss: PerExampleLoss, params: Params, batch: Batch) -> Known:
        """What there is to know about a model in its present mode; found once.

        Raises:
            UnsupportedModule: no engine can make it private.
        """
        kept = self._known.setdefault(loss.module, {})
        key = model_signature(loss, params, batch)
        if key not in kept:
            refuse_unprotectable(loss.module)
            kept[key] = _study(loss, params, batch, self.choices)
        return kept[key]

    def for_copy(self, known: Known, loss: PerExampleLoss, params: Params, batch: Batch) -> GraphEngine:
        """An engine of its own for a copy, in any precision, of a model whose plan is ``known``."""
        other = replace(self)
        other._known[loss.module] = {model_signature(loss, params, batch): known}  # noqa: SLF001  its own class
        return other


def _one_run(known: Known, plan: GraphPlan, run: Run, groups: GroupMap) -> PerExampleGrads:
    live = {name: p[0].detach().requires_grad_() for name, p in run.params.items()}
    losses = losses_of(
        run.loss,
        live,
        first_run(with_own_buffers(run.loss)),
        [x[0] for x in run.batch.inputs],
        [y[0] for y in run.batch.targets],
        known.draws,
        [u[0] for u in run.uniforms],
    )
    return finish(plan, losses, live, run.batch.mask, run.params, groups, choices=known.choices)


def finish(
    plan: GraphPlan,
    losses: Tensor,
    live: Mapping[str, Tensor],
    mask: Tensor,
    params: Params,
    groups: GroupMap,
    *,
    choices: Choices,
    assume_finite: bool = False,
) -> GraphGrads:
    """Per-example gradients from losses ``(B,)`` that a forward pass of ``live`` has just given."""
    graph = walk([losses], live)
    if graph.kinds() != plan.kinds:
        raise GraphUnsuited(
            "the model must do the same at every step, found that its operations depend on the data"
        )
    parts = contributions(plan, graph, [losses], [torch.ones_like(losses)], live, len(losses))
    grads = GraphGrads(
        losses.detach()[None], mask, parts, params, groups, choices=choices, assume_finite=assume_finite
    )
    if plan.has_masks and not assume_finite and not bool(grads.all_finite()):
        raise Poisoned("a gradient is not finite")
    return grads


def _study(loss: PerExampleLoss, params: Params, batch: Batch, choices: Choices) -> Known:
    draws = find_draws(loss, params, batch)
    try:
        plan = study_graph(loss, params, batch, draws)
        return_free_memory()
        return Known(draws=draws, plan=plan, instead=None, choices=choices)
    except GraphUnsuited as reason:
        _log.info("%s: another engine takes over", reason)
    return Known(draws=draws, plan=None, instead=_Others(), choices=choices)


@final
@dataclass
class _Others:
    """The tape, or where that refuses ``torch.func``; the first that works is kept."""

    engines: list[GradientEngine] = field(default_factory=lambda: [TapeEngine(), VmapEngine()])

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> PerExampleGrads:
        """What the first engine that does not refuse gives.

        Raises:
            UnsupportedModule: from the last one, where all refuse.
        """
        while len(self.engines) > 1:
            try:
                return self.engines[0](loss, params, batch, groups, draws)
            except UnsupportedModule as reason:
                _log.info("%s: another engine takes over", reason)
                del self.engines[0]
        return self.engines[0](loss, params, batch, groups, draws)
