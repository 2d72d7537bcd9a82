"""A traced graph as one plain Python function: no module, no lookups, values freed after their last use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def emit(graph: fx.GraphModule) -> Callable[..., list[Tensor]]:
    """The graph as a function of its arguments.

    Operators are called by PyTorch's own bindings where there is one for the same operation: half the
    time of the generic call, which for small tensors is most of it.
    """
    scope: dict[str, Any] = {}
    names: dict[fx.Node, str] = {}
    last = _last_uses(graph)
    arguments: list[str] = []
    lines: list[str] = []

    def constant(value: object) -> str:
        name = f"k{len(scope)}"
        scope[name] = value
        return name

    def text(x: Any) -> str:
        if isinstance(x, fx.Node):
            return names[x]
        if isinstance(x, (list, tuple)):
            inside = ", ".join(map(text, x))
            return f"[{inside}]" if isinstance(x, list) else f"({inside},)"
        return repr(x) if x is None or type(x) in (bool, int, str) else constant(x)

    for i, node in enumerate(graph.graph.nodes):
        names[node] = f"v{i}"
        if node.op == "placeholder":
            arguments.append(names[node])
        elif node.op == "get_attr":
            names[node] = constant(getattr(graph, str(node.target)))
        elif node.op == "output":
            lines.append(f"return {text(list(node.args[0]))}")
        else:
            call = constant(_binding(node))
            keywords = [f"{k}={text(v)}" for k, v in node.kwargs.items()]
            lines.append(f"v{i} = {call}({', '.join([*map(text, node.args), *keywords])})")
        freed = [names[n] for n in last.get(node, ()) if n.op != "get_attr"]
        if freed and node.op != "output":
            lines.append(f"{' = '.join(freed)} = None")
    body = "\n".join(f"    {line}" for line in lines)
    exec(f"def step({', '.join(arguments)}):\n{body}\n", scope)  # our own text, from a checked graph
    return scope["step"]


def _last_uses(graph: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """For each node, the values that no later one reads."""
    seen: set[fx.Node] = set()
    last: dict[fx.Node, list[fx.Node]] = {}
    for node in reversed(list(graph.graph.nodes)):
        for source in node.all_input_nodes:
            if source not in seen:
                seen.add(source)
                last.setdefault(node, []).append(source)
    return last


def _binding(node: fx.Node) -> object:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001
        return target
    return (None if node.kwargs else _BINDINGS.get(target)) or target._op  # noqa: SLF001


_BINDINGS: dict[object, Callable[..., Any]] = {
    aten.addmm.default: torch.addmm,
    aten.mm.default: torch.mm,
    aten.bmm.default: torch.bmm,
    aten.mv.default: torch.mv,
    aten.t.default: torch.t,
    aten.mul.Tensor: torch.mul,
    aten.add.Tensor: torch.add,
    aten.sub.Tensor: torch.sub,
    aten.div.Tensor: torch.div,
    aten.relu.default: torch.relu,
    aten.unsqueeze.default: torch.unsqueeze,
    aten.transpose.int: torch.transpose,
    aten.permute.default: torch.permute,
    aten.select.int: torch.select,
    aten.where.self: torch.where,
    aten.sqrt.default: torch.sqrt,
    aten.reciprocal.default: torch.reciprocal,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.stack.default: torch.stack,
    aten.cat.default: torch.cat,
    aten.view.default: Tensor.view,
    aten.tanh.default: torch.tanh,
    aten.sigmoid.default: torch.sigmoid,
    aten.clamp.default: torch.clamp,
    aten.sum.default: torch.sum,
}
