"""Tracing a function of tensors to one graph of plain operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from clifftop.capture.emitting import emit
from clifftop.capture.passes import shorten

Function = Callable[[list[Tensor]], list[Tensor]]
"""From a list of tensors to a list of tensors; shapes and everything else are constants of it."""


@final
@dataclass(frozen=True)
class Captured:
    """A traced function: the same numbers without autograd's and the modules' own work.

    Attributes:
        call: takes the tensors one by one, gives a list.
        num_operations: how many operations it runs.
    """

    call: Callable[..., list[Tensor]]
    num_operations: int

    def __call__(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """The function's value. Outputs are ordinary tensors without a graph."""
        with torch.no_grad():
            return self.call(*arguments)


def capture(function: Function, arguments: Sequence[Tensor], *, compiled: bool = False) -> Captured:
    """Trace ``function`` at ``arguments``.

    Args:
        function: must not look at the values of tensors.
        arguments: fix the shapes, dtypes and devices.
        compiled: whether to hand the graph to torch.compile (needs a C++ compiler; the first call of a
            shape takes seconds to minutes).

    Raises:
        ArithmeticError: the graph does not give what the function gave.
        Exception: whatever tracing raises where the function cannot be traced.
    """
    own = [x.detach() for x in arguments]
    seen: list[list[Tensor]] = []

    def watched(xs: list[Tensor]) -> list[Tensor]:
        seen.append(function(xs))
        return seen[-1]

    graph = make_fx(watched, tracing_mode="real")(own)
    graph = shorten(_flat(graph), own)
    num_operations = sum(node.op == "call_function" for node in graph.graph.nodes)
    call: Any = torch.compile(graph, dynamic=False, fullgraph=True) if compiled else emit(graph)
    captured = Captured(call=call, num_operations=num_operations)
    _require_equal(captured(own), seen[-1])
    return captured


def _require_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Hold the graph to the run that it was traced from: a shortcut that changes a number is an error."""
    for a, b in zip(found, expected, strict=True):
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
