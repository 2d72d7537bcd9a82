"""Trainings that differ from the correct one and are as private: no check may flag them."""

# ruff: noqa: ARG002, D102 -- a variant is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.trainer import (
    EXPECTED,
    SIZE,
    Seen,
    State,
    Trainer,
    accuracy,
    example_rows,
    stream,
)
from clifftop.testing.zoo.trainer import NOISES as _NOISES


class MomentumOfReleases(Trainer):
    """Momentum of the noisy means in place of Adam."""

    def update(self, state: State, release: Array, seen: Seen) -> None:
        state.first = 0.9 * state.first + release[:SIZE] / EXPECTED
        state.parameters = state.parameters - self.rate(state, seen) * state.first


class AutomaticClipping(Trainer):
    """Gradients are divided by their norm and a constant (Bu et al. 2023)."""

    def clip(self, gradients: Array, clip_norm: float) -> Array:
        return gradients * (clip_norm / (self.norms(gradients) + 0.01))[:, None]


class MicrobatchesSummed(Trainer):
    """Gradients are clipped one by one, and summed in parts of 3; noise is added once."""

    def total(self, gradients: Array, clip_norm: float) -> Array:
        clipped = self.clip(gradients, clip_norm)
        parts = [clipped[at : at + 3].sum(0) for at in range(0, len(clipped), 3)]
        return np.array(parts).sum(0) if parts else np.zeros(SIZE)


class PublicStatistics(Trainer):
    """Features are standardised by the mean and deviation of public rows."""

    def prepare(self, rows: Array) -> Array:
        public = example_rows(2)[:, :-1]
        x = np.clip((rows[:, :-1] - public.mean(0)) / public.std(0), -3, 3)
        return np.concatenate([x, super().prepare(rows)[:, -1:]], 1)


class BestStepOnPublicScore(Trainer):
    """The step whose model is best on public rows is kept."""

    def keep(self, state: State, parameters: Array, rows: Array) -> Array:
        public = self.prepare(example_rows(2))
        return parameters[int(np.argmax([accuracy(one, public) for one in parameters]))]


class NoiseOnTheFirstRank(Trainer):
    """The first worker adds all of the noise."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        normals = stream(seed, _NOISES, state.noises).normal(size=SIZE)
        return self.ranks_claim.noise_std * normals * (rank == 0)


class RateThatFalls(Trainer):
    """The learning rate falls with the number of updates."""

    def rate(self, state: State, seen: Seen) -> float:
        return state.learning_rate / np.sqrt(state.updates)


VALID: tuple[type[Trainer], ...] = (
    MomentumOfReleases,
    AutomaticClipping,
    MicrobatchesSummed,
    PublicStatistics,
    BestStepOnPublicScore,
    NoiseOnTheFirstRank,
    RateThatFalls,
)
