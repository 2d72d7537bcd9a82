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
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clifftop.gradients.instantiated import row_sq_norms

# How many numbers one call of a kernel may hold, unless one example needs more: on a processor what
# its caches hold (measured: three times quicker than all at once), elsewhere what fills the device.
_ENTRIES_ON_CPU, _ENTRIES_ELSEWHERE = 2**20, 2**26


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
    work = _ghost_sq_norms if _ghost_is_cheaper(g, shape) else _instantiated_sq_norms
    return _in_chunks(work, x, g, shape)


def rows(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Each example's weight gradient, ``(N, *weight)``."""
    return _in_chunks(_one_by_one, x, g, shape)


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


def _one_by_one(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """Gradients of single examples, ``(N, ...)``."""
    return summed_apart(x.unsqueeze(1), g.unsqueeze(1), shape)


def _instantiated_sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    return row_sq_norms(_one_by_one(x, g, shape).unsqueeze(0))[0]


def _ghost_sq_norms(x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """The sum over positions t, s of ``(a_t . a_s)(g_t . g_s)`` for patches a, group by group."""
    flat = len(shape.stride) == 1
    patches = F.unfold(
        x.unsqueeze(2) if flat else x,
        (1, *shape.weight[2:]) if flat else shape.weight[2:],
        dilation=(1, *shape.dilation) if flat else shape.dilation,
        padding=(0, *shape.padding) if flat else shape.padding,
        stride=(1, *shape.stride) if flat else shape.stride,
    )
    a = patches.unflatten(1, (shape.groups, -1))
    b = g.flatten(2).unflatten(1, (shape.groups, -1))
    return ((a.mT @ a) * (b.mT @ b)).sum((1, 2, 3)).clamp_min(0)


def _in_chunks(work: Callable[[Tensor, Tensor, Shape], Tensor], x: Tensor, g: Tensor, shape: Shape) -> Tensor:
    """``work`` on ``(N, ...)`` rows, so many at a time as memory is for."""
    patches = g[0, 0].numel() * math.prod(shape.weight[1:]) * shape.groups
    limit = _ENTRIES_ON_CPU if x.device.type == "cpu" else _ENTRIES_ELSEWHERE
    size = max(1, limit // max(math.prod(shape.weight), patches))
    return torch.cat([work(a, b, shape) for a, b in zip(x.split(size), g.split(size), strict=True)])
