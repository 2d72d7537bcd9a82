"""Per-example gradients that exist in memory: what the engines that store every row return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from clifftop.flow import Batch, GroupMap, Params
from clifftop.gradients.base import num_groups

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class InstantiatedGrads:
    """Per-example gradients held as rows: an implementation of `clifftop.flow.PerExampleGrads`.

    Attributes:
        losses: ``(R, B)`` per-example losses, 0 at padding.
        rows: parameter name to ``(R, B, ...)``, one gradient an example, 0 at padding.
        groups: parameter name to clipping group.
    """

    losses: Tensor
    rows: Params
    groups: GroupMap

    def sq_norms(self) -> Tensor:
        """Squared L2 norms, ``(R, B, G)``, in the parameters' dtype but never below float32."""
        norms = self.losses.new_zeros((*self.losses.shape, num_groups(self.groups)), dtype=torch.float64)
        for name, row in self.rows.items():
            norms[..., self.groups[name]] += row_sq_norms(row)
        return norms.to(_at_least_float32(self.rows.values()))

    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient, one ``(R, ...)`` tensor a parameter.

        A row whose weight is 0 adds exactly 0, even where it is NaN or infinite.
        """
        return {name: weighted_rows(row, weights[..., self.groups[name]]) for name, row in self.rows.items()}


def row_sq_norms(rows: Tensor) -> Tensor:
    """Squared L2 norm of each of ``rows`` ``(R, B, ...)``, as ``(R, B)``.

    Long float32 sums of squares come out too low (about 6e-5 relative at two million entries),
    which would let an example pass its clip norm. So norms are taken over short blocks, and the
    blocks are added in float64.

    >>> row_sq_norms(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([[25.,  1.]], dtype=torch.float64)
    """
    flat = rows.flatten(start_dim=2) if rows.dim() > 2 else rows.unsqueeze(-1)
    # Half precision would round each block's norm; the norm itself is taken in float32 or better.
    dtype = torch.promote_types(flat.dtype, torch.float32)
    if flat.shape[-1] <= _BLOCK:
        return torch.linalg.vector_norm(flat, dim=-1, dtype=dtype).double().square()
    whole = flat.shape[-1] - flat.shape[-1] % _BLOCK
    blocks = flat[..., :whole].unflatten(-1, (whole // _BLOCK, _BLOCK))
    block_norms = torch.linalg.vector_norm(blocks, dim=-1, dtype=dtype)
    rest = torch.linalg.vector_norm(flat[..., whole:], dim=-1, dtype=dtype)
    return block_norms.double().square().sum(dim=-1) + rest.double().square()


def row_norms(rows: Tensor) -> Tensor:
    """L2 norm of each of ``rows`` ``(B, ...)``, as ``(B,)``, over short blocks for the reason above.

    >>> row_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([5., 1.])
    """
    flat = rows.reshape(len(rows), -1)
    dtype = torch.promote_types(flat.dtype, torch.float32)
    width = flat.shape[-1]
    if width <= _BLOCK:
        return torch.linalg.vector_norm(flat, dim=-1, dtype=dtype)
    whole = width - width % _BLOCK
    blocks = torch.linalg.vector_norm(
        flat[:, :whole].unflatten(-1, (whole // _BLOCK, _BLOCK)), dim=-1, dtype=dtype
    )
    if whole < width:
        rest = torch.linalg.vector_norm(flat[:, whole:], dim=-1, dtype=dtype)
        blocks = torch.cat([blocks, rest[:, None]], 1)
    return torch.linalg.vector_norm(blocks, dim=-1)


def without_padding(batch: Batch) -> Batch | None:
    """The same batch with a real example in every padding row; None when all rows are padding.

    Engines that evaluate every row must not meet whatever a loader left in the padding.
    """
    if batch.mask.numel() and bool(batch.mask.all()):
        return batch
    real = batch.mask.nonzero()
    if len(real) == 0:
        return None
    run, example = real[0].tolist()
    return Batch(
        inputs=tuple(_replace(x, batch.mask, x[run, example]) for x in batch.inputs),
        targets=tuple(_replace(y, batch.mask, y[run, example]) for y in batch.targets),
        mask=batch.mask,
    )


def no_examples(params: Params, batch: Batch, groups: GroupMap) -> InstantiatedGrads:
    """Zero rows for every example: the gradients of a batch that is all padding."""
    shape = tuple(batch.mask.shape)
    losses = next(iter(params.values())).new_zeros(shape)
    rows = {name: value.new_zeros((*shape, *value.shape[1:])) for name, value in params.items()}
    return InstantiatedGrads(losses=losses, rows=rows, groups=groups)


def zero_where(rows: Tensor, drop: Tensor) -> Tensor:
    """``rows`` ``(R, B, ...)`` with 0, not 0 times the row, where ``drop`` ``(R, B)`` holds."""
    return torch.where(_like(drop, rows), rows.new_zeros(()), rows)


def weighted_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """Sum over examples of ``(R, B)`` weights times ``(R, B, ...)`` rows; weight 0 adds exactly 0."""
    # Weights keep their precision: rounded to half precision, one could exceed its clip norm.
    dtype = torch.promote_types(rows.dtype, weights.dtype)
    kept = zero_where(rows, weights == 0).to(dtype)
    return torch.einsum("rb,rb...->r...", weights.to(dtype), kept).to(rows.dtype)


def _replace(rows: Tensor, mask: Tensor, example: Tensor) -> Tensor:
    return torch.where(_like(mask, rows), rows, example)


def _like(per_example: Tensor, rows: Tensor) -> Tensor:
    return per_example.reshape(*per_example.shape, *[1] * (rows.dim() - 2))


def _at_least_float32(rows: Iterable[Tensor]) -> torch.dtype:
    dtype = torch.float32
    for row in rows:
        dtype = torch.promote_types(dtype, row.dtype)
    return dtype
