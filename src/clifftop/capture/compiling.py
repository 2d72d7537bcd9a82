"""A traced graph as machine code, called without a check that the caller makes already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

_log = logging.getLogger(__name__)


def compile_graph(
    graph: fx.GraphModule, arguments: Sequence[Tensor], *, into: int = 0
) -> Callable[..., list[Tensor]]:
    """The graph as a function of its arguments, for tensors of these shapes and strides alone.

    torch.compile looks at every argument and at the state of the process before each call, which takes
    longer than a small graph; the backend itself does not, and the caller knows that shapes are the same.

    Args:
        graph: a list of tensors is its output.
        arguments: fix shapes, strides, dtypes and devices.
        into: so many of the first outputs are copied into tensors given after the arguments; the
            function gives the others.
    """
    try:
        boxed = _by_backend(graph, arguments)
    except Exception as reason:  # noqa: BLE001  it has no public interface, and torch.compile remains
        _log.info("the backend does not take the graph by itself (%s): torch.compile does", reason)
        compiled: Any = torch.compile(graph, dynamic=False, fullgraph=True)

        def boxed(xs: list[Tensor]) -> Sequence[Tensor]:
            return compiled(*xs)

    count = len(arguments)

    def call(*xs: Tensor) -> list[Tensor]:
        found = boxed(list(xs[:count]))
        if into:
            torch._foreach_copy_(list(xs[count:]), list(found[:into]))
        return list(found[into:])

    return call


def _by_backend(
    graph: fx.GraphModule, arguments: Sequence[Tensor]
) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fakes = [mode.from_tensor(x) for x in arguments]
    functional = torch.func.functionalize(graph, remove="mutations_and_views")
    with torch.no_grad(), tracing(TracingContext(mode)):
        traced = make_fx(functional, decomposition_table=select_decomp_table(), tracing_mode="fake")(*fakes)
        found: Any = compile_fx_inner(traced, fakes)
    return found
