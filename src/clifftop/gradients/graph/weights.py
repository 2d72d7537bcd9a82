"""Weights of matrix products and convolutions: sums of outer products over positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.graph.base import Choosable, Contribution, Kept, cleared, root, widened
from clifftop.gradients.graph.options import ConvolutionSize, Option, ProductSize
from clifftop.gradients.instantiated import row_norms
from clifftop.gradients.rules import outer, patches, products


@final
@dataclass(frozen=True)
class Outer(Choosable):
    """The sum over positions of ``a_t g_t^T``: ``(B, ..., T, d)`` and ``(B, ..., T, p)``; no T for one."""

    a: Tensor
    g: Tensor

    @property
    def has_options(self) -> bool:
        """Whether there are positions to add up."""
        return self.a.dim() > 2

    @property
    def operands(self) -> tuple[Tensor, Tensor]:
        """Input and output gradient."""
        return self.a, self.g

    def norms(self) -> Tensor:
        """Norms ``(B,)``."""
        if self.has_options:
            return super().norms()
        return row_norms(widened(self.a)) * row_norms(widened(self.g))

    def options(self) -> tuple[Option, ...]:
        """Products of positions, or the gradients themselves, thrown away or kept."""
        size = self._size()
        formed, ghost, plain = size.instantiated(), size.ghost(), size.contraction()
        more = max(1, int(size.row_bytes - size.operand_bytes))
        return (
            Option(name="ghost", seconds=ghost + plain, kept_bytes=0, settle=self._ghost),
            Option(
                name="formed",
                seconds=formed + plain,
                kept_bytes=0,
                settle=lambda: _formed(self._chunks(), self),
            ),
            Option(
                name="kept",
                seconds=formed + size.from_rows(),
                kept_bytes=more,
                settle=lambda: _kept(self._chunks()),
            ),
        )

    def size_key(self) -> str:
        """Shapes, dtype, device."""
        return (
            f"product {tuple(self.a.shape[1:])} {tuple(self.g.shape[1:])} {self.a.dtype} {self.a.device.type}"
        )

    def stand_in(self) -> Outer:
        """Random operands."""
        return Outer(torch.randn_like(self.a), torch.randn_like(self.g))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        a, g = widened(self.a), widened(self.g)
        w = weights.to(a.dtype).reshape(-1, *[1] * (a.dim() - 1))
        if a.dim() <= 3:
            # The narrower operand is scaled: fewer bytes.
            if a.shape[-1] <= g.shape[-1]:
                a = a * w
            else:
                g = g * w
            return outer.contract(a, g) if a.dim() == 3 else products.contract(a, g)
        # Kept axes (heads) first, examples beside positions.
        left = (a * w).movedim(0, -3).flatten(-3, -2)
        return left.mT @ g.movedim(0, -3).flatten(-3, -2)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        a, g = widened(self.a), widened(self.g)
        return a.unsqueeze(-1) * g.unsqueeze(-2) if a.dim() == 2 else outer.outer(a, g)

    def without(self, drop: Tensor) -> Outer:
        """With zeros for the marked examples."""
        return Outer(cleared(self.a, drop), cleared(self.g, drop))

    def transposed(self) -> Outer:
        """To the transpose of the value."""
        return Outer(self.g, self.a)

    def _size(self) -> ProductSize:
        a, g = self.a, self.g
        return ProductSize(
            count=math.prod(a.shape[:-2]),
            positions=a.shape[-2],
            d=a.shape[-1],
            p=g.shape[-1],
            itemsize=_widest(a),
        )

    def _ghost(self) -> tuple[Tensor, Contribution]:
        a, g = widened(self.a), widened(self.g)
        entries = self.a[0, ..., 0].numel() * self.a.shape[-2]
        found = [
            outer.ghost_sq_norms(x, y).flatten(1).sum(1) if x.dim() > 3 else outer.ghost_sq_norms(x, y)
            for x, y in patches.chunks(a, g, entries)
        ]
        return root(torch.cat(found), a), self

    def _chunks(self) -> Iterator[Tensor]:
        a, g = widened(self.a), widened(self.g)
        entries = math.prod(a.shape[1:-2]) * a.shape[-1] * g.shape[-1]
        for x, y in patches.chunks(a, g, entries):
            yield outer.outer(x, y)


@final
@dataclass(frozen=True)
class Patches(Choosable):
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

    @property
    def has_options(self) -> bool:
        """Always: the gradients may be kept or not."""
        return True

    @property
    def operands(self) -> tuple[Tensor, Tensor]:
        """Input and output gradient."""
        return self.x, self.g

    def options(self) -> tuple[Option, ...]:
        """The gradients by either of two convolutions, kept or not, or products of patches or pixels."""
        size, shape = self._size(), self.shape
        plain, more = size.contraction(), max(1, int(size.row_bytes - size.operand_bytes))
        forming: list[tuple[str, float, Callable[[], Iterator[Tensor]]]] = [
            ("grouped", size.grouped(), self._grouped)
        ]
        if shape.weight[1] == shape.groups == 1 and not (self.several or shape.transposed):
            forming.append(("mirrored", size.mirrored(), self._mirrored))
        options: list[Option] = []
        for name, cost, chunks in forming:
            options += [
                Option(
                    name=name,
                    seconds=cost + plain,
                    kept_bytes=0,
                    settle=lambda chunks=chunks: _formed(chunks(), self),
                ),
                Option(
                    name=f"{name}, kept",
                    seconds=cost + size.from_rows(),
                    kept_bytes=more,
                    settle=lambda chunks=chunks: _kept(chunks()),
                ),
            ]
        if not (self.several or shape.transposed):
            if len(shape.stride) <= 2:
                options.append(self._squared("ghost", size.ghost() + plain, patches.ghost_sq_norms))
            if set(shape.stride) == {1}:
                options.append(self._squared("shifted", size.shifted() + plain, patches.shifted_sq_norms))
        return tuple(options)

    def size_key(self) -> str:
        """Shapes, dtype, device."""
        sizes = f"{tuple(self.x.shape[1:])} {tuple(self.g.shape[1:])}"
        return f"convolution {sizes} {self.shape} {self.x.dtype} {self.x.device.type}"

    def stand_in(self) -> Patches:
        """Random operands."""
        return Patches(torch.randn_like(self.x), torch.randn_like(self.g), self.shape)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of weight times gradient, of the value's shape."""
        x, g = widened(self.x), widened(self.g)
        w = weights.to(g.dtype).reshape(-1, *[1] * (g.dim() - 1))
        # The smaller operand is scaled: fewer bytes.
        if x.numel() < g.numel():
            x = x * w
        else:
            g = g * w
        if self.several:
            x, g = x.flatten(0, 1), g.flatten(0, 1)
        return patches.summed(x, g, self.shape)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return torch.cat(list(self._grouped()))

    def without(self, drop: Tensor) -> Patches:
        """With zeros for the marked examples."""
        return Patches(cleared(self.x, drop), cleared(self.g, drop), self.shape)

    def _size(self) -> ConvolutionSize:
        x, g, axes = self.x, self.g, len(self.shape.stride) + 1
        inputs, outputs = tuple(x.shape[-axes:]), tuple(g.shape[-axes:])
        return ConvolutionSize(
            count=math.prod(x.shape[:-axes]),
            inputs=inputs,
            # A transposed convolution has a position for each of its inputs.
            outputs=(outputs[0], *inputs[1:]) if self.shape.transposed else outputs,
            weight=self.shape.weight,
            padding=self.shape.padding,
            groups=self.shape.groups,
            itemsize=_widest(x),
        )

    def _squared(
        self, name: str, seconds: float, compute: Callable[[Tensor, Tensor, patches.Shape], Tensor]
    ) -> Option:
        def settle() -> tuple[Tensor, Contribution]:
            sq_norms = compute(widened(self.x), widened(self.g), self.shape)
            return root(sq_norms, self.g), self

        return Option(name=name, seconds=seconds, kept_bytes=0, settle=settle)

    def _grouped(self) -> Iterator[Tensor]:
        x, g = widened(self.x), widened(self.g)
        if not self.several:
            return patches.row_chunks(x, g, self.shape)
        pairs = patches.chunks(x, g, math.prod(self.shape.weight))
        return (patches.summed_apart(a, b, self.shape) for a, b in pairs)

    def _mirrored(self) -> Iterator[Tensor]:
        x, g = widened(self.x), widened(self.g)
        for a, b in patches.chunks(x, g, math.prod(self.shape.weight)):
            yield patches.mirrored_rows(a, b, self.shape)


def _formed(chunks: Iterator[Tensor], part: Contribution) -> tuple[Tensor, Contribution]:
    """Norms of gradients that are thrown away at once."""
    return torch.cat([row_norms(some) for some in chunks]), part


def _kept(chunks: Iterator[Tensor]) -> tuple[Tensor, Contribution]:
    norms: list[Tensor] = []
    kept: list[Tensor] = []
    for some in chunks:
        norms.append(row_norms(some))
        kept.append(some)
    return torch.cat(norms), Kept(tuple(kept))


def _widest(x: Tensor) -> int:
    """Bytes of a number of ``x`` once widened."""
    return max(4, x.element_size())
