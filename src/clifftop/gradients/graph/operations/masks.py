"""Any operation at all, one example's part of the gradient at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from clifftop.gradients.graph.contributions import Contribution, Rows
from clifftop.gradients.graph.layout import Layout
from clifftop.gradients.graph.operations.base import Finish, Grads, Use


def by_masks(use: Use) -> Finish:
    """Any operation: its own backward for one example's part of the gradient at a time.

    Exact because a backward pass is linear, and slow: B times the operation's cost. Only for numbers that
    are finite: 0 times one example's NaN would reach another's gradient.
    """

    def finish(grads: Grads) -> dict[int, Contribution]:
        parts: dict[int, list[Tensor]] = {i: [] for i in use.values}
        for b in range(use.size):
            masked = [_masked(g, layout, b, use.size) for g, layout in zip(grads, use.layouts, strict=True)]
            results = use.node(*masked)
            results = results if isinstance(results, tuple) else (results,)
            for i, shape in use.values.items():
                grad = results[i]
                like = next(g for g in grads if g is not None)
                parts[i].append(like.new_zeros(shape) if grad is None else _dense(grad).sum_to_size(shape))
        return {i: Rows(torch.stack(rows)) for i, rows in parts.items()}

    return finish


def _masked(g: Tensor | None, layout: Layout | None, b: int, size: int) -> Tensor | None:
    """``g`` with 0 for every example but ``b``."""
    if g is None or layout is None:
        return None
    one = torch.arange(size, device=g.device) == b
    return torch.where(layout.per_element(one, g.dim()), g, 0)


def _dense(x: Tensor) -> Tensor:
    return x.to_dense() if x.is_sparse else x
