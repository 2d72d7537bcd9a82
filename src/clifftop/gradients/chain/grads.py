"""Per-example gradients of a chain, for one run: norms first, then weighted sums, nothing formed twice."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from clifftop.flow import GroupMap, Params
from clifftop.gradients.base import num_groups
from clifftop.gradients.graph.base import cleared
from clifftop.gradients.instantiated import row_norms
from clifftop.gradients.rules import outer, products

# Gradients that are this many times as large as what they are made of are not formed for a sum.
_WORTH_FORMING = 4
# How many numbers of gradients are formed at once: what a cache holds.
_ENTRIES = 2**20


class Part(ABC):
    """What one parameter contributes to each example's gradient, in the layout of its layer."""

    @abstractmethod
    def norms(self) -> Tensor:
        """Norms ``(B,)``."""

    @abstractmethod
    def weighted_sums(self, weights: Tensor) -> Tensor:
        """Sums over examples of weight times gradient, ``(k, ...)`` for weights ``(k, B)``."""

    @abstractmethod
    def without(self, drop: Tensor) -> Part:
        """The same with zeros for the examples that ``drop`` ``(B,)`` marks, whatever they held."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """A gradient's shape, where gradients are best formed; else empty."""
        return ()

    def formed(self, rows: slice, memory: Tensor | None = None) -> Tensor:
        """Gradients of some examples, ``(b, entries)``; in ``memory``, if that has rows enough."""
        raise NotImplementedError


@final
@dataclass(frozen=True)
class Product(Part):
    """``g x^T`` of one position: ``(B, p)`` and ``(B, d)`` to ``(p, d)``."""

    g: Tensor
    x: Tensor

    def norms(self) -> Tensor:
        """The product of two norms (Goodfellow 2015, arXiv:1510.01799)."""
        return row_norms(self.g) * row_norms(self.x)

    def weighted_sums(self, weights: Tensor) -> Tensor:
        """One product of matrices."""
        return _contracted(self.g, self.x, weights)

    def without(self, drop: Tensor) -> Product:
        """With zeros for the marked examples."""
        return Product(cleared(self.g, drop), cleared(self.x, drop))


@final
@dataclass(frozen=True)
class Products(Part):
    """The sum over positions of ``g_t x_t^T``: ``(B, T, p)`` and ``(B, T, d)`` to ``(p, d)``."""

    g: Tensor
    x: Tensor

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Gradients are formed where they are not much larger than what they are made of."""
        positions, p, d = self._sizes
        return (p, d) if p * d <= _WORTH_FORMING * positions * (p + d) else ()

    def formed(self, rows: slice, memory: Tensor | None = None) -> Tensor:
        """Gradients of some examples, ``(b, p * d)``."""
        g, x = self.g[rows].mT, self.x[rows]
        if memory is None or len(memory) < len(g):
            return torch.bmm(g, x).flatten(1)
        out = memory[: len(g)].view(len(g), g.shape[1], x.shape[2])
        return torch.bmm(g, x, out=out).flatten(1)

    def norms(self) -> Tensor:
        """Of the gradients, or by products of positions (Li et al. 2021, arXiv:2110.05679)."""
        positions, p, d = self._sizes
        if self.row_shape or positions * (p + d) >= p * d:
            return torch.cat(
                [row_norms(self.formed(rows)) for rows in slices(len(self.g), _ENTRIES // (p * d))]
            )
        parts = [
            outer.ghost_sq_norms(self.x[rows], self.g[rows])
            for rows in slices(len(self.g), _ENTRIES // (positions * (p + d)))
        ]
        return torch.cat(parts).sqrt().to(self.g.dtype)

    def weighted_sums(self, weights: Tensor) -> Tensor:
        """One product of matrices, over examples and positions."""
        each = weights[:, :, None].expand(*weights.shape, self.g.shape[1]).flatten(1)
        return _contracted(self.g.flatten(0, 1), self.x.flatten(0, 1), each)

    def without(self, drop: Tensor) -> Products:
        """With zeros for the marked examples."""
        return Products(cleared(self.g, drop), cleared(self.x, drop))

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.g.shape[1], self.g.shape[2], self.x.shape[2]


def _contracted(g: Tensor, x: Tensor, weights: Tensor) -> Tensor:
    """Sums of ``w g x^T``, ``(k, p, d)`` from ``(n, p)``, ``(n, d)`` and ``(k, n)``, as one product."""
    if len(weights) == 1 and x.shape[1] < g.shape[1]:
        return products.contract(g, x * weights[0][:, None])[None]
    scaled = (g[:, None] * weights.t()[:, :, None]).flatten(1)
    return products.contract(scaled, x).unflatten(0, (len(weights), -1))


@final
@dataclass(frozen=True)
class Vectors(Part):
    """Gradients in memory, ``(B, n)``."""

    values: Tensor

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return row_norms(self.values)

    def weighted_sums(self, weights: Tensor) -> Tensor:
        """Sums of weight times gradient, ``(k, n)``."""
        return weights @ self.values

    def without(self, drop: Tensor) -> Vectors:
        """With zeros for the marked examples."""
        return Vectors(cleared(self.values, drop))


Weigh = Callable[[Tensor, slice], Tensor]
"""Weights ``(1, b, G)`` from squared norms ``(1, b, G)`` of some examples."""


@final
@dataclass(frozen=True, kw_only=True)
class ClippedSums:
    """What one pass over a run's examples gives.

    Attributes:
        clipped: the sum of weight times gradient, ``(1, ...)`` a parameter.
        removed: the sum of (1 - weight) times gradient over the examples that count, if it was asked for.
        sq_norms: ``(1, B, G)``.
        weights: ``(1, B, G)``.
    """

    clipped: Params
    removed: Params | None
    sq_norms: Tensor
    weights: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class ChainGrads:
    """Per-example gradients of one run.

    Attributes:
        losses: ``(1, B)``, 0 for padding.
        mask: ``(1, B)``.
        parts: one a trained parameter, by name.
        restored: from each part's layout to its parameter's shape.
        groups: parameter name to clipping group.
    """

    losses: Tensor
    mask: Tensor
    parts: Mapping[str, Part]
    restored: Mapping[str, Callable[[Tensor], Tensor]]
    groups: GroupMap

    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(1, B, G)``; 0 for padding."""
        return torch.where(self.mask[..., None], self._all_sq_norms, 0)

    @torch.no_grad()
    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(1, B, G)``."""
        kept = torch.where(self.mask[..., None], weights, 0)
        clean = bool(torch.isfinite(self._all_sq_norms).all())
        total = {n: self._sums(n, kept, clean=clean)[0] for n in self.parts}
        return self._in_shape(total)

    @torch.no_grad()
    def clipped_sums(self, weigh: Weigh, *, diagnose: bool) -> ClippedSums:
        """Norms, weights and sums in one pass: what is formed of a few examples is used while it is near.

        Args:
            weigh: the clipping rule on some of the examples; 0 for those that do not count.
            diagnose: whether to sum what clipping removed, too.
        """
        formed = {n: part for n, part in self.parts.items() if part.row_shape}
        small = self._norms_of({n: part for n, part in self.parts.items() if n not in formed})
        entries = sum(math.prod(part.row_shape) for part in formed.values())
        totals: dict[str, Tensor] = {}
        sq_norms: list[Tensor] = []
        weights: list[Tensor] = []
        # The first gradients' memory serves the others too: it is in a cache then.
        memory: dict[str, Tensor] = {}
        for rows in slices(self.mask.shape[1], _ENTRIES // max(1, entries)):
            mine = {n: part.formed(rows, memory.get(n)) for n, part in formed.items()}
            memory = memory or mine
            own = [norms[rows] for norms in small]
            for n, values in mine.items():
                own[self.groups[n]] = torch.hypot(own[self.groups[n]], row_norms(values))
            sq_norms.append(torch.stack(own, -1).square()[None])
            usable = torch.isfinite(sq_norms[-1]).all(-1, keepdim=True)
            weights.append(self._weights(weigh(sq_norms[-1], rows), usable, rows, diagnose=diagnose))
            clean = bool(usable.all())
            for n, values in mine.items():
                each = weights[-1][..., self.groups[n]]
                kept = values if clean else cleared(values, (each == 0).all(0))
                totals[n] = torch.addmm(totals[n], each, kept) if n in totals else each @ kept
        found, every = torch.cat(sq_norms, 1), torch.cat(weights, 1)
        clean = bool(torch.isfinite(found).all())
        sums = {n: self._sums(n, every, clean=clean) for n in self.parts if n not in totals}
        sums |= {n: value.unflatten(1, formed[n].row_shape) for n, value in totals.items()}
        return ClippedSums(
            clipped=self._in_shape({n: sums[n][0] for n in self.parts}),
            removed=self._in_shape({n: sums[n][1] for n in self.parts}) if diagnose else None,
            sq_norms=torch.where(self.mask[..., None], found, 0),
            weights=every[:1],
        )

    def _weights(self, weights: Tensor, usable: Tensor, rows: slice, *, diagnose: bool) -> Tensor:
        """Weights, and with ``diagnose`` one less them for the examples that count, ``(k, b, G)``."""
        mask = self.mask[:, rows, None]
        own = torch.where(mask, weights, 0)
        if not diagnose:
            return own
        counts = mask & torch.isfinite(self.losses[:, rows, None]) & usable
        return torch.cat([own, torch.where(counts, 1 - own, 0)])

    def _sums(self, name: str, weights: Tensor, *, clean: bool) -> Tensor:
        """A part's sums for weights ``(k, B, G)``."""
        part, each = self.parts[name], weights[..., self.groups[name]]
        return (part if clean else part.without((each == 0).all(0))).weighted_sums(each)

    def _in_shape(self, total: Params) -> Params:
        return {name: self.restored[name](value)[None] for name, value in total.items()}

    @cached_property
    def _all_sq_norms(self) -> Tensor:
        """Squared norms of every row, padding included: finite only where every operand is."""
        with torch.no_grad():
            return torch.stack(self._norms_of(self.parts), -1).square()[None]

    def _norms_of(self, parts: Mapping[str, Part]) -> list[Tensor]:
        """Each group's norms ``(B,)``; a norm of norms neither overflows nor loses small parts."""
        by_group: list[list[Tensor]] = [[] for _ in range(num_groups(self.groups))]
        for name, part in parts.items():
            by_group[self.groups[name]].append(part.norms())
        zero = self.losses.new_zeros(self.losses.shape[1])
        return [torch.linalg.vector_norm(torch.stack(own or [zero]), dim=0) for own in by_group]


def slices(size: int, most: int) -> Iterator[slice]:
    """As few slices as can be of at most ``most``, and at least one, as equal as can be.

    >>> list(slices(5, 3))  # the first is the largest
    [slice(0, 3, None), slice(3, 5, None)]
    """
    count = max(1, -(-size // max(1, most)))
    ends = [-(-size * i // count) for i in range(count + 1)]
    yield from (slice(a, b) for a, b in itertools.pairwise(ends))
