"""The largest of a window: along one axis, then along the other.

Where several entries of a window are equally large, the gradient goes to the first one, row by row, as it
does in PyTorch: the first along the width within each row, and the first row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.gradients.chain.convolution import Window
from clifftop.gradients.chain.layers import by_autograd
from clifftop.gradients.chain.stages import Pulled, Shared, Stage


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Windows along one axis of a tensor."""

    dim: int
    kernel: int
    stride: int

    def slices(self, x: Tensor, count: int) -> list[Tensor]:
        """For each place in a window, the entries at it."""
        reach = (count - 1) * self.stride + 1
        return [_stepped(x, self.dim, i, i + reach, self.stride) for i in range(self.kernel)]

    def largest(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The largest entries; and for each place after the first, by how much it beat those before."""
        count = (x.shape[self.dim] - self.kernel) // self.stride + 1
        best, *others = self.slices(x, count)
        beaten: list[Tensor] = []
        for other in others:
            # Differences, not comparisons: PyTorch is four times slower on truth values than on floats.
            beaten.append(other - best)
            best = torch.maximum(best, other)
        return best.contiguous(), beaten

    def back(self, g: Tensor, beaten: Sequence[Tensor], length: int) -> Tensor:
        """The gradient at ``length`` entries."""
        shape = list(g.shape)
        shape[self.dim] = length
        if self.stride == 1 and self.kernel == 2:
            return self._back_to_neighbours(g, beaten[0], g.new_empty(shape))
        total = g.new_zeros(shape)
        first, *others = self.slices(total, g.shape[self.dim])
        # What the last place won it won from all before; what is left belongs to those.
        for place, won in zip(reversed(others), reversed(beaten), strict=True):
            mine = _where_positive(g, won)
            place.add_(mine)
            g = g - mine
        first += g
        return total

    def _back_to_neighbours(self, g: Tensor, won: Tensor, total: Tensor) -> Tensor:
        """The same for windows of two that overlap by one, the most frequent ones, in three passes."""
        count = g.shape[self.dim]
        mine = _where_positive(g, won)
        torch.sub(g, mine, out=total.narrow(self.dim, 0, count))
        total.select(self.dim, count).zero_()
        total.narrow(self.dim, 1, count).add_(mine)
        return total


def _where_positive(g: Tensor, x: Tensor) -> Tensor:
    """``g`` where ``x`` is above 0, else 0."""
    return torch.ops.aten.threshold_backward(g, x, 0)


def _stepped(x: Tensor, dim: int, start: int, stop: int, step: int) -> Tensor:
    index = [slice(None)] * x.dim()
    index[dim] = slice(start, stop, step)
    return x[tuple(index)]


@final
@dataclass(frozen=True, kw_only=True)
class MaxPool(Stage):
    """``nn.MaxPool2d`` without dilation that rounds down."""

    window: Window

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, _Back]:
        """``(B, C, H, W)`` to ``(B, C, h, w)``, channels last in memory."""
        del tensors, shared
        (kh, kw), (sh, sw), (ph, pw) = self.window.kernel, self.window.stride, self.window.padding
        last = x.permute(0, 2, 3, 1).contiguous()
        if ph or pw:
            last = F.pad(last, (0, 0, pw, pw, ph, ph), value=torch.finfo(x.dtype).min)
        across, down = _Axis(dim=2, kernel=kw, stride=sw), _Axis(dim=1, kernel=kh, stride=sh)
        rows, beaten_across = across.largest(last)
        best, beaten_down = down.largest(rows)
        back = _Back(
            axes=(across, down),
            beaten=(tuple(beaten_across), tuple(beaten_down)),
            sizes=(last.shape[2], last.shape[1]),
            padding=(ph, pw),
        )
        return best.permute(0, 3, 1, 2), back


@final
@dataclass(frozen=True, kw_only=True)
class _Back:
    axes: tuple[_Axis, _Axis]
    beaten: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    sizes: tuple[int, int]
    padding: tuple[int, int]

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """From the gradient ``(B, C, h, w)``."""
        if not input_needed:
            return Pulled(input=None)
        found = g.permute(0, 2, 3, 1).contiguous()
        for axis, beaten, size in reversed(list(zip(self.axes, self.beaten, self.sizes, strict=True))):
            found = axis.back(found, beaten, size)
        (ph, pw), (height, width) = self.padding, found.shape[1:3]
        return Pulled(input=found[:, ph : height - ph, pw : width - pw].permute(0, 3, 1, 2))


def max_pool(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage | None:
    """The stage of a ``nn.MaxPool2d``; None where it gives more than one tensor."""
    assert isinstance(layer, nn.MaxPool2d)
    kernel, stride, padding, dilation = map(
        _pair, (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    if layer.return_indices:
        return None
    if dilation != (1, 1) or layer.ceil_mode:
        return by_autograd(layer, names, trained)
    return MaxPool(window=Window(kernel=kernel, stride=stride, padding=padding))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    high, wide = value
    return high, wide
