"""Operations element by element, in which a value is spread over the examples."""

from __future__ import annotations

from clifftop.gradients.graph.contributions import Contribution, Rows
from clifftop.gradients.graph.operations.base import Finish, Grads, Use, only, reduced


def add(use: Use) -> Finish:
    """A sum."""
    alpha = use.node._saved_alpha

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        return {
            i: Rows(reduced(g if i == 0 or alpha == 1 else g * alpha, use, shape))
            for i, shape in use.values.items()
        }

    return finish


def sub(use: Use) -> Finish:
    """A difference."""
    alpha = use.node._saved_alpha

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        return {i: Rows(reduced(g if i == 0 else g * -alpha, use, s)) for i, s in use.values.items()}

    return finish


def mul(use: Use) -> Finish:
    """A product with data."""
    (value,) = use.values
    other = use.node._saved_other if value == 0 else use.node._saved_self
    shape = use.values[value]
    return lambda grads: {value: Rows(reduced(only(grads) * other.conj(), use, shape))}


def spread(use: Use) -> Finish:
    """``expand``: the gradient of a copy is its own."""
    shape = use.values[0]
    return lambda grads: {0: Rows(reduced(only(grads), use, shape))}
