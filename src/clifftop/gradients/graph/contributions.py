"""What a parameter's use contributes to each example's gradient: norms and sums without forming it.

A contribution belongs to one *value*: a parameter, or a tensor made of parameters alone. Its methods
take and give tensors of one run, examples first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.instantiated import row_norms, zero_where
from clifftop.gradients.rules import embedding, outer, patches


class Contribution(ABC):
    """Per-example gradients of one value, ``(B, *shape)`` were they formed."""

    @abstractmethod
    def norms(self) -> Tensor:
        """Norms ``(B,)``, float32 at least."""

    @abstractmethod
    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum over examples of weight times gradient, of the value's shape."""

    @abstractmethod
    def rows(self) -> Tensor:
        """The gradients themselves, ``(B, *shape)``."""

    @abstractmethod
    def without(self, drop: Tensor) -> Contribution:
        """The same with zeros for the examples that ``drop`` ``(B,)`` marks, whatever they held."""

    def transposed(self) -> Contribution:
        """The contribution to the transpose of the value's last two axes."""
        return Rows(self.rows().mT)


@final
@dataclass(frozen=True)
class Rows(Contribution):
    """Gradients in memory, ``(B, *shape)``."""

    values: Tensor

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return row_norms(self.values)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        flat = self.values.reshape(len(self.values), -1)
        dtype = torch.promote_types(flat.dtype, weights.dtype)
        total = torch.mv(flat.to(dtype).t(), weights.to(dtype))
        return total.view(self.values.shape[1:])

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return self.values

    def without(self, drop: Tensor) -> Rows:
        """With zeros for the marked examples."""
        return Rows(_cleared(self.values, drop))


@final
@dataclass(frozen=True)
class Outer(Contribution):
    """The sum over positions of ``a_t g_t^T``: ``(B, ..., T, d)`` and ``(B, ..., T, p)``; no T for one."""

    a: Tensor
    g: Tensor

    @property
    def positions(self) -> int:
        """T."""
        return self.a.shape[-2] if self.a.dim() > 2 else 1

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        a, g = _widened(self.a), _widened(self.g)
        if a.dim() == 2:
            return row_norms(a) * row_norms(g)
        if outer.ghost_is_cheaper(self.positions, a.shape[-1], g.shape[-1]):
            return _root(
                outer.ghost_sq_norms(a, g).flatten(1).sum(1) if a.dim() > 3 else outer.ghost_sq_norms(a, g), a
            )
        return row_norms(outer.outer(a, g))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        a, g = _widened(self.a), _widened(self.g)
        if a.dim() <= 3:
            w = weights.to(a.dtype).reshape(-1, *[1] * (a.dim() - 1))
            # The narrower operand is scaled: fewer bytes.
            if a.shape[-1] <= g.shape[-1]:
                a = a * w
            else:
                g = g * w
            return outer.contract(a, g) if a.dim() == 3 else a.mT @ g
        w = weights.to(a.dtype).reshape(-1, *[1] * (a.dim() - 1))
        # Kept axes (heads) first, examples beside positions.
        left = (a * w).movedim(0, -3).flatten(-3, -2)
        return left.mT @ g.movedim(0, -3).flatten(-3, -2)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        a, g = _widened(self.a), _widened(self.g)
        return a.unsqueeze(-1) * g.unsqueeze(-2) if a.dim() == 2 else outer.outer(a, g)

    def without(self, drop: Tensor) -> Outer:
        """With zeros for the marked examples."""
        return Outer(_cleared(self.a, drop), _cleared(self.g, drop))

    def transposed(self) -> Outer:
        """To the transpose of the value."""
        return Outer(self.g, self.a)


@final
@dataclass(frozen=True)
class Gather(Contribution):
    """Rows ``indices`` ``(B, T)`` of a table were read; ``g`` ``(B, T, d)`` is the gradient at what was read."""

    indices: Tensor
    g: Tensor
    num_rows: int

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return _root(embedding.sq_norms(self.indices, _widened(self.g)), self.g)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        return embedding.weighted_sum(self.indices, _widened(self.g), weights, self.num_rows)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        g = _widened(self.g)
        size, width = len(g), g.shape[-1]
        table = g.new_zeros((size * self.num_rows, width))
        places = self.indices + self.num_rows * torch.arange(size, device=g.device)[:, None]
        return table.index_add(0, places.flatten(), g.flatten(0, 1)).view(size, self.num_rows, width)

    def without(self, drop: Tensor) -> Gather:
        """With zeros for the marked examples."""
        return Gather(self.indices, _cleared(self.g, drop), self.num_rows)


@final
@dataclass(frozen=True)
class Patches(Contribution):
    """A convolution's weight: input ``(B, C, ...)`` and output gradient ``(B, O, ...)``.

    Where an example is several images, they are on an axis after B.
    """

    x: Tensor
    g: Tensor
    shape: patches.Shape

    @property
    def several(self) -> bool:
        """Whether an example is several images."""
        return self.x.dim() > len(self.shape.stride) + 2

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        if self.several:
            return row_norms(self.rows())
        return _root(patches.sq_norms(_widened(self.x), _widened(self.g), self.shape), self.g)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        x, g = _widened(self.x), _widened(self.g)
        g = g * weights.to(g.dtype).reshape(-1, *[1] * (g.dim() - 1))
        return patches.summed(*(t.flatten(0, 1) if self.several else t for t in (x, g)), self.shape)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        compute = patches.summed_apart if self.several else patches.rows
        return compute(_widened(self.x), _widened(self.g), self.shape)

    def without(self, drop: Tensor) -> Patches:
        """With zeros for the marked examples."""
        return Patches(_cleared(self.x, drop), _cleared(self.g, drop), self.shape)


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
    total = parts[0].rows()
    for part in parts[1:]:
        total = total + part.rows()
    return Rows(total)


def _with_positions(part: Outer) -> Outer:
    return part if part.a.dim() > 2 else Outer(part.a.unsqueeze(1), part.g.unsqueeze(1))


def _root(sq_norms: Tensor, like: Tensor) -> Tensor:
    return sq_norms.sqrt().to(torch.promote_types(like.dtype, torch.float32))


def _widened(x: Tensor) -> Tensor:
    """At least float32: norms and sums must see the same numbers, and a rounded sum could exceed its bound."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _cleared(x: Tensor, drop: Tensor) -> Tensor:
    return zero_where(x[None], drop[None])[0]
