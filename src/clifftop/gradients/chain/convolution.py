"""A convolution as one product with patches, which its way back needs again.

An example's weight gradient is the product of its patches with the gradient at its output, so patches
that are at hand make it one product of matrices; and the patches of a batch are those of every run that
trains on it. Channels are last in memory: a patch is then a few long pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clifftop.gradients.chain.grads import Part, Products, Vectors
from clifftop.gradients.chain.stages import Pulled, Shared, Stage
from clifftop.gradients.rules import products
from clifftop.gradients.rules.products import Pointwise

# Shorter pieces cost more to find than to copy: then one axis is unfolded after the other.
_SHORT_PIECE = 32
# Larger weights are not worth forming example by example (measured against `GraphEngine`: equal here).
_LARGEST_WEIGHT = 2**14


@dataclass(frozen=True, kw_only=True)
class Window:
    """Kernel, stride and padding, ``(height, width)`` each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def padded(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` with zeros around."""
        high, wide = self.padding
        return F.pad(x, (0, 0, wide, wide, high, high)) if high or wide else x

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """How many windows a padded image has along each axis."""
        (kh, kw), (sh, sw) = self.kernel, self.stride
        return (height - kh) // sh + 1, (width - kw) // sw + 1

    def patches(self, x: Tensor) -> Tensor:
        """Patches ``(B, positions, kh * kw * C)`` of a padded contiguous image ``(B, H, W, C)``."""
        size, height, width, channels = x.shape
        (kh, kw), (sh, sw) = self.kernel, self.stride
        high, wide = self.positions(height, width)
        piece, row = kw * channels, width * channels
        if piece >= _SHORT_PIECE:
            view = x.as_strided(
                (size, high, wide, kh, piece),
                (height * row, sh * row, sw * channels, row, 1),
                x.storage_offset(),
            )
            return view.reshape(size, high * wide, kh * piece)
        # Column after column, every window's rows lie one after another.
        columns = x.as_strided(
            (size, wide, height, piece), (height * row, sw * channels, row, 1), x.storage_offset()
        ).contiguous()
        view = columns.as_strided(
            (size, high, wide, kh * piece), (wide * height * piece, sh * piece, height * piece, 1)
        )
        return view.reshape(size, high * wide, kh * piece)

    def spread(self, g: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
        """The gradient at an image ``(B, height, width, C)`` from that at the output ``(B, O, h, w)``.

        The pixels whose places leave the same rest by the stride are one ordinary convolution of ``g``; all
        of these are one convolution with as many times the channels.
        """
        (sh, sw), (ph, pw) = self.stride, self.padding
        taps_h, taps_w = -(-self.kernel[0] // sh), -(-self.kernel[1] // sw)
        kernel = _by_rest(weight, (sh, sw), (taps_h, taps_w))
        found = F.conv2d(g, kernel, None, 1, (taps_h - 1, taps_w - 1)).permute(0, 2, 3, 1)
        size, high, wide, _ = found.shape
        channels = weight.shape[1]
        found = found.reshape(size, high, wide, sh, sw * channels)
        whole = found.transpose(2, 3).reshape(size, high * sh, wide * sw, channels)
        missing = (height + 2 * ph - high * sh, width + 2 * pw - wide * sw)
        if max(missing) > 0:
            whole = F.pad(whole, (0, 0, 0, max(0, missing[1]), 0, max(0, missing[0])))
        return whole[:, ph : ph + height, pw : pw + width]


def _by_rest(weight: Tensor, stride: tuple[int, int], taps: tuple[int, int]) -> Tensor:
    """``(O, C, kh, kw)`` as kernels ``(sh * sw * C, O, taps, taps)``, one group of C a rest."""
    (sh, sw), (th, tw) = stride, taps
    out, channels, kh, kw = weight.shape
    full = F.pad(weight, (0, tw * sw - kw, 0, th * sh - kh))
    parts = full.view(out, channels, th, sh, tw, sw).flip(2, 4).permute(3, 5, 1, 0, 2, 4)
    kernel = parts.reshape(sh * sw * channels, out, th, tw)
    return kernel.contiguous(memory_format=torch.channels_last)


@final
@dataclass(frozen=True, kw_only=True)
class Convolution(Stage):
    """``nn.Conv2d`` without groups and dilation, padded with zeros.

    Attributes:
        weight: the model's name of its weight.
        bias: of its bias; None without one.
        trained: which of the two are trained.
        window: where it looks.
        then: a function of each output, in the same pass.
    """

    weight: str
    bias: str | None
    trained: frozenset[str]
    window: Window
    then: Pointwise | None = None

    @property
    def restored(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The weight's gradient is a matrix, by output channel and place in a patch."""
        own: dict[str, Callable[[Tensor], Tensor]] = dict.fromkeys(self.trained, _unchanged)
        kernel = self.window.kernel
        if self.weight in own:
            own[self.weight] = lambda value: _weight(value, kernel)
        return own

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, _Back]:
        """``(B, C, H, W)`` to ``(B, O, h, w)``, channels last in memory."""
        weight = tensors[self.weight]
        bias = None if self.bias is None else tensors[self.bias]
        high, wide = self.window.positions(
            *(n + 2 * p for n, p in zip(x.shape[2:], self.window.padding, strict=True))
        )
        patches = shared.get(
            x,
            self.window,
            lambda: self.window.patches(self.window.padded(x.permute(0, 2, 3, 1)).contiguous()),
        )
        out = products.affine(patches.flatten(0, 1), _matrix(weight), bias, self.then)
        out = out.view(len(x), high, wide, -1)
        back = _Back(stage=self, patches=patches, kernel=weight, image=x.shape[2:], out=out)
        return out.permute(0, 3, 1, 2), back


@final
@dataclass(frozen=True, kw_only=True)
class _Back:
    stage: Convolution
    patches: Tensor
    kernel: Tensor
    image: tuple[int, ...]
    out: Tensor

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """From the gradient ``(B, O, h, w)``."""
        own = self.stage
        last = g.permute(0, 2, 3, 1).contiguous()
        if own.then is not None:
            last = own.then.back(last, self.out)
        flat = last.flatten(1, 2)
        parts: dict[str, Part] = {}
        if own.weight in own.trained:
            parts[own.weight] = Products(flat, self.patches)
        if own.bias is not None and own.bias in own.trained:
            parts[own.bias] = Vectors(flat.sum(1))
        if not input_needed:
            return Pulled(input=None, parts=parts)
        found = own.window.spread(last.permute(0, 3, 1, 2), self.kernel, self.image[0], self.image[1])
        return Pulled(input=found.permute(0, 3, 1, 2), parts=parts)


def convolution(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage | None:
    """The stage of a ``nn.Conv2d``; None where it does something else, or is large."""
    assert isinstance(layer, nn.Conv2d)
    padding = layer.padding
    if layer.groups != 1 or set(layer.dilation) != {1} or layer.padding_mode != "zeros":
        return None
    if isinstance(padding, str) or layer.weight.numel() > _LARGEST_WEIGHT:
        return None
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, padding
    return Convolution(
        weight=names["weight"],
        bias=names.get("bias"),
        trained=trained & frozenset(names.values()),
        window=Window(kernel=(kh, kw), stride=(sh, sw), padding=(ph, pw)),
    )


def _matrix(weight: Tensor) -> Tensor:
    """``(O, C, kh, kw)`` as ``(O, kh * kw * C)``."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _weight(matrix: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Back to ``(O, C, kh, kw)``."""
    return matrix.unflatten(1, (*kernel, -1)).permute(0, 3, 1, 2)


def _unchanged(value: Tensor) -> Tensor:
    return value
