"""The functional tape: per-example norms and sums for R runs from one forward and one backward.

Each leaf's rule turns the recorded (input, output-gradient) into squared norms, and after clipping
into weighted sums, so the matrix products are those of an ordinary forward and backward (Bu et al.
2022, arXiv:2210.00038, call it book-keeping).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads
from clifftop.gradients.base import (
    PerExampleLoss,
    UnsupportedModule,
    model_signature,
    num_groups,
    refuse_unprotectable,
)
from clifftop.gradients.instantiated import (
    no_examples,
    row_sq_norms,
    weighted_rows,
    without_padding,
    zero_where,
)
from clifftop.gradients.randomness import draw_uniforms, first_examples
from clifftop.gradients.recording import Recording, forward, record
from clifftop.gradients.rules import GhostRule, LeafCall
from clifftop.gradients.trace import ModelTrace, trace_model


@final
@dataclass(frozen=True)
class TapeEngine:
    """Exact per-example norms and sums at the cost of an ordinary forward and backward.

    Trains any module its rules or the per-leaf fallback cover, and refuses the others by name. The
    first call on a model traces it (two short forward passes) and compares the sum of its
    per-example gradients with autograd's gradient of the summed loss; what was found is kept for
    the model, its mode and its input shapes. Buffers that the model writes are thrown away.
    """

    _traces: WeakKeyDictionary[nn.Module, dict[object, ModelTrace]] = field(
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
        trace = self._trace(loss, params, filled)
        uniforms = draw_uniforms(trace.draws, batch.padded_size, draws)
        recording = record(trace, loss, params, filled, uniforms)
        return TapeGrads(recording, batch.mask, trace.reused, params, groups)

    def _trace(self, loss: PerExampleLoss, params: Params, batch: Batch) -> ModelTrace:
        known = self._traces.setdefault(loss.module, {})
        key = model_signature(loss, params, batch)
        if key not in known:
            refuse_unprotectable(loss.module)
            trace = trace_model(loss, params, batch)
            _require_agreement(trace, loss, params, batch)
            known[key] = trace
        return known[key]


@final
class TapeGrads:
    """Per-example gradients held as (input, output-gradient) pairs; instantiated only where needed.

    Instantiated, once, are the gradients of leaves without a ghost rule, and of parameters that
    several calls use: there the gradients must be added before a norm is taken.
    """

    def __init__(
        self, recording: Recording, mask: Tensor, reused: frozenset[str], params: Params, groups: GroupMap
    ) -> None:
        self.losses = torch.where(mask, recording.losses, 0)
        self._mask = mask[..., None]
        self._params = params
        self._groups = groups
        self._ghosts: list[tuple[GhostRule, LeafCall]] = []
        self._rows: dict[str, Tensor] = {}
        for leaf, call in recording.calls:
            own: set[str] = set()
            if isinstance(leaf.rule, GhostRule):
                own = {n for n, name in call.names.items() if name not in reused}
                if own:
                    self._ghosts.append((leaf.rule, _restricted(call, own)))
            if rest := call.names.keys() - own:
                for n, grad in leaf.rule.instantiate(_restricted(call, rest)).items():
                    name = call.names[n]
                    self._rows[name] = self._rows[name] + grad if name in self._rows else grad

    @torch.no_grad()
    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(R, B, G)``; 0 for padding."""
        return torch.where(self._mask, self._all_sq_norms, 0)

    @torch.no_grad()
    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(R, B, G)``."""
        per_group = torch.where(self._mask, weights, 0).unbind(-1)
        clean = bool(torch.isfinite(self._all_sq_norms).all())
        total = {n: weighted_rows(rows, per_group[self._groups[n]]) for n, rows in self._rows.items()}
        for rule, call in self._ghosts:
            own_weights = {n: per_group[self._groups[name]] for n, name in call.names.items()}
            for n, value in _ghost_sum(rule, call, own_weights, clean=clean).items():
                total[call.names[n]] = value
        return {n: total[n] if n in total else torch.zeros_like(p) for n, p in self._params.items()}

    @cached_property
    def _all_sq_norms(self) -> Tensor:
        """Squared norms of every row, padding included: finite only where every operand is."""
        parts = [(name, row_sq_norms(rows)) for name, rows in self._rows.items()]
        for rule, call in self._ghosts:
            parts += [(call.names[n], norm) for n, norm in rule.sq_norms(call).items()]
        total: dict[int, Tensor] = {}
        for name, norm in parts:
            group = self._groups[name]
            total[group] = total[group] + norm if group in total else norm
        zero = torch.zeros_like(self.losses, dtype=torch.float64)
        norms = torch.stack([total.get(g, zero) for g in range(num_groups(self._groups))], dim=-1)
        return norms.to(torch.promote_types(self.losses.dtype, torch.float32))


def _restricted(call: LeafCall, own: Collection[str]) -> LeafCall:
    return replace(call, names={n: name for n, name in call.names.items() if n in own})


def _ghost_sum(
    rule: GhostRule, call: LeafCall, weights: Mapping[str, Tensor], *, clean: bool
) -> dict[str, Tensor]:
    if clean:
        return rule.weighted_sum(call, weights)
    # Rows are cleared one parameter at a time: groups may give one row different weights.
    total: dict[str, Tensor] = {}
    for own, w in weights.items():
        drop = w == 0
        inputs = tuple(
            zero_where(x, drop) if has and x.is_floating_point() else x
            for x, has in zip(call.inputs, call.input_has_examples, strict=True)
        )
        grads = tuple(zero_where(g, drop) for g in call.output_grads)
        part = replace(_restricted(call, {own}), inputs=inputs, output_grads=grads)
        total[own] = rule.weighted_sum(part, {own: w})[own]
    return total


def _require_agreement(trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch) -> None:
    """Compare norms and a weighted sum with autograd's on three examples of the first run.

    Once in their order and once the other way round: rows that a model puts in an order of its own
    belong to other examples than they seem to.
    """
    inputs, targets = first_examples(batch, 3)
    one = {name: p[:1] for name, p in params.items()}
    alone = replace(loss, constants={name: c[:1] for name, c in loss.constants.items()})
    for order in ([0, 1, 2], [2, 1, 0]):
        few = Batch(
            inputs=tuple(x[order][None] for x in inputs),
            targets=tuple(y[order][None] for y in targets),
            mask=torch.ones(1, 3, dtype=torch.bool, device=batch.mask.device),
        )
        _require_equal(trace, alone, one, few)


def _require_equal(trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch) -> None:
    kept = [torch.ones((1, 3, *draw.rest), device=batch.mask.device) for draw in trace.draws]
    recording = record(trace, loss, params, batch, kept)
    groups = {name: i for i, name in enumerate(params)}
    grads = TapeGrads(recording, batch.mask, trace.reused, params, groups)
    weights = recording.losses.new_tensor([0.75, -1.5, 2.25])
    norms, sums = grads.sq_norms()[0], grads.weighted_sum(weights[None, :, None].expand(1, 3, len(params)))
    own_norms, own_sums = _own_gradients(trace, loss, params, batch, kept, weights)
    tolerance = 1e-8 if recording.losses.dtype == torch.float64 else 1e-3
    for i, name in enumerate(params):
        gap, size = (sums[name] - own_sums[name]).norm(), own_sums[name].norm()
        norm_gap, norm_size = (norms[:, i] - own_norms[i]).norm(), own_norms[i].norm()
        sound = gap <= tolerance * (size + tolerance) and norm_gap <= tolerance * (norm_size + tolerance)
        if torch.isfinite(size) and not sound:
            raise UnsupportedModule(
                f"the tape's gradient must equal autograd's, found that it does not for parameter '{name}'; "
                "the model uses it in a way the tape does not see: use VmapEngine() or LoopEngine()"
            )


def _own_gradients(
    trace: ModelTrace,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    uniforms: Sequence[Tensor],
    weights: Tensor,
) -> tuple[list[Tensor], Params]:
    """Autograd's squared norms, ``(3,)`` a parameter, and the weighted sum."""
    live = {name: p.detach().requires_grad_() for name, p in params.items()}
    with torch.enable_grad():
        losses = forward(trace, loss, live, batch, uniforms)[0]
    norms = [torch.zeros_like(weights) for _ in live]
    sums = {name: torch.zeros_like(p) for name, p in params.items()}
    if not losses.requires_grad:
        return norms, sums
    for b, one in enumerate(torch.eye(3, dtype=losses.dtype, device=losses.device)):
        found = torch.autograd.grad(
            losses, list(live.values()), one, allow_unused=True, materialize_grads=True, retain_graph=True
        )
        for i, (name, g) in enumerate(zip(live, found, strict=True)):
            norms[i][b] = g.double().square().sum()
            sums[name] += weights[b] * g
    return norms, sums
