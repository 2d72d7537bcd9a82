"""Rows of a table, looked up by whole numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution, Gather
from clifftop.gradients.graph.lookups import Lookups
from clifftop.gradients.graph.operations.base import Finish, Grads, Use, only
from clifftop.gradients.graph.operations.masks import by_masks
from clifftop.gradients.graph.refusals import GraphUnsuited
from clifftop.gradients.graph.walk import Node
from clifftop.gradients.rules.embedding import without_row


def _refuse_frequencies(node: Node) -> None:
    if node._saved_scale_grad_by_freq:
        raise GraphUnsuited(
            "an embedding must not scale gradients by frequency in the batch, found one that does"
        )


def embedding(use: Use) -> Finish:
    """Rows of a table."""
    node = use.node
    _refuse_frequencies(node)
    return _lookup(use, node._saved_indices, padding=node._saved_padding_idx)


def embedding_bag(use: Use) -> Finish:
    """Sums or means of rows; for maxima see `by_masks`."""
    node = use.node
    mode, indices, weights = node._saved_mode, node._saved_indices, node._saved_per_sample_weights
    _refuse_frequencies(node)
    if mode == _MAXIMUM:
        return by_masks(use)
    bags, sizes, padding = node._saved_result1, node._saved_result2, node._saved_padding_idx
    if len(bags) != len(indices):
        # PyTorch's quick sum in float32 and narrower does not say which bag an index is in.
        places = torch.arange(len(indices), device=indices.device, dtype=node._saved_offsets.dtype)
        bags = torch.searchsorted(node._saved_offsets, places, right=True) - 1
    (rows, _) = use.values[0]

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = only(grads)
        own = g[bags] if weights is None else g[bags] * weights[:, None]
        if mode == _MEAN:
            own = own / sizes[bags].clamp_min(1)[:, None]
        own = without_row(indices, own, padding)
        # Bags may differ in length; each index belongs to the example of its bag.
        owner = use.layout.per_element(torch.arange(use.size, device=g.device), 1)[bags]
        return {0: Lookups(indices, owner, own, rows, use.size)}

    return finish


_MEAN, _MAXIMUM = 1, 2
"""PyTorch's numbers for the modes of an embedding bag."""


def index(use: Use) -> Finish:
    """``table[indices]``: rows of a matrix, looked up by one tensor of whole numbers."""
    indices = [x for x in use.node._saved_indices if x is not None]
    shape = use.values[0]
    one = len(indices) == 1 and use.node._saved_indices[0] is not None
    if len(shape) != 2 or not one or indices[0].dtype in (torch.bool, torch.uint8):
        return by_masks(use)
    return _lookup(use, torch.where(indices[0] < 0, indices[0] + shape[0], indices[0]))


def index_select(use: Use) -> Finish:
    """``table.index_select(0, indices)``."""
    if use.node._saved_dim % len(use.values[0]) or len(use.values[0]) != 2:
        return by_masks(use)
    return _lookup(use, use.node._saved_index)


def _lookup(use: Use, indices: Tensor, *, padding: int = -1) -> Finish:
    """Rows ``indices`` of a matrix; row ``padding`` gets no gradient, where there is such a row."""
    rows, width = use.values[0]

    def finish(grads: Grads) -> dict[int, Contribution]:
        g = use.layout.examples_first(only(grads), use.size).reshape(use.size, -1, width)
        places = use.layout.examples_first(indices, use.size).reshape(use.size, -1)
        if 0 <= padding < rows:
            g = without_row(places, g, padding)
        return {0: Gather(places, g, rows)}

    return finish
