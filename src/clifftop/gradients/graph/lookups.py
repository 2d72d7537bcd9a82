"""Lookups in a table, any number of them an example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.graph.base import Contribution, root, widened


@final
@dataclass(frozen=True)
class Lookups(Contribution):
    """Index n was read for example ``owners[n]``; ``g`` ``(N, d)`` is the gradient at what was read.

    Every shape depends on N alone, so a step with bags of any lengths can be traced.
    """

    indices: Tensor
    owners: Tensor
    g: Tensor
    num_rows: int
    size: int

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        g = widened(self.g)
        count = len(self.indices)
        if count == 0:
            return g.new_zeros(self.size)
        # Equal rows of one example add up before the norm: they stand together once sorted.
        key, order = (self.owners * self.num_rows + self.indices).sort()
        new = torch.cat([key.new_ones(1), (key[1:] != key[:-1]).long()])
        slots = new.cumsum(0) - 1
        summed = torch.zeros_like(g).index_add(0, slots, g[order])
        owner = torch.zeros_like(self.owners).index_put((slots,), self.owners[order])
        squares = torch.linalg.vector_norm(summed, dim=1).double().square()
        total = torch.zeros(self.size, dtype=torch.float64, device=g.device)
        return root(total.index_add(0, owner, squares), g)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        g = widened(self.g)
        own = g * weights.to(g.dtype)[self.owners][:, None]
        return g.new_zeros(self.num_rows, g.shape[1]).index_add(0, self.indices, own)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        g = widened(self.g)
        flat = g.new_zeros(self.size * self.num_rows, g.shape[1])
        return flat.index_add(0, self.owners * self.num_rows + self.indices, g).view(
            self.size, self.num_rows, -1
        )

    def without(self, drop: Tensor) -> Lookups:
        """With zeros for the marked examples."""
        cleared = torch.where(drop[self.owners][:, None], 0, self.g)
        return Lookups(self.indices, self.owners, cleared, self.num_rows, self.size)
