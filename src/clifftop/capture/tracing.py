"""Tracing a function of tensors to one graph of plain operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from clifftop.capture.compiling import compile_graph
from clifftop.capture.emitting import emit
from clifftop.capture.passes import shorten
from clifftop.gradients.rules.products import with_plain_products

Function = Callable[[list[Tensor]], list[Tensor]]
"""From a list of tensors to a list of tensors; shapes and everything else are constants of it."""


@final
@dataclass(frozen=True)
class Captured:
    """A traced function: the same numbers without autograd's and the modules' own work.

    Attributes:
        call: takes the tensors one by one, and after them the tensors to write into; gives a list.
        num_operations: how many operations it runs.
    """

    call: Callable[..., list[Tensor]]
    num_operations: int

    def __call__(self, arguments: Sequence[Tensor], into: Sequence[Tensor] = ()) -> list[Tensor]:
        """The function's value, but for what is written ``into``; ordinary tensors without a graph."""
        with torch.no_grad():
            return self.call(*arguments, *into)


def capture(
    function: Function,
    arguments: Sequence[Tensor],
    *,
    compiled: bool = False,
    into: int = 0,
    closed: bool = False,
) -> Captured:
    """Trace ``function`` at ``arguments``.

    Args:
        function: must not look at the values of tensors.
        arguments: fix the shapes, strides, dtypes and devices.
        compiled: whether to make machine code of the graph, as torch.compile does (needs a C++ compiler;
            the first call of a shape takes seconds to minutes).
        into: so many of the first results are written into tensors that the caller gives.
        closed: whether it is an error that the function reads a tensor besides its arguments, whose value
            would be fixed.

    Raises:
        ValueError: the function reads a tensor besides its arguments, and must not.
        ArithmeticError: the graph does not give what the function gave.
        Exception: whatever tracing raises where the function cannot be traced.
    """
    own = _apart(arguments)
    seen: list[list[Tensor]] = []

    def watched(xs: list[Tensor]) -> list[Tensor]:
        seen.append(function(xs))
        return seen[-1]

    graph = make_fx(watched, tracing_mode="real")(own)
    graph = _flat(graph)
    if closed:
        graph.graph.eliminate_dead_code()
        if any(node.op == "get_attr" for node in graph.graph.nodes):
            raise ValueError("the function must read its arguments alone, found another tensor in it")
    graph = shorten(graph, own)
    num_operations = sum(node.op == "call_function" for node in graph.graph.nodes)
    found = seen[-1]
    if compiled:
        with_plain_products(graph)
        captured = Captured(call=compile_graph(graph, own, into=into), num_operations=num_operations)
        _require_equal(captured, own, found, into)
        return captured
    try:
        captured = Captured(call=emit(graph, into=into), num_operations=num_operations)
        _require_equal(captured, own, found, into)
    except (TypeError, RuntimeError):  # a binding that does not take what the operator takes
        captured = Captured(call=emit(graph, into=into, quick=False), num_operations=num_operations)
        _require_equal(captured, own, found, into)
    return captured


def _apart(arguments: Sequence[Tensor]) -> list[Tensor]:
    """The arguments with memory of their own each: what is one tensor now may be two at the next call."""
    own: list[Tensor] = []
    seen: set[int] = set()
    for x in arguments:
        place = x.untyped_storage().data_ptr()
        own.append(x.detach().clone() if place in seen else x.detach())
        seen.add(place)
    return own


def _require_equal(
    captured: Captured, arguments: Sequence[Tensor], expected: Sequence[Tensor], into: int
) -> None:
    """Hold the graph to the run that it was traced from: a shortcut that changes a number is an error."""
    given = [torch.full_like(x, torch.nan, memory_format=torch.contiguous_format) for x in expected[:into]]
    rest = captured(arguments, given)
    for a, b in zip([*given, *rest], expected, strict=True):
        tolerance = 1e-10 if b.dtype == torch.float64 else 1e-3
        close = torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()), equal_nan=True)
        if a.shape != b.shape or not close:
            raise ArithmeticError("a graph must give what it was traced from, found another result")


def _flat(graph: fx.GraphModule) -> fx.GraphModule:
    """Arguments one by one and a plain list as the result, in place of nested ones."""
    graph.graph._codegen = fx.graph.CodeGen()  # noqa: SLF001  the public way keeps the nesting
    for node in graph.graph.nodes:
        if node.op == "output":
            node.args = (list(node.args[0]),)
    graph.recompile()
    return graph
