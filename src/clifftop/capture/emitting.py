"""A traced graph as one plain Python function: no module, no lookups, values freed after their last use."""

from __future__ import annotations

from collections.abc import Callable
from operator import getitem
from typing import Any, final

import torch
from torch import Tensor, fx

aten = torch.ops.aten

_CORE: Any = torch._C  # noqa: SLF001  PyTorch's own bindings
_PLACES = (_CORE._VariableFunctions, _CORE._nn, _CORE._linalg)  # noqa: SLF001  likewise

_METHODS = {aten.view.default: Tensor.view, aten.expand.default: Tensor.expand}

_WRITE_INTO = {
    aten.mm.default, aten.mv.default, aten.bmm.default, aten.addmm.default, aten.sum.dim_IntList,
    aten.index_add.default,
}  # fmt: skip
"""Operations that can write their result where it is wanted."""


def emit(graph: fx.GraphModule, *, into: int = 0, quick: bool = True) -> Callable[..., list[Tensor]]:
    """The graph as a function of its arguments.

    Args:
        graph: a list of tensors is its output.
        into: so many of the first outputs are written into tensors given after the arguments; the
            function gives the others.
        quick: whether operators are called by PyTorch's own bindings where there is one of the same
            name: half the time of the generic call, which for small tensors is most of it.
    """
    return _Writer(graph, into=into, quick=quick).function()


@final
class _Writer:
    """Writes the function, line by line."""

    def __init__(self, graph: fx.GraphModule, *, into: int, quick: bool) -> None:
        self._graph, self._quick = graph, quick
        self._scope: dict[str, Any] = {}
        self._names: dict[fx.Node, str] = {}
        nodes = list(graph.graph.nodes)
        found: list[Any] = list(nodes[-1].args[0])
        self._given = [f"o{i}" for i in range(into)]
        self._rest = found[into:]
        self._place: dict[fx.Node, str] = {}
        self._copied: list[tuple[str, Any]] = []
        for name, node in zip(self._given, found, strict=False):
            if found.count(node) > 1:
                self._copied.append((name, node))
            else:
                self._place_for(name, node)

    def function(self) -> Callable[..., list[Tensor]]:
        """The function."""
        last = _last_uses(self._graph)
        arguments: list[str] = []
        lines: list[str] = []
        for i, node in enumerate(self._graph.graph.nodes):
            name = self._names[node] = f"v{i}"
            if node.op == "placeholder":
                arguments.append(name)
            elif node.op == "get_attr":
                self._names[node] = self._constant(getattr(self._graph, str(node.target)))
            elif node.op == "output":
                lines += [f"{given}.copy_({self._text(x)})" for given, x in self._copied]
                lines.append(f"return {self._text(self._rest)}")
            else:
                lines.append(f"{name} = {self._call(node)}")
            freed = [self._names[n] for n in last.get(node, ()) if n.op != "get_attr"]
            if freed and node.op != "output":
                lines.append(f"{' = '.join(freed)} = None")
        body = "\n".join(f"    {line}" for line in lines)
        # Our own text, from a checked graph.
        exec(f"def step({', '.join([*arguments, *self._given])}):\n{body}\n", self._scope)
        return self._scope["step"]

    def _place_for(self, name: str, node: fx.Node) -> None:
        """Let ``node`` be written into the tensor ``name`` by what makes it, or copied there."""
        maker, place = node, name
        if node.target is aten.view.default and len(node.users) == 1:
            source = node.args[0]
            meta = source.meta.get("tensor_meta") if isinstance(source, fx.Node) else None
            if isinstance(source, fx.Node) and meta is not None:
                maker, place = source, f"{name}.view({tuple(meta.shape)})"
        writes = maker.target in _WRITE_INTO and not maker.kwargs and len(maker.users) == 1
        if writes and maker not in self._place:
            self._place[maker] = place
            if maker is not node:
                self._place[node] = ""
        else:
            self._copied.append((name, node))

    def _call(self, node: fx.Node) -> str:
        if self._place.get(node) == "":
            return "None"  # a shape of what was written in place
        if node.target is getitem:
            return f"{self._text(node.args[0])}[{node.args[1]}]"
        keywords = [f"{k}={self._text(v)}" for k, v in node.kwargs.items()]
        binding, place = self._binding(node), self._place.get(node)
        if place is not None:
            keywords.append(f"out={place}")
        return f"{self._constant(binding)}({', '.join([*map(self._text, node.args), *keywords])})"

    def _binding(self, node: fx.Node) -> object:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload):  # noqa: SLF001
            return target
        if node in self._place:
            # The operator's packet picks the overload that writes.
            name = target.overloadpacket.__name__
            return getattr(torch, name)
        if not self._quick or target._schema.is_mutable:  # noqa: SLF001
            return target._op  # noqa: SLF001
        if target in _METHODS:
            return _METHODS[target]
        name = target._schema.name.removeprefix("aten::")  # noqa: SLF001
        return next((getattr(p, name) for p in _PLACES if hasattr(p, name)), target._op)  # noqa: SLF001

    def _constant(self, value: object) -> str:
        name = f"k{len(self._scope)}"
        self._scope[name] = value
        return name

    def _text(self, x: Any) -> str:
        if isinstance(x, fx.Node):
            return self._names[x]
        if isinstance(x, (list, tuple)):
            inside = ", ".join(map(self._text, x))
            return f"[{inside}]" if isinstance(x, list) else f"({inside},)"
        return repr(x) if x is None or type(x) in (bool, int, str) else self._constant(x)


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
