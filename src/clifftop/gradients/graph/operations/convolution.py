"""Convolutions of any kind."""

from __future__ import annotations

from clifftop.gradients.graph.contributions import Contribution, Patches, Rows
from clifftop.gradients.graph.operations.base import Finish, Grads, Use, only
from clifftop.gradients.rules import patches


def convolution(use: Use) -> Finish:
    """Weight and bias."""
    node, layout, size = use.node, use.layout, use.size
    x = node._saved_input
    shape = None
    if 1 in use.values:
        shape = patches.Shape(
            weight=use.values[1],
            stride=tuple(node._saved_stride),
            padding=tuple(node._saved_padding),
            dilation=tuple(node._saved_dilation),
            output_padding=tuple(node._saved_output_padding),
            groups=node._saved_groups,
            transposed=node._saved_transposed,
        )

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        found: dict[int, Contribution] = {}
        if shape is not None:
            found[1] = Patches(layout.examples_first(x, size), layout.examples_first(g, size), shape)
        if 2 in use.values:
            bias = layout.examples_first(g.flatten(2).sum(2), size)
            found[2] = Rows(bias.sum(1) if layout.merged else bias)
        return found

    return finish
