"""What a parameter's use contributes to each example's gradient: norms and sums without forming it.

A contribution belongs to one *value*: a parameter, or a tensor made of parameters alone. Its methods
take and give tensors of one run, examples first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.gradients.instantiated import row_norms, zero_where
from clifftop.gradients.graph.options import ConvolutionSize, Option, ProductSize
from clifftop.gradients.rules import embedding, outer, patches, products


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
        return Rows(_cleared(self.values, drop))


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
        return Kept(tuple(_cleared(some, d) for some, d in zip(self.chunks, own, strict=True)))


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
        return row_norms(_widened(self.a)) * row_norms(_widened(self.g))

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
        a, g = _widened(self.a), _widened(self.g)
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
        a, g = _widened(self.a), _widened(self.g)
        return a.unsqueeze(-1) * g.unsqueeze(-2) if a.dim() == 2 else outer.outer(a, g)

    def without(self, drop: Tensor) -> Outer:
        """With zeros for the marked examples."""
        return Outer(_cleared(self.a, drop), _cleared(self.g, drop))

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
        a, g = _widened(self.a), _widened(self.g)
        entries = self.a[0, ..., 0].numel() * self.a.shape[-2]
        found = [
            outer.ghost_sq_norms(x, y).flatten(1).sum(1) if x.dim() > 3 else outer.ghost_sq_norms(x, y)
            for x, y in patches.chunks(a, g, entries)
        ]
        return _root(torch.cat(found), a), self

    def _chunks(self) -> Iterator[Tensor]:
        a, g = _widened(self.a), _widened(self.g)
        entries = math.prod(a.shape[1:-2]) * a.shape[-1] * g.shape[-1]
        for x, y in patches.chunks(a, g, entries):
            yield outer.outer(x, y)


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
        x, g = _widened(self.x), _widened(self.g)
        w = weights.to(g.dtype).reshape(-1, *[1] * (g.dim() - 1))
        # The smaller operand is scaled: fewer bytes.
        if x.numel() < g.numel():
            x = x * w
        else:
            g = g * w
        return patches.summed(*(t.flatten(0, 1) if self.several else t for t in (x, g)), self.shape)

    def rows(self) -> Tensor:
        """The gradients, ``(B, *shape)``."""
        return torch.cat(list(self._grouped()))

    def without(self, drop: Tensor) -> Patches:
        """With zeros for the marked examples."""
        return Patches(_cleared(self.x, drop), _cleared(self.g, drop), self.shape)

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
            sq_norms = compute(_widened(self.x), _widened(self.g), self.shape)
            return _root(sq_norms, self.g), self

        return Option(name=name, seconds=seconds, kept_bytes=0, settle=settle)

    def _grouped(self) -> Iterator[Tensor]:
        x, g = _widened(self.x), _widened(self.g)
        if not self.several:
            return patches.row_chunks(x, g, self.shape)
        pairs = patches.chunks(x, g, math.prod(self.shape.weight))
        return (patches.summed_apart(a, b, self.shape) for a, b in pairs)

    def _mirrored(self) -> Iterator[Tensor]:
        x, g = _widened(self.x), _widened(self.g)
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


def _widest(x: Tensor) -> int:
    """Bytes of a number of ``x`` once widened."""
    return max(4, x.element_size())


def _cleared(x: Tensor, drop: Tensor) -> Tensor:
    return zero_where(x[None], drop[None])[0]
