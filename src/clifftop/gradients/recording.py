"""One forward and one backward of R runs, with every leaf's input and output-gradient kept.

A forward hook on each leaf records the leaf's input and the graph edge of its output; one backward
pass gives the gradient at all these edges, and no weight gradient is formed. For R > 1 the forward
pass runs under ``vmap``; autograd below it records plain batched operations, so the backward pass has
no mapping cost. The hooks are removed when the pass ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import vmap
from torch.utils import _pytree as pytree

from clifftop.flow import Batch, Params
from clifftop.gradients.base import PerExampleLoss, UnsupportedModule, innermost_layer, with_own_buffers
from clifftop.gradients.mapping import slow_operations_allowed
from clifftop.gradients.randomness import DropoutFromUniforms, first_run
from clifftop.gradients.rules import CallLayout, LeafCall
from clifftop.gradients.trace import CallTrace, Leaf, ModelTrace


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The losses ``(R, B)`` of one pass, and every leaf call that a loss depends on, in order."""

    losses: Tensor
    calls: tuple[tuple[Leaf, LeafCall], ...]


def record(
    trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch, uniforms: Sequence[Tensor]
) -> Recording:
    """Run forward and backward once for all runs of ``batch``.

    Args:
        trace: of this model, in this mode.
        loss: the model and the criterion.
        params: trainable parameters, ``(R, ...)`` each.
        batch: every row holds an example.
        uniforms: numbers for each dropout, ``(R, B, *rest)``.

    Raises:
        UnsupportedModule: ``torch.func`` cannot map the model over runs.
    """
    live = {name: p.detach().requires_grad_() for name, p in params.items()}
    seen: list[_SeenCall] = []
    with torch.enable_grad():
        with _recording(trace.leaves, seen):
            losses = forward(trace, loss, live, batch, uniforms)
        grads = iter(_backward(losses, seen))
    calls: list[tuple[Leaf, LeafCall]] = []
    for call, known in zip(seen, trace.calls, strict=True):
        output_grads = [next(grads) for _ in call.outputs]
        if any(g is not None for g in output_grads):
            calls.append((known.leaf, _leaf_call(known, call, output_grads, params, loss.constants)))
            _require_examples(calls[-1][1], batch.padded_size)
    return Recording(losses=losses.detach(), calls=tuple(calls))


def forward(
    trace: ModelTrace, loss: PerExampleLoss, params: Params, batch: Batch, uniforms: Sequence[Tensor]
) -> Tensor:
    """Losses ``(R, B)``, differentiable in ``params``."""

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

    # The forward pass may write into buffers; it gets copies.
    constants = with_own_buffers(loss)
    if batch.num_runs == 1:
        inputs, targets = [x[0] for x in batch.inputs], [y[0] for y in batch.targets]
        return one_run(first_run(params), first_run(constants), inputs, targets, [u[0] for u in uniforms])[
            None
        ]
    try:
        with slow_operations_allowed():
            return vmap(one_run, randomness="error")(
                # Some mapped operations (group norm) refuse what is not contiguous.
                params,
                constants,
                [x.contiguous() for x in batch.inputs],
                list(batch.targets),
                list(uniforms),
            )
    except (RuntimeError, NotImplementedError) as error:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        raise UnsupportedModule(
            "the tape must map the model over runs, found that torch.func cannot map "
            f"{innermost_layer(loss.module, reversed(frames))} ({_first_line(error)}); "
            "train its runs one by one, or use LoopEngine()"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A tensor's values for every run, and the axis of the runs (None: one value for all)."""

    values: Tensor
    run_axis: int | None


@dataclass(frozen=True, kw_only=True)
class _Output:
    """One output of a leaf: its edge in the graph (None: no gradient flows), and its layout."""

    edge: GradientEdge | None
    shape: torch.Size
    dtype: torch.dtype
    run_axis: int | None


@dataclass(frozen=True, kw_only=True)
class _SeenCall:
    inputs: tuple[_Placed, ...]
    outputs: tuple[_Output, ...]


@contextmanager
def _recording(leaves: Sequence[Leaf], seen: list[_SeenCall]) -> Iterator[None]:
    def leave(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in pytree.tree_leaves(output) if isinstance(x, Tensor)]
        seen.append(_SeenCall(inputs=tuple(map(_placed, tensors)), outputs=tuple(map(_output, outputs))))

    handles = [leaf.module.register_forward_hook(leave, with_kwargs=True) for leaf in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _placed(x: Tensor) -> _Placed:
    if not functorch.is_batchedtensor(x):
        return _Placed(values=x, run_axis=None)
    inside = functorch.get_unwrapped(x)
    if functorch.is_batchedtensor(inside):
        raise UnsupportedModule("the tape cannot look inside a model that maps by itself; use LoopEngine()")
    return _Placed(values=inside, run_axis=functorch.maybe_get_bdim(x))


def _output(x: Tensor) -> _Output:
    placed = _placed(x)
    edge = get_gradient_edge(placed.values) if placed.values.requires_grad else None
    return _Output(edge=edge, shape=placed.values.shape, dtype=x.dtype, run_axis=placed.run_axis)


def _backward(losses: Tensor, seen: Sequence[_SeenCall]) -> list[Tensor | None]:
    """The gradient at every output, in order; None where no loss depends on it."""
    edges = [output.edge for call in seen for output in call.outputs]
    wanted = [edge for edge in edges if edge is not None]
    if not wanted or not losses.requires_grad:
        return [None] * len(edges)
    with slow_operations_allowed():
        # A scalar needs no grad_outputs, whose check would import a symbolic-algebra package (0.4 s).
        found = iter(torch.autograd.grad([losses.sum()], wanted, allow_unused=True))
    return [None if edge is None else next(found) for edge in edges]


def _leaf_call(
    known: CallTrace,
    seen: _SeenCall,
    output_grads: Sequence[Tensor | None],
    params: Params,
    constants: Params,
) -> LeafCall:
    num_runs = next(iter(params.values())).shape[0]
    differentiable = tuple(output.edge is not None for output in seen.outputs)
    grads = tuple(
        _runs_first(
            torch.zeros(output.shape, dtype=output.dtype) if grad is None else grad,
            output.run_axis,
            axis,
            num_runs,
        )
        for grad, output, axis in zip(output_grads, seen.outputs, known.output_axes, strict=True)
        if output.edge is not None
    )
    return LeafCall(
        path=known.leaf.path,
        module=known.leaf.module,
        names=known.leaf.names,
        inputs=tuple(
            _runs_first(placed.values.detach(), placed.run_axis, axis, num_runs)
            for placed, axis in zip(seen.inputs, known.input_axes, strict=True)
        ),
        input_has_examples=tuple(axis is not None for axis in known.input_axes),
        output_grads=grads,
        layout=_layout(known, differentiable, params, constants),
    )


def _require_examples(call: LeafCall, size: int) -> None:
    with_examples = [x for x, has in zip(call.inputs, call.input_has_examples, strict=True) if has]
    if any(x.shape[1] != size for x in (*with_examples, *call.output_grads)):
        raise UnsupportedModule(
            f"the tape needs each example in its place, found '{call.path}' ({type(call.module).__name__}) "
            "called on rows that values select; use VmapEngine() or LoopEngine()"
        )


def _layout(
    known: CallTrace, differentiable: tuple[bool, ...], params: Params, constants: Params
) -> CallLayout:
    prefix = f"{known.leaf.path}." if known.leaf.path else ""
    return CallLayout(
        spec=known.spec,
        leaves=known.leaves,
        input_axes=known.input_axes,
        output_axes=tuple(a for a, wanted in zip(known.output_axes, differentiable, strict=True) if wanted),
        differentiable=differentiable,
        params={own: params[name] for own, name in known.leaf.names.items()},
        constants={n.removeprefix(prefix): c for n, c in constants.items() if n.startswith(prefix)},
        buffers=frozenset(name for name, _ in known.leaf.module.named_buffers()),
    )


def _runs_first(x: Tensor, run_axis: int | None, example_axis: int | None, num_runs: int) -> Tensor:
    """Runs on axis 0 and, where there are examples, examples on axis 1; float32 at least.

    Norms and sums must see the same numbers: a sum that is rounded to half precision could pass its bound.
    """
    if x.dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    if run_axis is None:
        x = x.unsqueeze(0).expand(num_runs, *x.shape)
    elif run_axis:
        x = x.movedim(run_axis, 0)
    return x.movedim(example_axis + 1, 1) if example_axis else x


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
