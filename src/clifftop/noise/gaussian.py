"""Independent Gaussian noise at every step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.flow import ClippedSum, NoisySum
from clifftop.noise.base import NoiseMechanism, NoiseStream


@final
@dataclass(frozen=True)
class GaussianState:
    """The noise multiplier of each run, ``(R,)``."""

    noise_multiplier: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Gaussian(NoiseMechanism[GaussianState]):
    """Noise of standard deviation ``noise_multiplier`` times the sum's norm bound, in every coordinate.

    A multiplier of 0 adds nothing and protects nothing. Sampled in floating point: the accountant
    assumes an exact Gaussian (Mironov 2012 shows what that gap can leak).
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        if not (self.noise_multiplier >= 0 and math.isfinite(self.noise_multiplier)):
            raise ValueError(
                f"noise_multiplier must be finite and >= 0, found noise_multiplier={self.noise_multiplier}; "
                "it is the noise's standard deviation divided by the clip norm"
            )

    def init(self, *, device_of: Tensor) -> GaussianState:
        """The noise multiplier as a row of data."""
        return GaussianState(
            torch.full((1,), self.noise_multiplier, device=device_of.device, dtype=device_of.dtype)
        )

    def stack(self, states: Iterable[GaussianState]) -> GaussianState:
        """Noise multipliers, run after run."""
        return GaussianState(torch.cat([state.noise_multiplier for state in states]))

    def template(self) -> Gaussian:
        """Gaussian noise at 1: the multiplier is data."""
        return Gaussian(noise_multiplier=1.0)

    def __call__(
        self, total: ClippedSum, state: GaussianState, stream: NoiseStream
    ) -> tuple[NoisySum, GaussianState]:
        """``total`` plus noise from ``stream``; a run without noise needs no finite bound."""
        silent = state.noise_multiplier == 0
        std = torch.where(silent, 0, state.noise_multiplier * total.norm_bound)
        if not torch.isfinite(std).all():
            raise ValueError(
                "noise needs a finite norm bound, found noise_multiplier > 0 with clip_norm=inf; "
                "set a clip norm, or noise_multiplier=0 for a run without privacy"
            )
        if silent.all():
            return NoisySum(value=total.value, noise_std=std), state
        draws = stream.normal(total.value)
        value = {
            name: torch.addcmul(part, std.view(-1, *(1,) * (part.dim() - 1)), draws[name])
            for name, part in total.value.items()
        }
        return NoisySum(value=value, noise_std=std), state
