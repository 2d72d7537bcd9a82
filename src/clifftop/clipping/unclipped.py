"""No clipping, beside noise of a stated scale: to see what the noise alone does. Never private."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.clipping.base import ClippingRule
from clifftop.flow import GroupMap


@final
@dataclass(frozen=True)
class UnclippedState:
    """The scale of each run's noise, ``(R,)``."""

    scale: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Unclipped(ClippingRule[UnclippedState]):
    """Every gradient as it is; noise in proportion to ``noise_scale``, as if it were a clip norm.

    For a counterfactual: beside a run with clip norm C, ``Unclipped(noise_scale=C)`` trains with the same
    noise and without clipping. One example may move the sum by any amount, so no epsilon holds: a plan with
    this rule releases `clifftop.events.NonPrivate`, whatever its noise.

    An example whose norm is not finite gets weight 0.
    """

    noise_scale: float

    def __post_init__(self) -> None:
        if not 0 < self.noise_scale < math.inf:
            raise ValueError(
                f"noise_scale must be finite and > 0, found noise_scale={self.noise_scale}; "
                "pass the clip norm of the run that this one stands beside"
            )

    @property
    def bounds_examples(self) -> bool:
        """Never."""
        return False

    @property
    def scales_noise(self) -> bool:
        """Always, though the sum has no bound."""
        return True

    def init(self, *, device_of: Tensor) -> UnclippedState:
        """The scale as a row of data."""
        return UnclippedState(
            torch.full((1,), self.noise_scale, device=device_of.device, dtype=device_of.dtype)
        )

    def stack(self, states: Iterable[UnclippedState]) -> UnclippedState:
        """Scales, run after run."""
        return UnclippedState(torch.cat([state.scale for state in states]))

    def template(self) -> Unclipped:
        """The scale is data."""
        return Unclipped(noise_scale=1.0)

    def groups(self, names: Iterable[str]) -> GroupMap:
        """One group."""
        return dict.fromkeys(names, 0)

    def weights(self, sq_norms: Tensor, mask: Tensor, state: UnclippedState) -> Tensor:
        """1, and 0 for padding and for norms that are not finite."""
        del state
        return (mask[..., None] & torch.isfinite(sq_norms)).to(sq_norms)

    def norm_bound(self, state: UnclippedState) -> Tensor:
        """Infinity: there is no bound."""
        return torch.full_like(state.scale, math.inf)

    def noise_scale_of(self, state: UnclippedState) -> Tensor:
        """The scale of each run."""
        return state.scale
