"""Lower precision for the forward pass only: gradients, norms, sums and noise stay in float32."""

from __future__ import annotations

import copy
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop.gradients.base import Criterion


@final
class AutocastCriterion:
    """A criterion that runs under ``torch.autocast``, as the module it follows does."""

    def __init__(self, criterion: Criterion, device: torch.device, dtype: torch.dtype) -> None:
        self._criterion, self._device, self._dtype = criterion, device, dtype

    def __call__(self, *args: Any) -> Tensor:
        """The losses, in float32 at least."""
        with torch.autocast(self._device.type, dtype=self._dtype, cache_enabled=False):
            losses = self._criterion(*args)
        return losses.to(torch.promote_types(losses.dtype, torch.float32))


def autocast_module(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The same module, with the same parameters under the same names, whose forward runs under autocast.

    A shallow copy: it shares every parameter, buffer and layer with ``module``, which is left as it is.

    Raises:
        ValueError: autocast does not know ``dtype`` on ``device``.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"autocast must be torch.bfloat16 or None, found autocast={dtype}")
    if dtype is torch.float16:
        raise ValueError(
            "autocast must be torch.bfloat16 or None, found autocast=torch.float16: it needs the loss "
            "scaled, which would scale each example's norm; use bfloat16"
        )
    twin = copy.copy(module)
    forward = module.forward

    def under_autocast(*args: Any, **kwargs: Any) -> Any:
        # Without the cache: it would keep casts of tensors that engines replace at every call.
        with torch.autocast(device.type, dtype=dtype, cache_enabled=False):
            return forward(*args, **kwargs)

    object.__setattr__(twin, "forward", under_autocast)
    return twin
