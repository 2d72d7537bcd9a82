"""What is wrong with how batches are drawn."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.step import CorrectStep, N, Q


class EmptyBatchesSkipped(CorrectStep):
    """Empty batches are drawn again."""

    def sample(self, step: int, seed: int) -> list[int]:
        rng = np.random.default_rng((seed, step))
        while not (batch := np.flatnonzero(rng.random(N) < Q)).size:
            pass
        return batch.tolist()


class FixedSize(CorrectStep):
    """Batches of a fixed size are claimed as Poisson."""

    def sample(self, step: int, seed: int) -> list[int]:
        return np.random.default_rng((seed, step)).choice(N, size=int(N * Q), replace=False).tolist()


class LargeBatchesCut(CorrectStep):
    """Batches that do not fit are cut."""

    def sample(self, step: int, seed: int) -> list[int]:
        return super().sample(step, seed)[:6]


class Shuffled(CorrectStep):
    """Shuffled epochs are claimed as Poisson."""

    def sample(self, step: int, seed: int) -> list[int]:
        size = int(N * Q)
        epoch, at = divmod(step, N // size)
        return np.random.default_rng((seed, epoch)).permutation(N)[at * size : (at + 1) * size].tolist()


class ReseededEachEpoch(CorrectStep):
    """The sampler is reseeded every epoch."""

    def sample(self, step: int, seed: int) -> list[int]:
        return super().sample(step % 8, seed)


class SeedIgnored(CorrectStep):
    """The sampler ignores its seed."""

    def sample(self, step: int, seed: int) -> list[int]:
        return super().sample(step, 0)


class WithReplacement(CorrectStep):
    """Examples are drawn with replacement."""

    def sample(self, step: int, seed: int) -> list[int]:
        rng = np.random.default_rng((seed, step))
        return rng.integers(0, N, size=rng.binomial(N, Q)).tolist()


class WrongRate(CorrectStep):
    """Examples join a tenth more often than claimed."""

    def sample(self, step: int, seed: int) -> list[int]:
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < 1.1 * Q).tolist()


class FirstOnesMoreOften(CorrectStep):
    """The first examples join more often."""

    def sample(self, step: int, seed: int) -> list[int]:
        rates = np.where(np.arange(N) < 4, 1.5 * Q, Q * (N - 6) / (N - 4))
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < rates).tolist()


class CouplesJoinTogether(CorrectStep):
    """Examples join in couples."""

    def sample(self, step: int, seed: int) -> list[int]:
        return np.flatnonzero(np.repeat(np.random.default_rng((seed, step)).random(N // 2) < Q, 2)).tolist()


BUGS = (
    bug(BugKind.SAMPLING, EmptyBatchesSkipped, "sampler-size", source="opacus#161, PR#164"),
    bug(BugKind.SAMPLING, FixedSize, "sampler-size"),
    bug(BugKind.SAMPLING, LargeBatchesCut, "sampler-size"),
    bug(
        BugKind.SAMPLING,
        Shuffled,
        "sampler-time",
        source="opacus#80; tensorflow/privacy#19, #483; private-transformers#7",
    ),
    bug(BugKind.SAMPLING, ReseededEachEpoch, "sampler-time"),
    bug(BugKind.SAMPLING, SeedIgnored, "sampler-time"),
    bug(BugKind.SAMPLING, WithReplacement, "sampler-distinct"),
    bug(BugKind.SAMPLING, WrongRate, "sampler-rate"),
    bug(BugKind.SAMPLING, FirstOnesMoreOften, "sampler-rate"),
    bug(BugKind.SAMPLING, CouplesJoinTogether, "sampler-pairs"),
)
