"""The functional tape: per-example norms and sums for R runs from one forward and one backward.

A forward hook on each leaf records the leaf's input and the graph edge of its output. One backward
pass gives the gradient at every leaf's *output*; no weight gradient is formed there. The leaf's rule
turns (input, output-gradient) into squared norms, and after clipping into weighted sums, so the
matrix products are those of an ordinary forward and backward (Bu et al. 2022, arXiv:2210.00038,
call it book-keeping). For R > 1 the forward pass runs under ``vmap``; autograd below it records
plain batched operations, so the backward pass has no mapping cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import vmap
from torch.utils import _pytree as pytree

from clifftop.flow import Batch, DrawStream, GroupMap, Params
from clifftop.gradients.base import PerExampleLoss, UnsupportedModule, num_groups, refuse_shared_statistics
from clifftop.gradients.randomness import DropoutFromUniforms, draw_uniforms, first_examples, first_run
from clifftop.gradients.rules.base import LeafCall, squared_norm
from clifftop.gradients.rules.fallback import CallLayout, weigh
from clifftop.gradients.trace import CallTrace, Leaf, ModelTrace, trace_model


@final
@dataclass(frozen=True)
class TapeEngine:
    """Exact per-example norms and sums at the cost of an ordinary forward and backward.

    Trains any module its rules or the per-leaf fallback cover, and refuses the others by name. The
    first call on a model traces it (two short forward passes) and compares the sum of its
    per-example gradients with autograd's gradient of the summed loss; what was found is kept for
    the model, its mode and its input shapes.
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
    ) -> TapeGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        trace = self._trace(loss, params, batch)
        uniforms = draw_uniforms(trace.draws, batch.padded_size, draws)
        return _per_example(trace, loss, params, batch, groups, uniforms)

    def _trace(self, loss: PerExampleLoss, params: Params, batch: Batch) -> ModelTrace:
        known = self._traces.setdefault(loss.module, {})
        key = _signature(loss, params, batch)
        if key not in known:
            refuse_shared_statistics(loss.module)
            trace = trace_model(loss, params, batch)
            _require_agreement(trace, loss, params, batch)
            known[key] = trace
        return known[key]


@final
class TapeGrads:
    """Per-example gradients held as (input, output-gradient) pairs; instantiated only where needed."""

    def __init__(
        self,
        losses: Tensor,
        calls: Sequence[tuple[Leaf, LeafCall]],
        trace: ModelTrace,
        params: Params,
        groups: GroupMap,
    ) -> None:
        self.losses = losses
        self._calls = calls
        self._reused = trace.reused
        self._params = params
        self._groups = groups
        self._instantiated: dict[str, Tensor] | None = None
        self._sq_norms: Tensor | None = None

    @torch.no_grad()
    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(R, B, G)``."""
        if self._sq_norms is None:
            parts: dict[int, Tensor] = {}
            for name, norm in self._norm_parts():
                group = self._groups[name]
                parts[group] = parts[group] + norm if group in parts else norm
            zero = torch.zeros_like(self.losses)
            self._sq_norms = torch.stack(
                [parts.get(g, zero) for g in range(num_groups(self._groups))], dim=-1
            )
        return self._sq_norms

    @torch.no_grad()
    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(R, B, G)``."""
        per_group = weights.unbind(-1)
        clean = bool(torch.isfinite(self.sq_norms()).all())
        total: Params = {}
        for leaf, call in self._calls:
            if names := self._once(call):
                call_weights = {own: per_group[self._groups[name]] for own, name in names.items()}
                sums = _weighted_sum(leaf, replace(call, names=names), call_weights, clean=clean)
                total.update({names[own]: value for own, value in sums.items()})
        for name, grads in self._reused_grads().items():
            w = per_group[self._groups[name]]
            total[name] = weigh(grads if clean else _zero_rows(grads, w), w)
        return {n: total[n] if n in total else torch.zeros_like(p) for n, p in self._params.items()}

    def _norm_parts(self) -> Iterator[tuple[str, Tensor]]:
        for leaf, call in self._calls:
            if names := self._once(call):
                for own, norm in leaf.rule.sq_norms(replace(call, names=names)).items():
                    yield names[own], norm
        for name, grads in self._reused_grads().items():
            yield name, squared_norm(grads)

    def _once(self, call: LeafCall) -> dict[str, str]:
        return {own: name for own, name in call.names.items() if name not in self._reused}

    def _reused_grads(self) -> dict[str, Tensor]:
        """Per-example gradients of the parameters used more than once, added over their uses."""
        if self._instantiated is None:
            total: dict[str, Tensor] = {}
            for leaf, call in self._calls:
                names = {own: name for own, name in call.names.items() if name in self._reused}
                if names:
                    for own, grad in leaf.rule.instantiate(replace(call, names=names)).items():
                        name = names[own]
                        total[name] = total[name] + grad if name in total else grad
            self._instantiated = total
        return self._instantiated


@dataclass
class _Recorded:
    """One leaf call as it ran: its tensors and the graph edges of its outputs, before any mapping."""

    inputs: list[tuple[Tensor, int | None]]
    outputs: list[tuple[GradientEdge | None, torch.Size, int | None]]


def _per_example(
    trace: ModelTrace,
    loss: PerExampleLoss,
    params: Params,
    batch: Batch,
    groups: GroupMap,
    uniforms: Sequence[Tensor],
) -> TapeGrads:
    live = {name: p.detach().requires_grad_() for name, p in params.items()}
    recorded: list[_Recorded] = []
    with torch.enable_grad():
        with _recording(trace.leaves, recorded):
            losses = _forward(trace, loss, live, batch, uniforms)
        grads = iter(_backward(losses, recorded))
    calls: list[tuple[Leaf, LeafCall]] = []
    for seen, known in zip(recorded, trace.calls, strict=True):
        output_grads = [next(grads) for _ in seen.outputs]
        if any(g is not None for g in output_grads):
            calls.append(
                (known.leaf, _leaf_call(known, seen, output_grads, params, loss.constants, batch.num_runs))
            )
    return TapeGrads(losses.detach(), calls, trace, params, groups)


def _forward(
    trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch, uniforms: Sequence[Tensor]
) -> Tensor:
    def one_run(
        params: Params,
        constants: Params,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        uniforms: Sequence[Tensor],
    ) -> Tensor:
        if not trace.draws:
            return loss(params, constants, inputs, targets)
        masks = [u.movedim(0, draw.axis) for u, draw in zip(uniforms, trace.draws, strict=True)]
        with DropoutFromUniforms(masks):
            return loss(params, constants, inputs, targets)

    if batch.num_runs == 1:
        inputs, targets = [x[0] for x in batch.inputs], [y[0] for y in batch.targets]
        return one_run(
            first_run(params), first_run(loss.constants), inputs, targets, [u[0] for u in uniforms]
        )[None]
    mapped = vmap(one_run, randomness="error")
    try:
        return mapped(params, loss.constants, list(batch.inputs), list(batch.targets), list(uniforms))
    except (RuntimeError, NotImplementedError) as error:
        raise UnsupportedModule(
            f"the tape must map the model over runs, found that torch.func cannot ({_first_line(error)}); "
            "train its runs one by one, or use LoopEngine()"
        ) from error


def _backward(losses: Tensor, recorded: Sequence[_Recorded]) -> list[Tensor | None]:
    """The gradient at every recorded output, in order; None where the loss does not depend on it."""
    edges = [edge for seen in recorded for edge, _, _ in seen.outputs]
    wanted = [edge for edge in edges if edge is not None]
    if not wanted or not losses.requires_grad:
        return [None] * len(edges)
    try:
        # A scalar needs no grad_outputs, whose check would import a symbolic-algebra package (0.4 s).
        found = iter(torch.autograd.grad([losses.sum()], wanted, allow_unused=True))
    except RuntimeError as error:
        raise UnsupportedModule(
            f"the tape must differentiate the model once, found that autograd cannot ({_first_line(error)}); "
            "use LoopEngine()"
        ) from error
    return [None if edge is None else next(found) for edge in edges]


@contextmanager
def _recording(leaves: Sequence[Leaf], recorded: list[_Recorded]) -> Iterator[None]:
    def leave(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        recorded.append(
            _Recorded(
                inputs=[_physical(x) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)],
                outputs=[_edge(x) for x in pytree.tree_leaves(output) if isinstance(x, Tensor)],
            )
        )

    handles = [leaf.module.register_forward_hook(leave, with_kwargs=True) for leaf in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _physical(x: Tensor) -> tuple[Tensor, int | None]:
    """The tensor that holds every run's values, and the axis of the runs in it (None: not mapped)."""
    if not functorch.is_batchedtensor(x):
        return x, None
    inside = functorch.get_unwrapped(x)
    if functorch.is_batchedtensor(inside):
        raise UnsupportedModule("the tape cannot look inside a model that uses vmap itself; use LoopEngine()")
    return inside, functorch.maybe_get_bdim(x)


def _edge(x: Tensor) -> tuple[GradientEdge | None, torch.Size, int | None]:
    inside, axis = _physical(x)
    return (get_gradient_edge(inside) if inside.requires_grad else None), inside.shape, axis


def _leaf_call(
    known: CallTrace,
    seen: _Recorded,
    output_grads: Sequence[Tensor | None],
    params: Params,
    constants: Params,
    num_runs: int,
) -> LeafCall:
    has_examples = tuple(axis is not None for axis in known.input_axes)
    outputs = list(zip(output_grads, seen.outputs, known.output_axes, strict=True))
    differentiable = tuple(edge is not None for edge, _, _ in seen.outputs)
    grads = tuple(
        _runs_first(
            torch.zeros(shape, device=p.device, dtype=p.dtype) if g is None else g, run_axis, axis, num_runs
        )
        for g, (edge, shape, run_axis), axis in outputs
        if edge is not None
        for p in [next(iter(params.values()))]
    )
    prefix = f"{known.leaf.path}." if known.leaf.path else ""
    return LeafCall(
        path=known.leaf.path,
        module=known.leaf.module,
        names=known.leaf.names,
        inputs=tuple(
            _runs_first(x.detach(), run_axis, axis, num_runs)
            for (x, run_axis), axis in zip(seen.inputs, known.input_axes, strict=True)
        ),
        input_has_examples=has_examples,
        output_grads=grads,
        layout=CallLayout(
            spec=known.spec,
            leaves=known.leaves,
            input_axes=known.input_axes,
            output_axes=tuple(
                a for a, wanted in zip(known.output_axes, differentiable, strict=True) if wanted
            ),
            differentiable=differentiable,
            params={own: params[name] for own, name in known.leaf.names.items()},
            constants={n.removeprefix(prefix): c for n, c in constants.items() if n.startswith(prefix)},
        ),
    )


def _runs_first(x: Tensor, run_axis: int | None, example_axis: int | None, num_runs: int) -> Tensor:
    """Runs on axis 0 and, where there are examples, examples on axis 1."""
    if run_axis is None:
        x = x.unsqueeze(0).expand(num_runs, *x.shape)
    elif run_axis:
        x = x.movedim(run_axis, 0)
    return x.movedim(example_axis + 1, 1) if example_axis else x


def _weighted_sum(
    leaf: Leaf, call: LeafCall, weights: Mapping[str, Tensor], *, clean: bool
) -> dict[str, Tensor]:
    if clean:
        return leaf.rule.weighted_sum(call, weights)
    # Rows are cleared one parameter at a time: groups may give one row different weights.
    total: dict[str, Tensor] = {}
    for own, w in weights.items():
        inputs = tuple(
            _zero_rows(x, w) if has and x.is_floating_point() else x
            for x, has in zip(call.inputs, call.input_has_examples, strict=True)
        )
        grads = tuple(_zero_rows(g, w) for g in call.output_grads)
        part = replace(call, names={own: call.names[own]}, inputs=inputs, output_grads=grads)
        total[own] = leaf.rule.weighted_sum(part, {own: w})[own]
    return total


def _zero_rows(x: Tensor, weights: Tensor) -> Tensor:
    """``x`` with the rows of weight 0 replaced by 0, so that a NaN there cannot spread."""
    return x.masked_fill((weights == 0).reshape(weights.shape + (1,) * (x.dim() - 2)), 0)


def _require_agreement(trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch) -> None:
    """Compare the sum of per-example gradients with autograd on three examples of the first run."""
    inputs, targets = first_examples(batch, 3)
    one = {name: p[:1] for name, p in params.items()}
    alone = replace(loss, constants={name: c[:1] for name, c in loss.constants.items()})
    few = Batch(
        inputs=tuple(x[None] for x in inputs),
        targets=tuple(y[None] for y in targets),
        mask=torch.ones(1, 3, dtype=torch.bool, device=batch.mask.device),
    )
    kept = [torch.ones((1, 3, *draw.rest), device=batch.mask.device) for draw in trace.draws]
    groups = dict.fromkeys(params, 0)
    grads = _per_example(trace, alone, one, few, groups, kept)
    ours = grads.weighted_sum(torch.ones(1, 3, 1, dtype=grads.losses.dtype, device=grads.losses.device))
    live = {name: p.detach().requires_grad_() for name, p in one.items()}
    with torch.enable_grad():
        total = _forward(trace, alone, live, few, kept).sum()
        names = list(live)
        theirs = (
            torch.autograd.grad(total, [live[n] for n in names], allow_unused=True, materialize_grads=True)
            if total.requires_grad
            else [torch.zeros_like(live[n]) for n in names]
        )
    tolerance = 1e-8 if total.dtype == torch.float64 else 1e-3
    for name, reference in zip(names, theirs, strict=True):
        gap = (ours[name] - reference).norm()
        if torch.isfinite(reference).all() and not gap <= tolerance * (reference.norm() + tolerance):
            raise UnsupportedModule(
                f"the tape's gradient must equal autograd's, found that it does not for parameter '{name}'; "
                "the model uses it in a way the tape does not see: use VmapEngine() or LoopEngine()"
            )


def _signature(loss: PerExampleLoss, params: Params, batch: Batch) -> object:
    """Everything a trace depends on besides the module itself; not the batch size."""
    tensors = (*batch.inputs, *batch.targets)
    shapes = tuple((x.shape[2:], x.dtype) for x in tensors)
    modes = tuple(layer.training for layer in loss.module.modules())
    dtypes = tuple((name, p.dtype) for name, p in params.items())
    return loss.criterion, shapes, modes, dtypes, batch.num_runs == 1


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
