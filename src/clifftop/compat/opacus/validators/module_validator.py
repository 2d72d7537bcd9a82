"""Finds modules that mix examples, and replaces them."""

from __future__ import annotations

import copy
import math
from typing import final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from clifftop.compat.opacus.validators.errors import (
    IllegalModuleConfigurationError,
    ShouldReplaceModuleError,
    UnsupportedModuleError,
)


@final
class ModuleValidator:
    """Names what keeps a module from being private, and puts other layers in its place.

    A list of layer types finds those alone; the first training pass also looks for any influence between
    examples.
    """

    @classmethod
    def validate(cls, module: nn.Module, *, strict: bool = False) -> list[UnsupportedModuleError]:
        """What is wrong with ``module``, layer by layer.

        Raises:
            UnsupportedModuleError: the first finding, if ``strict``.

        >>> [found] = ModuleValidator.validate(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        >>> str(found).split(";")[0]
        "examples must not share statistics, found BatchNorm1d at '1'"
        """
        found = [
            error
            for name, layer in module.named_modules()
            if (error := _finding(name or "(root)", layer)) is not None
        ]
        if strict and found:
            raise found[0]
        return found

    @classmethod
    def is_valid(cls, module: nn.Module) -> bool:
        """Whether `validate` finds nothing."""
        return not cls.validate(module)

    @classmethod
    def fix(cls, module: nn.Module) -> nn.Module:
        """A copy of ``module`` with group normalisation for batch normalisation.

        The trained scale and shift are kept. The statistics are not: they are those of the data, and were
        never private. Groups hold at least two channels, since a group of one value would be set to zero.
        Instance normalisation stops keeping statistics. Build the optimiser from the copy.
        """
        fixed = copy.deepcopy(module)
        if isinstance(fixed, _BatchNorm):
            return _group_norm(fixed)
        for parent in list(fixed.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, _BatchNorm):
                    setattr(parent, name, _group_norm(layer))
                elif isinstance(layer, _InstanceNorm) and layer.track_running_stats:
                    layer.track_running_stats = False
                    layer.running_mean = layer.running_var = layer.num_batches_tracked = None
        return fixed

    @classmethod
    def fix_and_validate(cls, module: nn.Module) -> nn.Module:
        """`fix`, then `validate` strictly."""
        fixed = cls.fix(module)
        cls.validate(fixed, strict=True)
        return fixed


def _finding(name: str, layer: nn.Module) -> UnsupportedModuleError | None:
    if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
        return ShouldReplaceModuleError(
            f"examples must not share statistics, found {type(layer).__name__} at '{name}'; use "
            "ModuleValidator.fix(module), or freeze the layer with .eval()"
        )
    if isinstance(layer, _InstanceNorm) and layer.training and layer.track_running_stats:
        return IllegalModuleConfigurationError(
            f"no statistics of the data may be kept, found {type(layer).__name__} at '{name}' with "
            "track_running_stats=True; use ModuleValidator.fix(module), or set it to False"
        )
    return None


def _group_norm(layer: _BatchNorm) -> nn.GroupNorm:
    channels = layer.num_features
    groups = 1 if isinstance(layer, nn.BatchNorm1d) else math.gcd(32, channels)
    if groups == channels:
        groups = max(1, channels // 2)
    norm = nn.GroupNorm(groups, channels, eps=layer.eps, affine=layer.affine)
    if layer.affine:
        norm.to(device=layer.weight.device, dtype=layer.weight.dtype)
        with torch.no_grad():
            norm.weight.copy_(layer.weight)
            norm.bias.copy_(layer.bias)
    norm.train(layer.training)
    return norm
