"""Making a traced graph short: no repeated or empty operations, constants made once, quick calls.

Every pass keeps what the graph computes, bit for bit but for roots of squares, which are not taken. A
graph with operations that write into their arguments keeps its order and its repetitions; only empty
views are removed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from clifftop.capture.reshaping import without_round_trips, without_squares, without_unit_axes

aten = torch.ops.aten

_FROM_SHAPE_ALONE = {
    aten.ones_like.default, aten.zeros_like.default, aten.new_zeros.default, aten.new_ones.default,
    aten.full_like.default, aten.new_full.default,
}  # fmt: skip


_LARGEST_CONSTANT = 1 << 16


def shorten(graph: fx.GraphModule, arguments: list[Any]) -> fx.GraphModule:
    """The same function of ``arguments``' shapes in fewer operations."""
    _without_empty_views(graph, arguments)
    _without_writes(graph)
    if not any(_writes(node) for node in graph.graph.nodes):
        _without_repetitions(graph)
        _with_constants(graph, arguments)
        _without_empty_choices(graph)
        _with_one_transpose(graph)
        without_unit_axes(graph, _Keeping.of(graph, arguments))
        without_squares(graph, _Keeping.of(graph, arguments))
        without_round_trips(graph, _Keeping.of(graph, arguments))
        _without_repetitions(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _writes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable  # noqa: SLF001


def _without_writes(graph: fx.GraphModule) -> None:
    """Let an operation that writes into a tensor made for it give a new tensor instead."""
    own: set[fx.Node] = set()
    order = {node: i for i, node in enumerate(graph.graph.nodes)}
    for node in list(graph.graph.nodes):
        if not _writes(node) or not isinstance(node.args[0], fx.Node):
            continue
        target, written = node.target, node.args[0]
        fresh = written in own or _is_new(written)
        name, overload = target.overloadpacket.__name__, target._overloadname  # noqa: SLF001
        packet = getattr(aten, name.removesuffix("_"), None)
        # Nobody has looked at it before, so nobody holds a view of it.
        first = min(written.users, key=lambda user: order.get(user, -1))
        if not fresh or first is not node or not name.endswith("_") or not hasattr(packet, overload):
            continue
        with graph.graph.inserting_before(node):
            made = graph.graph.call_function(getattr(packet, overload), node.args, node.kwargs)
        order[made] = order[node]
        node.replace_all_uses_with(made)
        graph.graph.erase_node(node)
        written.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)
        own.add(made)


def _is_new(node: fx.Node) -> bool:
    """Whether the operation makes a tensor that shares no memory with another."""
    if not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
        return False
    returned = node.target._schema.returns  # noqa: SLF001
    return len(returned) == 1 and returned[0].alias_info is None


class _Keeping(fx.Interpreter):
    """Runs a graph and keeps every value, so that no two of them share memory by chance."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.kept: dict[fx.Node, Any] = {}

    @classmethod
    def of(cls, graph: fx.GraphModule, arguments: list[Any]) -> dict[fx.Node, Any]:
        """Every node's value."""
        graph.recompile()
        keeping = cls(graph)
        keeping.run(*arguments)
        return keeping.kept

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.kept[n] = value
        return value


def _without_empty_views(graph: fx.GraphModule, arguments: list[Any]) -> None:
    """Use the first of all tensors that are one memory seen in one way."""
    kept = _Keeping.of(graph, arguments)
    first: dict[object, fx.Node] = {}
    for node in list(graph.graph.nodes):
        value = kept.get(node)
        if not isinstance(value, Tensor) or not value.numel() or node.op == "output":
            continue
        key = (
            value.untyped_storage().data_ptr(),
            value.storage_offset(),
            tuple(value.shape),
            value.stride(),
            value.dtype,
            # Conjugates and negatives may share memory with what they are of.
            value.is_conj(),
            value.is_neg(),
        )
        earlier = first.setdefault(key, node)
        if earlier is not node and not _writes(node):
            node.replace_all_uses_with(earlier)
    graph.graph.eliminate_dead_code()


def _without_repetitions(graph: fx.GraphModule) -> None:
    seen: dict[object, fx.Node] = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        earlier = seen.setdefault(key, node)
        if earlier is not node:
            node.replace_all_uses_with(earlier)
            graph.graph.erase_node(node)


def _hashable(x: Any) -> object:
    if isinstance(x, (list, tuple)):
        return tuple(map(_hashable, x))
    if isinstance(x, dict):
        return tuple((k, _hashable(v)) for k, v in sorted(x.items()))
    return (type(x).__name__, x) if isinstance(x, (bool, int, float)) else x


def _with_constants(graph: fx.GraphModule, arguments: list[Any]) -> None:
    """Compute once what does not depend on the arguments' values."""
    kept = _Keeping.of(graph, arguments)
    known: set[fx.Node] = set()
    for node in list(graph.graph.nodes):
        if node.op == "get_attr":
            known.add(node)
        if node.op != "call_function" or not isinstance(kept.get(node), Tensor):
            continue
        if node.target not in _FROM_SHAPE_ALONE and not all(n in known for n in node.all_input_nodes):
            continue
        if kept[node].numel() > _LARGEST_CONSTANT:
            continue
        known.add(node)
    for i, node in enumerate(list(graph.graph.nodes)):
        if node in known and node.op == "call_function":
            name = f"_constant_{i}"
            graph.register_buffer(name, kept[node].detach().clone(), persistent=False)
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(name))
            graph.graph.erase_node(node)


def _without_empty_choices(graph: fx.GraphModule) -> None:
    """Drop ``where`` and ``and`` whose condition is a constant that always holds."""

    def always(node: object) -> bool:
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return False
        value = getattr(graph, str(node.target))
        return value.dtype == torch.bool and bool(value.all())

    values = _shapes(graph)
    for node in list(graph.graph.nodes):
        if node.target is aten.where.self and always(node.args[0]) and values[node] == values[node.args[1]]:
            node.replace_all_uses_with(node.args[1])


def _with_one_transpose(graph: fx.GraphModule) -> None:
    """One name for the transpose of a matrix, so that it is made once."""
    for node in list(graph.graph.nodes):
        if node.target is aten.permute.default and list(node.args[1]) == [1, 0]:
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.call_function(aten.t.default, (node.args[0],)))
    graph.graph.eliminate_dead_code()


def _shapes(graph: fx.GraphModule) -> dict[fx.Node, object]:
    return {node: _shape(node) for node in graph.graph.nodes}


def _shape(node: fx.Node) -> object:
    meta = node.meta.get("tensor_meta")
    return None if meta is None else (tuple(meta.shape), meta.dtype)
