"""What is wrong with a step's noise."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.step import BLOCKS, DIVISOR, HIDDEN, INPUTS, SIGMA, STARTS, C, CorrectStep, P


class NoiseOnce(CorrectStep):
    """Noise is drawn once per run and added in every step."""

    def normals(self, seed: int) -> Array:
        return self.__dict__.setdefault("kept", super().normals(seed))


class SeededAlike(CorrectStep):
    """Every step reseeds the generator with a constant."""

    def normals(self, seed: int) -> Array:
        return super().normals(42)


class EveryOtherStepNegated(CorrectStep):
    """Every other step adds the noise of the one before, negated."""

    def normals(self, seed: int) -> Array:
        return super().normals(seed // 2) * (1 - 2 * (seed % 2))


class OneKeyForAllParameters(CorrectStep):
    """One key draws the noise of every parameter, so that equal shapes share it."""

    def normals(self, seed: int) -> Array:
        return np.concatenate([np.random.default_rng(seed).normal(size=size) for _, size in BLOCKS])


class PartlyKept(CorrectStep):
    """Each step keeps a part of the next step's noise."""

    def normals(self, seed: int) -> Array:
        return 0.8 * super().normals(seed) + 0.6 * super().normals(seed + 1)


class NoneOnOneParameter(CorrectStep):
    """The last bias has no noise."""

    def normals(self, seed: int) -> Array:
        normals = super().normals(seed)
        normals[STARTS[3] :] = 0
        return normals


class DividedTwice(CorrectStep):
    """Noise for the sum is divided as the mean is, twice."""

    def noise(self, seed: int, size: int) -> Array:
        return super().noise(seed, size) / DIVISOR


class ByTheRealisedSize(CorrectStep):
    """Noise is divided by the realised batch size."""

    def noise(self, seed: int, size: int) -> Array:
        return super().noise(seed, size) * DIVISOR / max(1, size)


class WithoutTheClipNorm(CorrectStep):
    """Noise is scaled by the square of the clip norm."""

    def noise(self, seed: int, size: int) -> Array:
        return SIGMA * C * C * self.normals(seed)


class Uniform(CorrectStep):
    """Noise is uniform with the right variance."""

    def normals(self, seed: int) -> Array:
        return np.random.default_rng(seed).uniform(-np.sqrt(3), np.sqrt(3), size=P)


class Laplace(CorrectStep):
    """Noise is Laplace with the right variance."""

    def normals(self, seed: int) -> Array:
        return np.random.default_rng(seed).laplace(scale=np.sqrt(0.5), size=P)


class Truncated(CorrectStep):
    """Noise is cut at three deviations."""

    def normals(self, seed: int) -> Array:
        return np.clip(super().normals(seed), -3, 3)


class CoarseGrid(CorrectStep):
    """Noise lies on a coarse grid."""

    def normals(self, seed: int) -> Array:
        return np.round(super().normals(seed) * 1024) / 1024


class OneNumberARow(CorrectStep):
    """One number of noise is shared by a whole row of a matrix."""

    def normals(self, seed: int) -> Array:
        normals = super().normals(seed)
        normals[: STARTS[1]] = np.repeat(normals[:HIDDEN], INPUTS)
        return normals


class NotCentred(CorrectStep):
    """Noise has a mean."""

    def normals(self, seed: int) -> Array:
        return super().normals(seed) + 0.1


class EmptyBatchWithoutNoise(CorrectStep):
    """An empty batch gets no noise."""

    def noise(self, seed: int, size: int) -> Array:
        return super().noise(seed, size) if size else np.zeros(P)


class EmptyBatchRefused(CorrectStep):
    """An empty batch raises an error."""

    def total(self, indices: list[int]) -> Array:
        if not indices:
            raise IndexError("no examples")
        return super().total(indices)


BUGS = (
    bug(BugKind.NOISE, NoiseOnce, "noise-fresh"),
    bug(BugKind.NOISE, SeededAlike, "noise-fresh"),
    bug(BugKind.NOISE, EveryOtherStepNegated, "noise-fresh"),
    bug(BugKind.NOISE, OneKeyForAllParameters, "noise-fresh", source="jax PR#3646"),
    bug(BugKind.NOISE, PartlyKept, "noise-independent"),
    bug(BugKind.NOISE, NoneOnOneParameter, "noise-present"),
    bug(BugKind.NOISE, DividedTwice, "noise-scale"),
    bug(BugKind.NOISE, ByTheRealisedSize, "noise-scale"),
    bug(BugKind.NOISE, WithoutTheClipNorm, "noise-scale", source="SPRINT_gan#5"),
    bug(BugKind.NOISE, Uniform, "noise-shape"),
    bug(BugKind.NOISE, Laplace, "noise-shape"),
    bug(BugKind.NOISE, Truncated, "noise-shape"),
    bug(BugKind.NOISE, CoarseGrid, "noise-lattice"),
    bug(BugKind.NOISE, OneNumberARow, "noise-lattice"),
    bug(BugKind.NOISE, NotCentred, "noise-mean"),
    bug(BugKind.NOISE, EmptyBatchWithoutNoise, "empty-batch", source="opacus#161, PR#164"),
    bug(BugKind.NOISE, EmptyBatchRefused, "empty-batch", source="opacus#161, PR#164"),
)
