"""Embedding tables: the gradient of one example is as many rows as it read.

An example that reads row i at positions t has there the sum of their output gradients, and zero in
all other rows. So its squared norm is the sum of the Gram matrix's entries ``g_t . g_s`` over pairs
that read one row; adding up equal rows first gives the same number without forming the pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.rules.base import GhostRule, LeafCall
from clifftop.gradients.rules.fallback import CallLayout

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def sq_norms(indices: Tensor, g: Tensor, *, padding_idx: int | None = None) -> Tensor:
    """Squared norms ``(B,)``, float64, of the examples' gradients of a table.

    Args:
        indices: ``(B, T)`` the rows that each example read.
        g: ``(B, T, d)`` gradient of the example's own loss at what was read.
        padding_idx: a row that never gets a gradient.

    >>> sq_norms(torch.tensor([[1, 2, 1]]), torch.tensor([[[1.0], [5.0], [2.0]]]))
    tensor([34.0000], dtype=torch.float64)
    """
    if padding_idx is not None:
        g = without_row(indices, g, padding_idx)
    size, positions, width = g.shape
    if positions == 1 or g.numel() == 0:
        return row_sq_norms(g.reshape(1, size, positions * width))[0]
    ordered, order = indices.sort(dim=1)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    slots = new.cumsum(1) - 1 + positions * torch.arange(size, device=g.device)[:, None]
    by_row = g.gather(1, order[..., None].expand_as(g)).flatten(0, 1)
    summed = torch.zeros_like(by_row).index_add_(0, slots.flatten(), by_row)
    return row_sq_norms(summed.view(1, size, positions * width))[0]


def weighted_sum(
    indices: Tensor,
    g: Tensor,
    weights: Tensor,
    num_rows: int,
    *,
    padding_idx: int | None = None,
    sparse: bool = False,
) -> Tensor:
    """Sum over examples of weight ``(B,)`` times gradient, ``(num_rows, d)``.

    With ``sparse`` a coalesced sparse tensor of the rows that were read: no row beside them is
    touched, so the cost does not depend on ``num_rows``.
    """
    if padding_idx is not None:
        g = without_row(indices, g, padding_idx)
    values = (g * weights.to(g.dtype)[:, None, None]).flatten(0, 1)
    rows = indices.flatten()
    if not sparse:
        return g.new_zeros(num_rows, g.shape[-1]).index_add_(0, rows, values)
    found, places = torch.unique(rows, return_inverse=True)
    summed = g.new_zeros(len(found), g.shape[-1]).index_add_(0, places, values)
    return torch.sparse_coo_tensor(
        found[None], summed, (num_rows, g.shape[-1]), is_coalesced=True, check_invariants=False
    )


def without_row(indices: Tensor, g: Tensor, row: int) -> Tensor:
    """``g`` ``(..., d)`` with zeros where ``indices`` ``(...)`` is ``row``, whatever stood there."""
    return g.masked_fill((indices == row)[..., None], 0)


class RenumberingHook(ABC):
    """A forward pre-hook of a table that changes the row numbers it is given, and nothing else.

    What is recorded of a call is what the table itself saw, so the rule stays right.
    """

    @abstractmethod
    def __call__(
        self, table: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other row numbers."""


def is_plain(table: nn.Module) -> bool:
    """Whether a table's output is a sum of its rows with given weights, and nothing else happens to it.

    Not where the ordinary gradient is a sparse tensor: autograd cannot slice one, so the tape could
    not compare itself with it.
    """
    if not isinstance(table, EMBEDDINGS):
        return False
    linear = isinstance(table, nn.Embedding) or table.mode in {"sum", "mean"}
    return linear and table.max_norm is None and not (table.scale_grad_by_freq or table.sparse)


@final
class EmbeddingRule(GhostRule):
    """Tables whose `is_plain` holds: norms by adding up equal rows, sums by one scatter."""

    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""
        indices, g = _reads(call)
        norms = sq_norms(indices.flatten(0, 1), g.flatten(0, 1))
        return {"weight": norms.view(indices.shape[:2])}

    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, V, d)``."""
        indices, g = _reads(call)
        num_runs, num_rows = len(indices), _num_rows(call)
        by_run = indices + num_rows * torch.arange(num_runs, device=g.device)[:, None, None]
        total = weighted_sum(
            by_run.flatten(0, 1), g.flatten(0, 1), weights["weight"].flatten(), num_runs * num_rows
        )
        return {"weight": total.view(num_runs, num_rows, -1)}

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, V, d)``."""
        indices, g = _reads(call)
        num_runs, size = indices.shape[:2]
        num_rows, count = _num_rows(call), num_runs * size
        by_example = indices.flatten(0, 1) + num_rows * torch.arange(count, device=g.device)[:, None]
        ones = g.new_ones(count)
        total = weighted_sum(by_example, g.flatten(0, 1), ones, count * num_rows)
        return {"weight": total.view(num_runs, size, num_rows, -1)}


def _num_rows(call: LeafCall) -> int:
    layout = call.layout
    if isinstance(layout, CallLayout):
        # The rows that the call was given, which may be fewer than the module owns.
        return layout.params["weight"].shape[1]
    return call.module.get_parameter("weight").shape[0]


def _reads(call: LeafCall) -> tuple[Tensor, Tensor]:
    """Rows read ``(R, B, T)`` and the gradient at each ``(R, B, T, d)``; bags are taken apart."""
    table, indices, g = call.module, call.inputs[0], call.output_grads[0]
    # Half precision would round a sum of rows beyond its norm.
    g = g.to(torch.promote_types(g.dtype, torch.float32))
    if isinstance(table, nn.EmbeddingBag):
        g = g.unsqueeze(2) * _bag_weights(table, indices, call.inputs[1:], g)[..., None]
    else:
        indices = indices.flatten(2) if indices.dim() > 2 else indices.unsqueeze(2)
        g = g.reshape(*indices.shape, g.shape[-1])
    padding = table.padding_idx
    return indices, without_row(indices, g, padding) if isinstance(padding, int) else g


def _bag_weights(table: nn.EmbeddingBag, indices: Tensor, rest: tuple[Tensor, ...], like: Tensor) -> Tensor:
    """How much each row counts in its bag, ``(R, B, T)``, in the dtype of ``like``."""
    if rest:
        return rest[0].to(like.dtype)
    ones = torch.ones_like(indices, dtype=like.dtype)
    if table.mode == "sum":
        return ones
    kept = ones if table.padding_idx is None else (indices != table.padding_idx).to(like.dtype)
    return ones / kept.sum(-1, keepdim=True).clamp_min(1)
