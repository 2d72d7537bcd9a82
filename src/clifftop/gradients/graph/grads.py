"""Per-example gradients of one run as contributions: norms, then weighted sums, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from clifftop.flow import GroupMap, Params
from clifftop.gradients.base import num_groups
from clifftop.gradients.graph.choices import Choices
from clifftop.gradients.graph.contributions import Choosable, Contribution


@final
class GraphGrads:
    """Per-example gradients held as one contribution a parameter.

    Attributes:
        losses: ``(1, B)``.
        assume_finite: whether the caller looks at `all_finite` and drops what is not: then nothing
            here depends on values, and the step can be traced.
    """

    def __init__(
        self,
        losses: Tensor,
        mask: Tensor,
        parts: Mapping[str, Contribution],
        params: Params,
        groups: GroupMap,
        *,
        choices: Choices,
        assume_finite: bool = False,
    ) -> None:
        self.assume_finite = assume_finite
        self._choices = choices
        self.losses = torch.where(mask, losses, 0)
        self._mask = mask
        self._parts = dict(parts)
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
        clean = self.assume_finite or bool(self.all_finite())
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

    @torch.no_grad()
    def all_finite(self) -> Tensor:
        """Whether every number that a gradient is made of is finite, padding included."""
        return torch.isfinite(self._all_sq_norms).all()

    @torch.no_grad()
    def total(self) -> Tensor:
        """The sum of all squared norms, a scalar: finite only if everything is."""
        return self._all_sq_norms.sum()

    @cached_property
    def _all_sq_norms(self) -> Tensor:
        """Squared norms of every row, padding included: finite only where every operand is."""
        by_group: list[list[Tensor]] = [[] for _ in range(num_groups(self._groups))]
        for name, norms in self._settled():
            by_group[self._groups[name]].append(norms)
        # A norm of norms neither overflows nor loses small parts, and is one operation.
        dtype = torch.promote_types(self.losses.dtype, torch.float32)
        zero = self.losses.new_zeros(self.losses.shape[1], dtype=dtype)
        norms = [torch.linalg.vector_norm(torch.stack(own), dim=0) if own else zero for own in by_group]
        return torch.stack(norms, -1).to(dtype).square()[None]

    def _settled(self) -> Iterator[tuple[str, Tensor]]:
        """Each part's norms; the part itself takes the form that its sum is computed from."""
        picked = self._choices(
            {n: part for n, part in self._parts.items() if isinstance(part, Choosable) and part.has_options}
        )
        for name in list(self._parts):
            if name in picked:
                # Operands that rows have replaced are freed here, layer by layer.
                norms, self._parts[name] = picked.pop(name).settle()
            else:
                norms = self._parts[name].norms()
            yield name, norms
