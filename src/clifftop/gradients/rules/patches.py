"""The weight gradients of convolutions: PyTorch's own kernel, with one group an example.

An example's weight gradient is the ordinary one of a batch of one. Laying examples (or runs) out as
groups of one grouped convolution gives all of them in one call of PyTorch's backward kernel, for
every stride, padding, dilation and grouping, transposed or not. Where a layer has few positions and
a large weight, the norm comes from products of patches instead, as for a linear layer on its
unfolded input (ghost norm; Bu et al. 2022, arXiv:2205.10683), and no gradient is formed. Inputs are
``(N, C, ...)``, output gradients ``(N, O, ...)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.rules import outer, products

# How many numbers of gradients one call of a kernel may give, unless one example needs more: on a
# processor what its caches hold (measured: three times quicker than all at once), elsewhere what fills
# the device.
_ENTRIES_ON_CPU, _ENTRIES_ELSEWHERE = 2**19, 2**26


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a convolution does, its input padded already where padding is not plain zeros."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    transposed: bool


def sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Squared norm of each example's weight gradient, ``(N,)``."""
    work = ghost_sq_norms if _ghost_is_cheaper(g, shape) else _instantiated_sq_norms
    return work(x, g, shape)


def rows(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Each example's weight gradient, ``(N, *weight)``."""
    return torch.cat(list(row_chunks(x, g, shape)))


def row_chunks(x: Tensor, g: Tensor, shape: Shape) -> Iterator[Tensor]:
    """Each example's weight gradient, some at a time, ``(n, *weight)``: so many as a cache holds."""
    for a, b in chunks(x, g, math.prod(shape.weight)):
        yield summed_apart(a.unsqueeze(1), b.unsqueeze(1), shape)


def chunks(x: Tensor, g: Tensor, entries: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of ``x`` and ``g`` together, so many at a time as memory is for at ``entries`` numbers each."""
    limit = _ENTRIES_ON_CPU if x.device.type == "cpu" else _ENTRIES_ELSEWHERE
    size = max(1, limit // entries)
    yield from zip(x.split(size), g.split(size), strict=True)


def summed(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """The weight gradient summed over all N."""
    return summed_apart(x[None], g[None], shape)[0]


def summed_apart(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """For ``(N, M, C, ...)`` and ``(N, M, O, ...)``, N gradients, each summed over its M examples."""
    count, size = x.shape[:2]
    together = (count * shape.weight[0], *shape.weight[1:])
    _, gradient, _ = torch.ops.aten.convolution_backward(
        g.transpose(0, 1).reshape(size, -1, *g.shape[3:]),
        x.transpose(0, 1).reshape(size, -1, *x.shape[3:]),
        # Only its shape is read: the gradient of the input is not asked for.
        g.new_empty(1).expand(together),
        None,
        shape.stride,
        shape.padding,
        shape.dilation,
        shape.transposed,
        shape.output_padding,
        count * shape.groups,
        (False, True, False),
    )
    return gradient.unflatten(0, (count, shape.weight[0]))


def _ghost_is_cheaper(g: Tensor, shape: Shape) -> bool:
    """Whether products of patches cost less than the gradient itself, at half its kernel's speed."""
    if shape.transposed or len(shape.stride) > 2:
        return False
    positions, d, p = g[0, 0].numel(), math.prod(shape.weight[1:]), shape.weight[0] // shape.groups
    return 2 * positions * (d + p) < d * p


def _instantiated_sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    return torch.cat([row_sq_norms(some.unsqueeze(0))[0] for some in row_chunks(x, g, shape)])


def ghost_sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Squared norms, the sum over positions t, s of ``(a_t . a_s)(g_t . g_s)`` for patches a, group by group.

    For convolutions of one or two axes that are not transposed.
    """
    entries = g[0, 0].numel() * math.prod(shape.weight[1:]) * shape.groups
    each = (as_outer(a, b, shape) for a, b in chunks(x, g, entries))
    return torch.cat([outer.ghost_sq_norms(a, b).sum(1) for a, b in each])


def as_outer(x: Tensor, g: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Patches ``(N, groups, T, d)`` and output gradients ``(N, groups, T, p)``: a product over positions.

    For convolutions of one or two axes that are not transposed.
    """
    flat = len(shape.stride) == 1
    if set(shape.weight[2:]) == {1} and not any(shape.padding):
        steps = [slice(None, None, step) for step in shape.stride]
        patches = x[(..., *steps)].flatten(2)
    else:
        patches = F.unfold(
            x.unsqueeze(2) if flat else x,
            (1, *shape.weight[2:]) if flat else shape.weight[2:],
            dilation=(1, *shape.dilation) if flat else shape.dilation,
            padding=(0, *shape.padding) if flat else shape.padding,
            stride=(1, *shape.stride) if flat else shape.stride,
        )
    a = patches.unflatten(1, (shape.groups, -1))
    b = g.flatten(2).unflatten(1, (shape.groups, -1))
    return a.mT, b.mT


def mirrored_rows(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """`rows` by a convolution of the input with the output gradient, for one input channel and group.

    The weight's entry at offset k is the sum over positions t of ``x[stride t + dilation k] g[t]``: a
    convolution whose stride and dilation are exchanged.
    """
    size, ndim = len(x), len(shape.stride)
    found = torch.ops.aten.convolution(
        x.transpose(0, 1),
        g.reshape(-1, 1, *g.shape[2:]),
        None,
        shape.dilation,
        shape.padding,
        shape.stride,
        False,
        (0,) * ndim,
        size,
    )
    # Rows and columns that no output reached: there the stride does not divide the input's size.
    kept = tuple(slice(k) for k in shape.weight[2:])
    return found[(..., *kept)].reshape(size, *shape.weight)


def shifted_sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Squared norms without patches: products of pixels, added up along the kernel.

    The product of two patches is the sum over the kernel's offsets k of the products of pixels t + k and
    s + k. In the flattened matrix of products of pixels, N on a side, that is a shift by ``k (N + 1)``;
    so the sum is one long addition for each offset, axis after axis. Output gradients are laid on the
    same N places, with zeros where no patch begins. For strides of 1 and convolutions that are not
    transposed.
    """
    padding = [p for size in reversed(shape.padding) for p in (size, size)]
    wide = [size + 2 * p for size, p in zip(x.shape[2:], shape.padding, strict=True)]
    unused = [w - size for w, size in zip(wide, g.shape[2:], strict=True)]
    places = math.prod(wide)
    found: list[Tensor] = []
    for some, own in chunks(x, g, _SHIFTED_ENTRIES * places * places):
        pixels = F.pad(some, padding).flatten(2).unflatten(1, (shape.groups, -1)).mT
        ends = F.pad(own, [p for size in reversed(unused) for p in (0, size)])
        total = products.grams(pixels.contiguous()).flatten(2)
        step = places + 1
        for size, width, dilation in _fastest_first(wide, shape):
            total = _window_sums(total, size, step * dilation)
            step *= width
        by_end = products.grams(ends.flatten(2).unflatten(1, (shape.groups, -1)).mT.contiguous()).flatten(2)
        pairs = total * by_end[..., : total.shape[-1]]
        found.append(outer.long_sums(pairs).sum(1))
    return torch.cat(found).clamp_min(0)


# A matrix of products is read and written several times over: it should stay in the nearest cache.
_SHIFTED_ENTRIES = 8


def _fastest_first(wide: Sequence[int], shape: Shape) -> Iterator[tuple[int, int, int]]:
    """Kernel size, width and dilation of each axis, the last one first."""
    yield from zip(reversed(shape.weight[2:]), reversed(wide), reversed(shape.dilation), strict=True)


def _window_sums(x: Tensor, size: int, step: int) -> Tensor:
    """The sum of ``size`` entries of the last axis that are ``step`` apart, from each that has them all."""
    length = x.shape[-1] - (size - 1) * step
    total = x[..., :length]
    for i in range(1, size):
        total = total + x[..., i * step : i * step + length]
    return total
