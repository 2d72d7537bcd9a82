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
    """The noise multiplier of each run, ``(R,)``, and whether all are 0, known without reading them."""

    noise_multiplier: Tensor
    silent: bool = False


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
            torch.full((1,), self.noise_multiplier, device=device_of.device, dtype=device_of.dtype),
            silent=self.noise_multiplier == 0,
        )

    def stack(self, states: Iterable[GaussianState]) -> GaussianState:
        """Noise multipliers, run after run."""
        runs = list(states)
        return GaussianState(
            torch.cat([state.noise_multiplier for state in runs]), silent=all(state.silent for state in runs)
        )

    def template(self) -> Gaussian:
        """Gaussian noise at 1: the multiplier is data."""
        return Gaussian(noise_multiplier=1.0)

    def independent_std(self, norm_bound: Tensor, state: GaussianState) -> Tensor:
        """``noise_multiplier`` times the bound; 0 without noise, whatever the bound."""
        return torch.where(state.noise_multiplier == 0, 0, state.noise_multiplier * norm_bound)

    def __call__(
        self, total: ClippedSum, state: GaussianState, stream: NoiseStream
    ) -> tuple[NoisySum, GaussianState]:
        """``total`` plus noise from ``stream``; a run without noise needs no finite bound.

        A sum without a bound may name another scale for its noise, which then protects nobody. Otherwise
        noise to a bound that is not finite is not finite either, and so releases nothing of the sum;
        `clifftop.private_gradient.initial_state` refuses such a plan. No value is read here, so that a
        step can be traced, and a GPU need not be waited for.
        """
        scale = total.norm_bound if total.noise_scale is None else total.noise_scale
        std = self.independent_std(scale, state)
        if state.silent:
            return NoisySum(value=total.value, noise_std=std), state
        return NoisySum(value=stream.add_normal(total.value, std), noise_std=std), state
