"""Studying a model once: on two examples, on three, and against autograd itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clifftop.flow import Batch, Params
from clifftop.gradients.base import PerExampleLoss, with_own_buffers
from clifftop.gradients.graph.bookkeeping import contributions
from clifftop.gradients.graph.forward import losses_of
from clifftop.gradients.graph.plan import GraphPlan, Place, Probe, find_uses, make_plan, require_layouts
from clifftop.gradients.graph.refusals import ExamplesMixed, GraphUnsuited
from clifftop.gradients.graph.walk import Graph, gradients, walk
from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.randomness import Draw, first_examples, first_run

_WEIGHTS = (0.5, -2.0, 4.0)
"""Powers of two: scaling by them commutes with rounding, so gradients part exactly in any precision."""


@dataclass(frozen=True, kw_only=True)
class _Study:
    """A model with numbers to study it at: one run's, in one precision."""

    loss: PerExampleLoss
    params: dict[str, Tensor]
    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    draws: tuple[Draw, ...]

    def losses(self, size: int, params: Mapping[str, Tensor]) -> Tensor:
        """Losses of the first ``size`` examples, with nothing dropped out."""
        kept = [torch.ones((size, *draw.rest), device=self.inputs[0].device) for draw in self.draws]
        return losses_of(
            self.loss,
            params,
            first_run(with_own_buffers(self.loss)),
            [x[:size] for x in self.inputs],
            [y[:size] for y in self.targets],
            self.draws,
            kept,
        )

    def each_twice(self, params: Mapping[str, Tensor]) -> Tensor:
        """The losses of three examples, each beside itself and no other."""
        sides = [
            replace(
                self,
                inputs=tuple(x[[b, b]] for x in self.inputs),
                targets=tuple(y[[b, b]] for y in self.targets),
            )
            for b in range(3)
        ]
        with torch.no_grad():
            return torch.cat([side.losses(2, params)[:1] for side in sides])

    def kinds(self) -> tuple[str, ...]:
        """The operations of a forward pass."""
        live = self.live()
        return walk([self.losses(3, live)], live).kinds()

    def live(self) -> dict[str, Tensor]:
        """The parameters as fresh leaves."""
        return {name: p.detach().clone().requires_grad_() for name, p in self.params.items()}


def study_graph(loss: PerExampleLoss, params: Params, batch: Batch, draws: tuple[Draw, ...]) -> GraphPlan:
    """The plan of a model's graph, proven on three examples.

    Studied in float64 where the model allows it. Parameters are moved a little, so that no gradient
    is zero for the moment only (the second factor of an adapter, for one, starts at zero).

    Raises:
        GraphUnsuited: the graph does not show what the engine must see.
        UnsupportedModule: examples influence each other.
    """
    study = _study(loss, params, batch, draws)
    live_two, live = study.live(), study.live()
    two, three = study.losses(2, live_two), study.losses(3, live)
    probe = Probe(two=walk([two], live_two), three=walk([three], live), weights=three.new_tensor(_WEIGHTS))
    tolerance = 5e-2 if probe.three.is_coarse() else 1e-9 if two.dtype == torch.float64 else 1e-4
    _require_independence(loss, two, three[:2], tolerance)
    _require_independence(loss, study.each_twice(live), three, tolerance)
    uses, outputs = find_uses(probe)
    ones = torch.ones_like(three)
    plain = gradients([three], [ones], probe.three, outputs, keep=True)
    weighted = gradients([three], [probe.weights], probe.three, outputs, keep=True)
    plan = make_plan(probe, uses, outputs, plain, weighted)
    _require_order(plan, study, outputs)
    _require_agreement(plan, probe.three, three, live)
    return plan


def _require_order(plan: GraphPlan, study: _Study, outputs: Sequence[Place]) -> None:
    """The same three examples the other way round: no order that values decide survives both."""
    turned = replace(
        study,
        inputs=tuple(x.flip(0) for x in study.inputs),
        targets=tuple(y.flip(0) for y in study.targets),
    )
    live = turned.live()
    losses = turned.losses(3, live)
    graph = walk([losses], live)
    if graph.kinds() != plan.kinds:
        raise GraphUnsuited("the model must do the same for any examples, found that it does not")
    weights = losses.new_tensor(_WEIGHTS)
    plain = gradients([losses], [torch.ones_like(losses)], graph, outputs, keep=True)
    weighted = gradients([losses], [weights], graph, outputs, keep=False)
    require_layouts(plan, outputs, plain, weighted, weights)


def _study(loss: PerExampleLoss, params: Params, batch: Batch, draws: tuple[Draw, ...]) -> _Study:
    inputs, targets = first_examples(batch, 3)
    own = first_run(params)
    generator = torch.Generator().manual_seed(0)
    moved = {name: p + _moves(p, generator) for name, p in own.items()}
    constants = {name: c[:1] for name, c in loss.constants.items()}
    study = _Study(
        loss=replace(loss, constants=constants),
        params=moved,
        inputs=tuple(inputs),
        targets=tuple(targets),
        draws=draws,
    )
    kinds = study.kinds()
    for candidate in (_in_double(study), study, replace(study, params=own)):
        try:
            # Under autocast, or where a model rounds by itself, float64 takes another way.
            if candidate.kinds() == kinds and torch.isfinite(candidate.losses(3, candidate.params)).all():
                return candidate
        except (RuntimeError, TypeError, ValueError):
            continue
    return replace(study, params=own)


def _in_double(study: _Study) -> _Study:
    def wide(x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    constants = {name: wide(c) for name, c in study.loss.constants.items()}
    return replace(
        study,
        loss=replace(study.loss, constants=constants),
        params={name: wide(p) for name, p in study.params.items()},
        inputs=tuple(map(wide, study.inputs)),
        targets=tuple(map(wide, study.targets)),
    )


def _moves(p: Tensor, generator: torch.Generator) -> Tensor:
    """Small random changes, of the parameter's own size, and of a hundredth where it is zero."""
    scale = 0.1 * p.detach().double().square().mean().sqrt().clamp_min(0.1)
    noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return (scale.cpu() * noise).to(p)


def _require_independence(loss: PerExampleLoss, few: Tensor, more: Tensor, tolerance: float) -> None:
    if torch.allclose(few, more, rtol=tolerance, atol=tolerance, equal_nan=True):
        return
    raise ExamplesMixed(
        "an example's loss must not depend on the others in its batch, found that it does in the criterion "
        f"or in {type(loss.module).__name__}: no engine can make this model private; replace what mixes the "
        "batch (batch statistics, contrastive terms)"
    )


def _require_agreement(plan: GraphPlan, graph: Graph, losses: Tensor, live: Mapping[str, Tensor]) -> None:
    """Norms and a weighted sum against autograd's own, example by example."""
    size = len(losses)
    weights = losses.new_tensor(_WEIGHTS)
    parts = contributions(plan, graph, [losses], [torch.ones_like(losses)], live, size, keep_graph=True)
    names, leaves = list(live), list(live.values())
    norms = torch.zeros(len(live), size, dtype=torch.float64)
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    for b in range(size):
        one = torch.zeros_like(losses).index_fill_(0, torch.tensor([b], device=losses.device), 1)
        found = _own_gradients(losses, leaves, one)
        for i, g in enumerate(found):
            norms[i, b] = row_sq_norms(g[None, None]).item()
            sums[i] = sums[i] + weights[b] * g
    tolerance = 5e-2 if graph.is_coarse() else 1e-8 if losses.dtype == torch.float64 else 1e-3
    for name, norm, total in zip(names, norms, sums, strict=True):
        part = parts.get(name)
        ours = torch.zeros(size).double() if part is None else part.norms().double().square().cpu()
        our_sum = torch.zeros_like(total) if part is None else part.weighted_sum(weights)
        scale = norm.abs().max() + tolerance
        if not (
            (ours - norm).abs().max() <= tolerance * scale
            and (our_sum - total).norm() <= tolerance * (total.norm() + tolerance)
        ):
            raise GraphUnsuited(
                f"the engine's gradient must equal autograd's, found that it does not for parameter '{name}'"
            )


def _own_gradients(losses: Tensor, leaves: Sequence[Tensor], weights: Tensor) -> Sequence[Tensor]:
    if not losses.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(
        [losses], leaves, [weights], retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return [g.to_dense() if g.is_sparse else g for g in found]
