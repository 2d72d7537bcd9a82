"""Fewer operations for small tensors: axes of size one are dropped, and a root of a square is not taken.

For a small model a step costs what its calls cost. Rules and norms carry axes of runs and of groups
whose size is one; what is done to each number alone is done without them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
_CONVERT, _UNSAFE_VIEW = aten._to_copy.default, aten._unsafe_view.default  # noqa: SLF001  what tracing gives

_RESHAPES = {aten.view.default, _UNSAFE_VIEW, aten.unsqueeze.default, aten.squeeze.default,
             aten.squeeze.dim, aten.reshape.default}  # fmt: skip

_EACH_ALONE = {
    aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.sqrt.default, aten.clamp.default,
    aten.pow.Tensor_Scalar, aten.reciprocal.default, aten.neg.default, _CONVERT,
}  # fmt: skip


def without_unit_axes(graph: fx.GraphModule, values: Mapping[fx.Node, Any]) -> None:
    """Do to tensors themselves what is done to them with axes of size one added; bit for bit the same.

    Args:
        graph: writes into nothing.
        values: every node's value for some arguments.
    """
    known = dict(values)
    origin: dict[fx.Node, fx.Node] = {}  # the tensor that a node is another shape of
    for node in list(graph.graph.nodes):
        source = _reshaped(node, known)
        if source is not None:
            origin[node] = origin.get(source, source)
        elif node.target is aten.sum.default and node.args[0] in origin:
            node.args = (origin[node.args[0]], *node.args[1:])
        elif node.target in _EACH_ALONE:
            moved = _done_before_reshaping(graph, node, known, origin)
            if moved is not None:
                known[moved] = known[node].reshape(known[origin[moved]].shape)
                origin[node] = moved
                del origin[moved]
    for node, first in origin.items():
        shape = tuple(known[node].shape)
        if shape == tuple(known[first].shape):
            node.replace_all_uses_with(first)
        elif node.users:
            with graph.graph.inserting_before(node):
                view = graph.graph.call_function(aten.view.default, (first, list(shape)))
            node.replace_all_uses_with(view)
    graph.graph.eliminate_dead_code()


def without_round_trips(graph: fx.GraphModule, values: Mapping[fx.Node, Any]) -> None:
    """A tensor in place of one that was made wider and then as narrow as before."""
    for node in list(graph.graph.nodes):
        wide = node.args[0] if node.args else None
        if not (isinstance(wide, fx.Node) and wide.target is node.target is _CONVERT):
            continue
        narrow = wide.args[0]
        assert isinstance(narrow, fx.Node)
        before, between, after = (values[x] for x in (narrow, wide, node))
        wider = torch.promote_types(before.dtype, between.dtype) == between.dtype
        if before.dtype == after.dtype and wider and before.stride() == after.stride():
            node.replace_all_uses_with(narrow)
    graph.graph.eliminate_dead_code()


def without_squares(graph: fx.GraphModule, values: Mapping[fx.Node, Any]) -> None:
    """Take a norm for the root of its square, and a product with itself for its squares' sum.

    The last bits change, and where a square would overflow the root no longer does; the sum of squares
    that a step is held to be finite by still does.
    """
    for node in list(graph.graph.nodes):
        square = node.args[0] if node.args else None
        if not (isinstance(square, fx.Node) and square.target is aten.pow.Tensor_Scalar):
            continue
        norm, exponent = square.args
        if exponent != 2 or not isinstance(norm, fx.Node):
            continue
        source = norm.args[0] if norm.target is _CONVERT else norm
        is_norm = isinstance(source, fx.Node) and source.target is aten.linalg_vector_norm.default
        if node.target is aten.sqrt.default and is_norm:
            node.replace_all_uses_with(norm)
        elif node.target is aten.sum.default and not node.kwargs and _is_vector(values.get(square)):
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.call_function(aten.dot.default, (norm, norm)))
    graph.graph.eliminate_dead_code()


def _is_vector(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 1 and value.is_floating_point()


def _reshaped(node: fx.Node, values: Mapping[fx.Node, Any]) -> fx.Node | None:
    """The tensor whose numbers ``node`` has, in the same order; None for any other operation."""
    value = values.get(node)
    source: Any = node.args[0] if node.args else None
    if isinstance(source, fx.Node) and source.target is aten.unbind.int and node.target is getitem:
        source = source.args[0]
    elif isinstance(source, (list, tuple)):
        if node.target not in (aten.stack.default, aten.cat.default) or len(source) != 1:
            return None
        source = source[0]
    elif node.target not in _RESHAPES and node.target is not aten.select.int:
        return None
    before = values.get(source) if isinstance(source, fx.Node) else None
    if not isinstance(value, Tensor) or not isinstance(before, Tensor):
        return None
    if value.numel() != before.numel() or value.dtype != before.dtype:
        return None
    same_axes = [n for n in value.shape if n != 1] == [n for n in before.shape if n != 1]
    return source if same_axes or (before.is_contiguous() and value.is_contiguous()) else None


def _done_before_reshaping(
    graph: fx.GraphModule, node: fx.Node, values: Mapping[fx.Node, Any], origin: dict[fx.Node, fx.Node]
) -> fx.Node | None:
    """The operation on the tensors that its operands are shapes of, where these have one shape."""
    value = values[node]
    operands = [x for x in node.args if isinstance(x, fx.Node)]
    converts = node.target is _CONVERT and node.kwargs.keys() == {"dtype"}
    if not (converts or not node.kwargs) or not any(x in origin for x in operands):
        return None
    firsts = {x: origin.get(x, x) for x in operands}
    own = [values[x] for x in firsts.values()]
    whole = [x for x in own if x.numel() == value.numel()]
    if not whole or not (converts or all(x.dtype == value.dtype for x in own)):
        return None
    shape = whole[0].shape
    fits = all(x.shape == shape if x.numel() == value.numel() else x.numel() == 1 for x in own)
    if not fits or any(x.dim() > len(shape) for x in own):
        return None
    assert not isinstance(node.target, str)
    with graph.graph.inserting_before(node):
        args = tuple(firsts[x] if isinstance(x, fx.Node) else x for x in node.args)
        moved = graph.graph.call_function(node.target, args, dict(node.kwargs))
    origin[moved] = next(x for x in firsts.values() if values[x].shape == shape)
    return moved
