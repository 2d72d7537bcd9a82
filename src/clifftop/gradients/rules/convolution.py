"""Convolutions of any dimension: PyTorch's own weight gradient, with one group an example.

An example's weight gradient is the ordinary one of a batch of one. Laying examples (or runs) out as
groups of one grouped convolution gives all of them in one call of PyTorch's backward kernel, for
every stride, padding, dilation and grouping, transposed or not. Where a layer has few positions and
a large weight, the norm comes from products of patches instead, as for a linear layer on its
unfolded input (ghost norm; Bu et al. 2022, arXiv:2205.10683), and no gradient is formed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from clifftop.gradients.base import UnsupportedModule
from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.rules.base import GhostRule, LeafCall
from clifftop.gradients.rules.fallback import CallLayout

# How many numbers one call of a kernel may hold, unless one example needs more: on a processor what
# its caches hold (measured: three times quicker than all at once), elsewhere what fills the device.
_ENTRIES_ON_CPU, _ENTRIES_ELSEWHERE = 2**20, 2**26


@final
class ConvolutionRule(GhostRule):
    """Per-example gradients, norms and sums for ``Conv1d/2d/3d`` and their transposes."""

    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""
        x, g, shape = _operands(call)
        norms: dict[str, Tensor] = {}
        if "weight" in call.names:
            few_positions = _ghost_is_cheaper(g, shape)
            flat = _in_chunks(
                _ghost_sq_norms if few_positions else _instantiated_sq_norms,
                x.flatten(0, 1),
                g.flatten(0, 1),
                shape,
            )
            norms["weight"] = flat.unflatten(0, g.shape[:2])
        if "bias" in call.names:
            norms["bias"] = row_sq_norms(g.flatten(3).sum(-1))
        return norms

    def weighted_sum(self, call: LeafCall, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum over examples of weight times gradient, ``(R, ...)``."""
        x, g, shape = _operands(call)
        sums: dict[str, Tensor] = {}
        if "weight" in call.names:
            w = weights["weight"].reshape(*g.shape[:2], *[1] * (g.dim() - 2))
            # Run by run: PyTorch's kernel is slower on all runs as groups of one convolution.
            pairs = zip(x.split(1), (g * w).split(1), strict=True)
            sums["weight"] = torch.cat([_weight_gradients(a, b, shape) for a, b in pairs])
        if "bias" in call.names:
            sums["bias"] = torch.einsum("rb,rbo->ro", weights["bias"], g.flatten(3).sum(-1))
        return sums

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""
        x, g, shape = _operands(call)
        grads: dict[str, Tensor] = {}
        if "weight" in call.names:
            flat = _in_chunks(_one_by_one, x.flatten(0, 1), g.flatten(0, 1), shape)
            grads["weight"] = flat.unflatten(0, g.shape[:2])
        if "bias" in call.names:
            grads["bias"] = g.flatten(3).sum(-1)
        return grads


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What a convolution does, its input padded already where padding is not plain zeros."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    transposed: bool


def _operands(call: LeafCall) -> tuple[Tensor, Tensor, _Shape]:
    """Input ``(R, B, C, ...)``, output gradient ``(R, B, O, ...)``, and how they belong together."""
    module = call.module
    assert isinstance(module, _ConvNd)
    if isinstance(call.layout, CallLayout) and call.layout.input_axes != (0,):
        raise UnsupportedModule(
            f"a convolution must have the examples on its input's first axis, found '{call.path}' "
            f"({type(module).__name__}) with input_axes={call.layout.input_axes}; "
            "move them, or use LoopEngine()"
        )
    x, g = call.inputs[0], call.output_grads[0]
    stride, dilation = tuple(module.stride), tuple(module.dilation)
    padding = module.padding
    if isinstance(padding, str) or module.padding_mode != "zeros":
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = F.pad(x.flatten(0, 1), module._reversed_padding_repeated_twice, mode=mode)  # noqa: SLF001
        x, padding = padded.unflatten(0, x.shape[:2]), (0,) * len(stride)
    sizes = zip(g.shape[3:], x.shape[3:], stride, padding, dilation, module.kernel_size, strict=True)
    # A transposed convolution may be asked for an output size; what was added shows in the shapes.
    added = tuple(out - ((size - 1) * s - 2 * p + d * (k - 1) + 1) for out, size, s, p, d, k in sizes)
    shape = _Shape(
        weight=tuple(module.weight.shape),
        stride=stride,
        padding=tuple(padding),
        dilation=dilation,
        output_padding=added if module.transposed else (0,) * len(stride),
        groups=module.groups,
        transposed=module.transposed,
    )
    return x, g, shape


def _weight_gradients(x: Tensor, g: Tensor, shape: _Shape) -> Tensor:
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


def _ghost_is_cheaper(g: Tensor, shape: _Shape) -> bool:
    """Whether products of patches cost less than the gradient itself, at half its kernel's speed."""
    if shape.transposed or len(shape.stride) > 2:
        return False
    positions, d, p = g[0, 0, 0].numel(), math.prod(shape.weight[1:]), shape.weight[0] // shape.groups
    return 2 * positions * (d + p) < d * p


def _one_by_one(x: Tensor, g: Tensor, shape: _Shape) -> Tensor:
    """Gradients of single examples, ``(N, ...)``."""
    return _weight_gradients(x.unsqueeze(1), g.unsqueeze(1), shape)


def _instantiated_sq_norms(x: Tensor, g: Tensor, shape: _Shape) -> Tensor:
    return row_sq_norms(_one_by_one(x, g, shape).unsqueeze(0))[0]


def _ghost_sq_norms(x: Tensor, g: Tensor, shape: _Shape) -> Tensor:
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


def _in_chunks(
    work: Callable[[Tensor, Tensor, _Shape], Tensor], x: Tensor, g: Tensor, shape: _Shape
) -> Tensor:
    """``work`` on ``(N, ...)`` rows, so many at a time as memory is for."""
    patches = g[0, 0].numel() * math.prod(shape.weight[1:]) * shape.groups
    limit = _ENTRIES_ON_CPU if x.device.type == "cpu" else _ENTRIES_ELSEWHERE
    size = max(1, limit // max(math.prod(shape.weight), patches))
    return torch.cat([work(a, b, shape) for a, b in zip(x.split(size), g.split(size), strict=True)])


CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""The layers that `ConvolutionRule` covers."""
