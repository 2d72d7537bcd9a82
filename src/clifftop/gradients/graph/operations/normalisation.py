"""The scale and shift of a normalisation."""

from __future__ import annotations

import torch

from clifftop.gradients.graph.contributions import Contribution, Rows
from clifftop.gradients.graph.operations.base import Finish, Grads, Use, only, reduced


def layer_norm(use: Use) -> Finish:
    """Scale and shift, from the normalised input."""
    node = use.node
    x, mean, rstd = node._saved_input, node._saved_result1, node._saved_result2

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        found: dict[int, Contribution] = {}
        if 1 in use.values:
            # Statistics are kept in float32 where the input is half precision.
            found[1] = Rows(reduced(g * ((x - mean) * rstd), use, use.values[1]))
        if 2 in use.values:
            found[2] = Rows(reduced(g, use, use.values[2]))
        return found

    return finish


def group_norm(use: Use) -> Finish:
    """Scale and shift, by PyTorch's own kernel."""
    node = use.node
    x, mean, rstd = node._saved_input, node._saved_result1, node._saved_result2
    channels, inner, groups = node._saved_C, node._saved_HxW, node._saved_group

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        size = use.size
        # Each example's channels as channels of one example: PyTorch's kernel then keeps examples apart.
        _, scale, shift = torch.ops.aten.native_group_norm_backward(
            g.contiguous().view(1, size * channels, inner),
            x.contiguous().view(1, size * channels, inner),
            mean.view(1, -1),
            rstd.view(1, -1),
            # Read for the input's gradient only, but it must be there.
            mean.new_ones(size * channels),
            1,
            size * channels,
            inner,
            size * groups,
            [False, True, True],
        )
        found = {1: scale, 2: shift}
        return {i: Rows(found[i].view(size, channels)) for i in use.values}

    return finish
