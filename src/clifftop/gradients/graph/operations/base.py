"""What a rule for an operation is given, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.walk import Node


@dataclass(frozen=True, kw_only=True)
class Use:
    """One operation that takes values made of parameters alone, and the gradient at its output.

    Attributes:
        node: the operation; its saved tensors are read before the backward pass frees them.
        size: B.
        layouts: where the examples lie in each output; None for one that no gradient reaches.
        values: input number of each such value, to its shape.
    """

    node: Node
    size: int
    layouts: tuple[Layout | None, ...]
    values: dict[int, tuple[int, ...]]

    @property
    def layout(self) -> Layout:
        """Where the examples lie in the first output."""
        layout = self.layouts[0]
        assert layout is not None
        return layout


Grads = Sequence[Tensor | None]
"""Gradient at each output of a node."""

Finish = Callable[[Grads], dict[int, Contribution]]
"""Turns the gradients at a node's outputs into the contribution of each value, by input number."""

Rule = Callable[[Use], Finish]
"""Reads what the node saved, and says what to do with the gradients."""


def only(grads: Grads) -> Tensor:
    """The gradient at the first output, which has one."""
    found = grads[0]
    assert found is not None
    return found


def reduced(full: Tensor, use: Use, shape: tuple[int, ...]) -> Tensor:
    """``(B, *shape)``: each example's part of ``full`` summed over the axes that ``shape`` broadcast to."""
    split = use.layout.split(full, use.size)
    axis = use.layout.axis
    padded = (*[1] * (full.dim() - len(shape)), *shape)
    padded = (*padded[:axis], padded[axis], 1, 1, *padded[axis + 1 :]) if axis < full.dim() else padded
    # The examples' axis itself is kept; "before" and "after" and broadcast axes are added up.
    drop = [
        i
        for i, (have, want) in enumerate(zip(split.shape, padded, strict=True))
        if i != axis + 1 and want == 1 and have != 1
    ]
    summed = split.sum(drop, keepdim=True) if drop else split
    return summed.movedim(axis + 1, 0).reshape(use.size, *shape)
