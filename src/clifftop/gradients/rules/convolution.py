"""``torch.nn.Conv*`` of any dimension, transposed or not, by the products of patches in `patches`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from clifftop.gradients.base import UnsupportedModule
from clifftop.gradients.instantiated import row_sq_norms
from clifftop.gradients.rules import patches
from clifftop.gradients.rules.base import GhostRule, LeafCall
from clifftop.gradients.rules.fallback import CallLayout


@final
class ConvolutionRule(GhostRule):
    """Per-example gradients, norms and sums for ``Conv1d/2d/3d`` and their transposes."""

    def sq_norms(self, call: LeafCall) -> dict[str, Tensor]:
        """Squared norm of each example's gradient, ``(R, B)``."""
        x, g, shape = _operands(call)
        norms: dict[str, Tensor] = {}
        if "weight" in call.names:
            flat = patches.sq_norms(x.flatten(0, 1), g.flatten(0, 1), shape)
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
            sums["weight"] = torch.cat([patches.summed_apart(a, b, shape) for a, b in pairs])
        if "bias" in call.names:
            sums["bias"] = torch.einsum("rb,rbo->ro", weights["bias"], g.flatten(3).sum(-1))
        return sums

    def instantiate(self, call: LeafCall) -> dict[str, Tensor]:
        """Each example's gradient, ``(R, B, ...)``."""
        x, g, shape = _operands(call)
        grads: dict[str, Tensor] = {}
        if "weight" in call.names:
            flat = patches.rows(x.flatten(0, 1), g.flatten(0, 1), shape)
            grads["weight"] = flat.unflatten(0, g.shape[:2])
        if "bias" in call.names:
            grads["bias"] = g.flatten(3).sum(-1)
        return grads


def _operands(call: LeafCall) -> tuple[Tensor, Tensor, patches.Shape]:
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
    shape = patches.Shape(
        weight=tuple(module.weight.shape),
        stride=stride,
        padding=tuple(padding),
        dilation=dilation,
        output_padding=added if module.transposed else (0,) * len(stride),
        groups=module.groups,
        transposed=module.transposed,
    )
    return x, g, shape


CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""The layers that `ConvolutionRule` covers."""
