"""What a parameter's use contributes to each example's gradient: norms and sums without forming it.

A contribution belongs to one *value*: a parameter, or a tensor made of parameters alone. Its methods
take and give tensors of one run, examples first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.graph.base import Choosable, Contribution, Kept, Rows, cleared, root, widened
from clifftop.gradients.graph.weights import Outer, Patches
from clifftop.gradients.rules import embedding

__all__ = ["Choosable", "Contribution", "Gather", "Kept", "Outer", "Patches", "Rows", "Tied", "merged"]


@final
@dataclass(frozen=True)
class Gather(Contribution):
    """Rows ``indices`` ``(B, T)`` of a table were read; ``g`` ``(B, T, d)`` is the gradient there."""

    indices: Tensor
    g: Tensor
    num_rows: int

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return root(embedding.sq_norms(self.indices, widened(self.g)), self.g)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        return embedding.weighted_sum(self.indices, widened(self.g), weights, self.num_rows)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        g = widened(self.g)
        size, width = len(g), g.shape[-1]
        table = g.new_zeros((size * self.num_rows, width))
        places = self.indices + self.num_rows * torch.arange(size, device=g.device)[:, None]
        return table.index_add(0, places.flatten(), g.flatten(0, 1)).view(size, self.num_rows, width)

    def without(self, drop: Tensor) -> Gather:
        """With zeros for the marked examples."""
        return Gather(self.indices, cleared(self.g, drop), self.num_rows)


@final
@dataclass(frozen=True)
class Tied(Contribution):
    """A table that is read by rows and multiplies data as well, a tied embedding for one.

    The product's gradient is the sum over positions t of ``a_t g_t^T``, its rows being the table's. So the
    cross term of the squared norm is ``2 sum_{t,s} a_t[i_s] (g_t . e_s)``, for rows i_s read with gradient
    e_s: no example's table is formed.
    """

    read: Gather
    multiplied: Outer

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        a, g, e = widened(self.multiplied.a), widened(self.multiplied.g), widened(self.read.g)
        at = self.read.indices[:, None, :].expand(-1, a.shape[1], -1)
        cross = (a.gather(2, at) * (g @ e.mT)).sum((1, 2), dtype=torch.float64)
        own = self.read.norms().double().square() + self.multiplied.norms().double().square()
        return root((own + 2 * cross).clamp_min(0), a)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the table's shape."""
        return self.multiplied.weighted_sum(weights) + self.read.weighted_sum(weights)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return self.multiplied.rows() + self.read.rows()

    def without(self, drop: Tensor) -> Tied:
        """With zeros for the marked examples."""
        return Tied(self.read.without(drop), self.multiplied.without(drop))


def merged(parts: Sequence[Contribution]) -> Contribution:
    """One contribution for several uses of a value: their gradients add up before any norm."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Outer) for part in parts):
        outers = [_with_positions(part) for part in parts if isinstance(part, Outer)]
        if len({(x.a.dim(), *x.a.shape[1:-2]) for x in outers}) == 1:
            return Outer(torch.cat([x.a for x in outers], -2), torch.cat([x.g for x in outers], -2))
    if all(isinstance(part, Gather) for part in parts):
        gathers = [part for part in parts if isinstance(part, Gather)]
        return Gather(
            torch.cat([x.indices for x in gathers], 1),
            torch.cat([x.g for x in gathers], 1),
            gathers[0].num_rows,
        )
    gathers = [part for part in parts if isinstance(part, Gather)]
    outers = [part for part in parts if isinstance(part, Outer) and part.a.dim() <= 3]
    if gathers and outers and len(gathers) + len(outers) == len(parts):
        read, multiplied = merged(gathers), merged(outers)
        if isinstance(read, Gather) and isinstance(multiplied, Outer):
            return Tied(read, _with_positions(multiplied))
    total = parts[0].rows()
    for part in parts[1:]:
        total = total + part.rows()
    return Rows(total)


def _with_positions(part: Outer) -> Outer:
    return part if part.a.dim() > 2 else Outer(part.a.unsqueeze(1), part.g.unsqueeze(1))
