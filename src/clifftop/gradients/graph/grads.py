"""Per-example gradients of one run as contributions: norms, then weighted sums, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from clifftop.flow import GroupMap, Params
from clifftop.gradients.base import num_groups
from clifftop.gradients.graph.contributions import Contribution


@final
class GraphGrads:
    """Per-example gradients held as one contribution a parameter.

    Attributes:
        losses: ``(1, B)``.
    """

    def __init__(
        self,
        losses: Tensor,
        mask: Tensor,
        parts: Mapping[str, Contribution],
        params: Params,
        groups: GroupMap,
    ) -> None:
        self.losses = torch.where(mask, losses, 0)
        self._mask = mask
        self._parts = parts
        self._params = params
        self._groups = groups

    @torch.no_grad()
    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(1, B, G)``; 0 for padding."""
        return torch.where(self._mask[..., None], self._all_sq_norms, 0)

    @torch.no_grad()
    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(1, B, G)``."""
        per_group = torch.where(self._mask[..., None], weights, 0)[0].unbind(-1)
        clean = bool(torch.isfinite(self._all_sq_norms).all())
        total: Params = {}
        for name, p in self._params.items():
            part = self._parts.get(name)
            if part is None:
                total[name] = torch.zeros_like(p)
                continue
            w = per_group[self._groups[name]]
            if not clean:
                part = part.without(w == 0)
            total[name] = part.weighted_sum(w).to(p.dtype)[None]
        return total

    @cached_property
    def _all_sq_norms(self) -> Tensor:
        """Squared norms of every row, padding included: finite only where every operand is."""
        total: dict[int, Tensor] = {}
        for name, part in self._parts.items():
            group, norms = self._groups[name], part.sq_norms()
            total[group] = total[group] + norms if group in total else norms
        zero = self.losses.new_zeros(self.losses.shape[1], dtype=torch.float64)
        stacked = torch.stack([total.get(g, zero) for g in range(num_groups(self._groups))], -1)
        return stacked.to(torch.promote_types(self.losses.dtype, torch.float32))[None]
