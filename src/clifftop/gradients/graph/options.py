"""The ways to a layer's norms and weighted sum, and what each is predicted to cost.

All ways give the same numbers up to rounding. They differ in time and in what stays in memory between
the norms and the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from clifftop.gradients.graph.base import Contribution

# What one core of a processor did in our measurements (float32): only ratios matter for a choice.
_CONVOLUTIONS = 180e9  # operations a second of oneDNN's weight gradient
_ONEDNN, _BLAS = 190e9, 88e9  # operations a second of products of matrices
_FRESH = 4e9  # bytes a second written to memory that was just asked for
_STREAMED = 8e9  # bytes a second read or written once
_CACHED = 30e9  # bytes a second moved within a cache
_UNFOLDED = 2.5e9  # bytes a second of patches
_SLOW_PRODUCTS = 40e9  # operations a second of convolutions with one channel a group
_CALL = 15e-6  # seconds a call


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to a layer's norms, and to what its weighted sum is computed from.

    Attributes:
        name: what records call it.
        seconds: predicted time of norms and weighted sum together.
        kept_bytes: what stays in memory for the sum, less the operands that it replaces; 0 for nothing.
        settle: gives norms ``(B,)``, and the contribution in the form that the sum is computed from.
    """

    name: str
    seconds: float
    kept_bytes: int
    settle: Callable[[], tuple[Tensor, Contribution]]


@dataclass(frozen=True, kw_only=True)
class ProductSize:
    """Sizes of a sum of outer products: ``count`` of them, over T positions, d by p numbers each."""

    count: int
    positions: int
    d: int
    p: int
    itemsize: int

    @property
    def row_bytes(self) -> float:
        """All gradients in memory."""
        return self.itemsize * self.count * self.d * self.p

    @property
    def operand_bytes(self) -> float:
        """Input and output gradient."""
        return self.itemsize * self.count * self.positions * (self.d + self.p)

    def ghost(self) -> float:
        """Norms by products of positions."""
        squares = self.positions**2
        by_a = _product(self.count, squares * self.d)
        by_g = _product(self.count, squares * self.p)
        return by_a + by_g + 4 * self.itemsize * self.count * squares / _STREAMED

    def instantiated(self) -> float:
        """Every gradient, and its norm."""
        product = _product(self.count, self.positions * self.d * self.p)
        return product + self.row_bytes / _FRESH + self.row_bytes / _STREAMED

    def contraction(self) -> float:
        """The weighted sum, from the operands."""
        return _product(1, self.count * self.positions * self.d * self.p) + self.operand_bytes / _STREAMED

    def from_rows(self) -> float:
        """The weighted sum, from the gradients."""
        return _from_rows(self.row_bytes)


@dataclass(frozen=True, kw_only=True)
class ConvolutionSize:
    """Sizes of a convolution's weight gradients: N examples, maps, kernel."""

    count: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weight: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int
    itemsize: int

    @property
    def positions(self) -> int:
        """T."""
        return math.prod(self.outputs[1:])

    @property
    def row_bytes(self) -> float:
        """All gradients in memory."""
        return self.itemsize * self.count * math.prod(self.weight)

    @property
    def operand_bytes(self) -> float:
        """Input and output gradient."""
        return self.itemsize * self.count * (math.prod(self.inputs) + math.prod(self.outputs))

    def contraction(self) -> float:
        """PyTorch's weight gradient. Its kernel works on 8 input and 16 output channels at once."""
        wide = -(-self.weight[1] // 8) * 8 * -(-self.weight[0] // 16) * 16
        operations = 2 * self.count * self.positions * wide * math.prod(self.weight[2:])
        return operations / _CONVOLUTIONS + self.operand_bytes / _STREAMED

    def grouped(self) -> float:
        """Every gradient by one convolution with a group an example, and its norm."""
        return self.contraction() + self.row_bytes / _FRESH

    def mirrored(self) -> float:
        """Every gradient by a convolution of the input with the output gradient, and its norm."""
        operations = 2 * self.count * self.positions * math.prod(self.weight)
        return operations / _SLOW_PRODUCTS + (self.operand_bytes + self.row_bytes) / _STREAMED

    def from_rows(self) -> float:
        """The weighted sum, from the gradients."""
        return _from_rows(self.row_bytes)

    def ghost(self) -> float:
        """Norms by products of patches."""
        own = self.as_product()
        return own.ghost() + self.itemsize * own.count * own.positions * own.d / _UNFOLDED

    def shifted(self) -> float:
        """Norms by products of pixels, added up along the kernel."""
        places = math.prod(size + 2 * p for size, p in zip(self.inputs[1:], self.padding, strict=True))
        count = self.count * self.groups
        channels = (self.inputs[0] // self.groups, self.outputs[0] // self.groups)
        grams = sum(_product(count, places**2 * c) for c in channels)
        passes = 3 * (sum(size - 1 for size in self.weight[2:]) + 2)
        added = passes * self.itemsize * count * places**2 / _CACHED
        return grams + added + 2 * self.operand_bytes / _STREAMED + 4 * _CALL

    def as_product(self) -> ProductSize:
        """The product that it is on patches."""
        return ProductSize(
            count=self.count * self.groups,
            positions=self.positions,
            d=math.prod(self.weight[1:]),
            p=self.weight[0] // self.groups,
            itemsize=self.itemsize,
        )


def _product(count: int, multiplications: int) -> float:
    """Products of matrices, a call each where that is quicker."""
    alone = _CALL + 2 * multiplications / _ONEDNN
    return _CALL + count * min(alone, 2 * multiplications / _BLAS)


def _from_rows(row_bytes: float) -> float:
    """Rows that are kept are new memory, where rows that are not use one place over and over."""
    return row_bytes / _STREAMED + row_bytes / (2 * _FRESH)
