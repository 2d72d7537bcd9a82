"""Products of matrices, one of them data."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution, Outer, Rows
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.operations.base import Finish, Grads, Use, only, reduced
from clifftop.gradients.graph.walk import Node


def addmm(use: Use) -> Finish:
    """``bias + a @ b``: the bias, and one of the matrices."""
    node = use.node
    alpha, beta = node._saved_alpha, node._saved_beta
    product = _product(use, node, 1, 2, ("_saved_mat1", "_saved_mat2"))

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        found = product(g if alpha == 1 else g * alpha)
        if 0 in use.values:
            found[0] = Rows(reduced(g if beta == 1 else g * beta, use, use.values[0]))
        return found

    return finish


def mm(use: Use) -> Finish:
    """``a @ b``, one of them a value."""
    product = _product(use, use.node, 0, 1, ("_saved_self", "_saved_mat2"))
    return lambda grads: product(only(grads))


def _product(
    use: Use, node: Node, left: int, right: int, saved: tuple[str, str]
) -> Callable[[Tensor], dict[int, Contribution]]:
    """Matrix times matrix, or a stack of them, one of the two a value."""
    values = [i for i in (left, right) if i in use.values]
    if not values:
        return lambda _: {}
    (value,) = values
    on_left = value == left
    data = getattr(node, saved[1] if on_left else saved[0])
    stacked = data.dim() == 3

    def finish(g: Tensor) -> dict[int, Contribution]:
        a = data
        if on_left:
            a, g = a.mT, g.mT
        layout = Layout(axis=a.dim() - 2, before=use.layout.before, after=use.layout.after)
        operands = [_positions_last(x, layout, use.size, stacked=stacked) for x in (a, g)]
        part = Outer(*operands)
        return {value: part.transposed() if on_left else part}

    return finish


def _positions_last(x: Tensor, layout: Layout, size: int, *, stacked: bool) -> Tensor:
    """``(B, ..., T, d)`` from ``(..., before * B * after, d)``; no T for one position."""
    first = layout.examples_first(x, size)
    if stacked and not layout.merged:
        return first.unsqueeze(-2)
    return first


def bmm(use: Use) -> Finish:
    """A stack of products, one side values."""
    product = _product(use, use.node, 0, 1, ("_saved_self", "_saved_mat2"))
    return lambda grads: product(only(grads))
