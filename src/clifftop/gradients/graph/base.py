"""What every contribution to per-example gradients gives, and those whose gradients are in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from clifftop.gradients.instantiated import row_norms, zero_where

if TYPE_CHECKING:
    from clifftop.gradients.graph.options import Option


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


class Choosable(Contribution):
    """A contribution whose norms may be found in several ways, to be chosen by cost."""

    @property
    @abstractmethod
    def has_options(self) -> bool:
        """Whether there is anything to choose."""

    @abstractmethod
    def options(self) -> Sequence[Option]:
        """The ways; one of them keeps nothing."""

    @abstractmethod
    def size_key(self) -> str:
        """What the ways' cost for one example depends on, in words: shapes without B, dtype, device."""

    @abstractmethod
    def stand_in(self) -> Choosable:
        """Random operands of the same sizes, to measure on."""

    @property
    @abstractmethod
    def operands(self) -> tuple[Tensor, Tensor]:
        """Input and output gradient, ``(B, ...)``."""

    @property
    def num_examples(self) -> int:
        """B."""
        return len(self.operands[0])

    @property
    def device(self) -> torch.device:
        """Where the operands live."""
        return self.operands[0].device

    @property
    def operand_bytes(self) -> int:
        """What the operands take."""
        return sum(x.numel() * x.element_size() for x in self.operands)

    def norms(self) -> Tensor:
        """Norms ``(B,)``, the cheapest way that keeps nothing."""
        options = [option for option in self.options() if not option.kept_bytes]
        return min(options, key=lambda option: option.seconds).settle()[0]


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
        return Rows(cleared(self.values, drop))


@final
@dataclass(frozen=True)
class Kept(Contribution):
    """Gradients that were formed for the norms, some examples ``(n, *shape)`` at a time."""

    chunks: tuple[Tensor, ...]

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        return torch.cat([row_norms(some) for some in self.chunks])

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        own = weights.split([len(some) for some in self.chunks])
        total = Rows(self.chunks[0]).weighted_sum(own[0])
        for some, w in zip(self.chunks[1:], own[1:], strict=True):
            total = total + Rows(some).weighted_sum(w)
        return total

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return torch.cat(self.chunks)

    def without(self, drop: Tensor) -> Kept:
        """With zeros for the marked examples."""
        own = drop.split([len(some) for some in self.chunks])
        return Kept(tuple(cleared(some, d) for some, d in zip(self.chunks, own, strict=True)))


def root(sq_norms: Tensor, like: Tensor) -> Tensor:
    """Norms from their squares, in the precision of ``like``, float32 at least."""
    return sq_norms.sqrt().to(torch.promote_types(like.dtype, torch.float32))


def widened(x: Tensor) -> Tensor:
    """At least float32: norms and sums must see the same numbers; a rounded sum could pass its bound."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def cleared(x: Tensor, drop: Tensor) -> Tensor:
    """``x`` ``(B, ...)`` with zeros where ``drop`` ``(B,)`` holds, whatever stood there."""
    return zero_where(x[None], drop[None])[0]
