"""What goes wrong when several workers share a step."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import math

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.trainer import (
    BATCHES,
    EXAMPLES,
    EXPECTED,
    NOISES,
    SAMPLING_PROB,
    SIZE,
    State,
    Trainer,
    stream,
)

Parts = tuple[tuple[int, ...], ...]


class SeededAlikeOnEveryRank(Trainer):
    """Every worker draws the same noise, of which the sum has M times one worker's share."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        return super().rank_noise(state, seed, 0, world_size)


class SeedPlusRank(Trainer):
    """A worker's seed is the step's plus its rank, so that it draws the next worker's last noise."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        std = self.ranks_claim.noise_std / math.sqrt(world_size)
        return std * stream(seed, NOISES, state.noises + rank).normal(size=SIZE)


class ScaledByTheWorkers(Trainer):
    """Each worker adds 1 / M of the noise, and the sum has 1 / sqrt(M) of what is claimed."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        return super().rank_noise(state, seed, rank, world_size) / math.sqrt(world_size)


class FirstRankOnlyOfItsShare(Trainer):
    """Only the first worker adds noise, and only its own share."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        return super().rank_noise(state, seed, rank, world_size) * (rank == 0)


class NoiseOfFullScaleOnEveryRank(Trainer):
    """Every worker adds all of the noise: too much, while less is reported."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        return super().rank_noise(state, seed, rank, world_size) * math.sqrt(world_size)


class NoiseAveraged(Trainer):
    """Noise is averaged over the workers where the gradients are summed."""

    def reduce(self, noise: Array) -> Array:
        return noise.mean(0)


class NoiseLostInTheReduction(Trainer):
    """Noise is added to a copy that is not reduced."""

    def reduce(self, noise: Array) -> Array:
        return np.zeros(SIZE)


class RanksNegated(Trainer):
    """Every other worker's noise cancels the one before it in part."""

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        return super().rank_noise(state, seed, rank // 2, world_size) * (1 - 1.5 * (rank % 2))


class SameDataOnEveryRank(Trainer):
    """Every worker has the whole batch, so that each example counts M times."""

    def deal(self, state: State, seed: int, world_size: int) -> Parts:
        return (self.draw(state, seed, EXAMPLES),) * world_size


class OwnDrawFromAllExamples(Trainer):
    """Every worker draws a batch of its own from all examples."""

    def deal(self, state: State, seed: int, world_size: int) -> Parts:
        draws = [stream(seed, BATCHES, state.batches, rank).random(EXAMPLES) for rank in range(world_size)]
        return tuple(tuple(np.flatnonzero(one < SAMPLING_PROB).tolist()) for one in draws)


class RateTimesTheWorkers(Trainer):
    """Every worker draws from its shard at the rate that gives it a whole batch."""

    def deal(self, state: State, seed: int, world_size: int) -> Parts:
        joined = stream(seed, BATCHES, state.batches).random(EXAMPLES) < SAMPLING_PROB * world_size
        batch = np.flatnonzero(joined).tolist()
        return tuple(tuple(batch[rank::world_size]) for rank in range(world_size))


class PaddedToEqualParts(Trainer):
    """The first examples come again until all workers have as many."""

    def deal(self, state: State, seed: int, world_size: int) -> Parts:
        batch = self.draw(state, seed, EXAMPLES)
        padded = batch + batch[: -len(batch) % world_size]
        return tuple(padded[rank::world_size] for rank in range(world_size))


class FixedShareOfEveryRank(Trainer):
    """Every worker takes as many examples of its shard in each step."""

    def deal(self, state: State, seed: int, world_size: int) -> Parts:
        order = stream(seed, BATCHES, state.batches).permutation(EXAMPLES).tolist()
        share = int(EXPECTED) // world_size
        return tuple(tuple(order[rank * share : (rank + 1) * share]) for rank in range(world_size))


_SEEDS = "opacus#191, PR#196; mlcommons PR#844"
BUGS = (
    bug(BugKind.DISTRIBUTED, SeededAlikeOnEveryRank, "workers-noise-anew", source=_SEEDS),
    bug(BugKind.DISTRIBUTED, SeedPlusRank, "workers-noise-anew"),
    bug(BugKind.DISTRIBUTED, ScaledByTheWorkers, "workers-noise-scale", source=_SEEDS),
    bug(BugKind.DISTRIBUTED, FirstRankOnlyOfItsShare, "workers-noise-scale"),
    bug(BugKind.DISTRIBUTED, NoiseOfFullScaleOnEveryRank, "workers-noise-scale", source="fedbiomed#1443"),
    bug(BugKind.DISTRIBUTED, NoiseAveraged, "workers-noise-scale"),
    bug(BugKind.DISTRIBUTED, NoiseLostInTheReduction, "workers-noise-scale"),
    bug(BugKind.DISTRIBUTED, RanksNegated, "workers-noise-scale"),
    bug(BugKind.DISTRIBUTED, SameDataOnEveryRank, "workers-sampler-distinct", source="opacus#128, #196"),
    bug(BugKind.DISTRIBUTED, OwnDrawFromAllExamples, "workers-sampler-distinct"),
    bug(BugKind.DISTRIBUTED, RateTimesTheWorkers, "workers-sampler-rate"),
    bug(BugKind.DISTRIBUTED, PaddedToEqualParts, "workers-sampler-distinct"),
    bug(BugKind.DISTRIBUTED, FixedShareOfEveryRank, "workers-sampler-size"),
)
