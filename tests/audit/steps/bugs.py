"""A correct private step in plain numpy, and faults planted in it: each a patch of one of its parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from clifftop.audit.steps import SamplingClaim, StepClaim, hard_examples
from clifftop.events import NeighboringRelation

C, SIGMA, Q, N, DIVISOR = 0.5, 1.5, 1 / 8, 32, 4.0
INPUTS, HIDDEN, CLASSES = 8, 20, 4
BLOCKS = (("w1", HIDDEN * INPUTS), ("b1", HIDDEN), ("w2", CLASSES * HIDDEN), ("b2", CLASSES))
BIASES = np.concatenate([np.full(size, name.startswith("b")) for name, size in BLOCKS])
P = BIASES.size
STARTS = np.cumsum([0, *(size for _, size in BLOCKS)])


class CorrectStep:
    """Clip each example's gradient at C, sum, add noise of SIGMA * C, divide by a public number."""

    claim = StepClaim(
        clip_norm=C,
        noise_multiplier=SIGMA,
        divisor=DIVISOR,
        relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        parameters=BLOCKS,
        sampling=SamplingClaim(sampling_prob=Q, num_examples=N),
    )

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        inputs, targets = torch.randn(N, INPUTS, generator=g), torch.randint(0, CLASSES, (N,), generator=g)
        (x,), (y,) = hard_examples([inputs], [targets])
        self.x, self.y = x.numpy(), y.numpy()
        rng = np.random.default_rng(0)
        self.w1 = rng.normal(size=(HIDDEN, INPUTS)).astype(np.float32) / 3
        self.b1 = rng.normal(size=HIDDEN).astype(np.float32) / 3
        self.w2 = rng.normal(size=(CLASSES, HIDDEN)).astype(np.float32) / 3
        self.examples = len(self.x)

    def release(self, indices, *, noise, seed):
        with np.errstate(all="ignore"):
            total = self.total(list(indices))
            if noise:
                total = total + self.noise(seed, len(indices))
            return self.divide(total, len(indices))

    def sample(self, step, seed):
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < Q)

    def inputs(self, indices):
        return self.x[indices]

    def gradients(self, indices):
        x = self.inputs(indices)
        before = x @ self.w1.T + self.b1
        h = np.maximum(before, 0)
        logits = h @ self.w2.T
        odds = np.exp(logits - logits.max(1, initial=0, keepdims=True))
        d2 = odds / odds.sum(1, keepdims=True)
        d2[np.arange(len(indices)), self.y[indices]] -= 1
        d1 = (d2 @ self.w2) * (before > 0)
        w1, w2 = d1[:, :, None] * x[:, None], d2[:, :, None] * h[:, None]
        parts = zip((w1, d1, w2, d2), BLOCKS, strict=True)
        return np.concatenate([part.reshape(len(indices), size) for part, (_, size) in parts], 1)

    def norms(self, gradients):
        return np.sqrt((gradients**2).sum(1))

    def clip(self, gradients, bound=C):
        norms = self.norms(gradients)
        weights = np.where(np.isfinite(norms), np.minimum(1, bound / (norms + 1e-12)), 0)
        return np.where(weights[:, None] > 0, gradients * weights[:, None], 0)

    def total(self, indices):
        return self.clip(self.gradients(indices)).sum(0)

    def normals(self, seed):
        return np.random.default_rng(seed).normal(size=P)

    def noise(self, seed, size):
        return SIGMA * C * self.normals(seed)

    def divide(self, total, size):
        return total / DIVISOR


def one_vector(total, bound=C):
    norm = np.linalg.norm(total)
    return total * min(1, bound / norm) if norm > 0 else total


# ---------------------------------------------------------------- noise


class NoiseOnce(CorrectStep):
    def normals(self, seed):
        return self.__dict__.setdefault("kept", super().normals(seed))


class SeededAlike(CorrectStep):
    def normals(self, seed):
        return super().normals(42)


class EveryOtherStepNegated(CorrectStep):
    def normals(self, seed):
        return super().normals(seed // 2) * (1 - 2 * (seed % 2))


class PartlyKept(CorrectStep):
    def normals(self, seed):
        return 0.8 * super().normals(seed) + 0.6 * super().normals(seed + 1)


class OneKeyForAllParameters(CorrectStep):
    def normals(self, seed):
        return np.concatenate([np.random.default_rng(seed).normal(size=size) for _, size in BLOCKS])


class NoneOnOneParameter(CorrectStep):
    def normals(self, seed):
        normals = super().normals(seed)
        normals[STARTS[3] :] = 0
        return normals


class DividedTwice(CorrectStep):
    def noise(self, seed, size):
        return super().noise(seed, size) / DIVISOR


class ByTheRealisedSize(CorrectStep):
    def noise(self, seed, size):
        return super().noise(seed, size) * DIVISOR / max(1, size)


class WithoutTheClipNorm(CorrectStep):
    def noise(self, seed, size):
        return SIGMA * C * C * self.normals(seed)


class Uniform(CorrectStep):
    def normals(self, seed):
        return np.random.default_rng(seed).uniform(-np.sqrt(3), np.sqrt(3), size=P)


class Laplace(CorrectStep):
    def normals(self, seed):
        return np.random.default_rng(seed).laplace(scale=np.sqrt(0.5), size=P)


class Truncated(CorrectStep):
    def normals(self, seed):
        return np.clip(super().normals(seed), -3, 3)


class CoarseGrid(CorrectStep):
    def normals(self, seed):
        return np.round(super().normals(seed) * 1024) / 1024


class OneNumberARow(CorrectStep):
    def normals(self, seed):
        normals = super().normals(seed)
        normals[: STARTS[1]] = np.repeat(normals[:HIDDEN], INPUTS)
        return normals


class NotCentred(CorrectStep):
    def normals(self, seed):
        return super().normals(seed) + 0.1


class EmptyBatchWithoutNoise(CorrectStep):
    def noise(self, seed, size):
        return super().noise(seed, size) if size else np.zeros(P)


class EmptyBatchRefused(CorrectStep):
    def total(self, indices):
        if not indices:
            raise IndexError("no examples")
        return super().total(indices)


# ---------------------------------------------------------------- clipping


class SumClipped(CorrectStep):
    def total(self, indices):
        return one_vector(np.nan_to_num(self.gradients(indices)).sum(0))


class MeanClipped(CorrectStep):
    def total(self, indices):
        return one_vector(np.nan_to_num(self.gradients(indices)).sum(0) / max(1, len(indices))) * DIVISOR


class PerLayerAtC(CorrectStep):
    def clip(self, gradients, bound=C):
        layers = np.split(gradients, STARTS[1:-1], axis=1)
        return np.concatenate([CorrectStep.clip(self, layer) for layer in layers], 1)


class NormWithoutBias(CorrectStep):
    def norms(self, gradients):
        return np.sqrt((gradients[:, ~BIASES] ** 2).sum(1))


class HugeOnesKept(CorrectStep):
    def clip(self, gradients, bound=C):
        factors = bound / self.norms(gradients)
        return np.nan_to_num(gradients) * np.where(factors > 0, np.minimum(1, factors), 1)[:, None]


class NotANumberKept(CorrectStep):
    def clip(self, gradients, bound=C):
        return gradients * np.minimum(1, bound / (self.norms(gradients) + 1e-12))[:, None]


class ByValue(CorrectStep):
    def clip(self, gradients, bound=C):
        return np.clip(np.nan_to_num(gradients), -bound, bound)


class ClipNormFromTheBatch(CorrectStep):
    def clip(self, gradients, bound=C):
        norms = self.norms(gradients)
        finite = norms[np.isfinite(norms)]
        return super().clip(gradients, C * np.median(finite) if finite.size else C)


class TwoViewsCountedAsOne(CorrectStep):
    def total(self, indices):
        return sum(self.clip(self.gradients(indices) + shift).sum(0) for shift in (0.0, 0.01))


class DuplicatesCountedTwice(CorrectStep):
    def total(self, indices):
        counts = np.bincount(indices, minlength=1) if indices else np.zeros(1)
        return (self.clip(self.gradients(indices)) * counts[indices][:, None]).sum(0)

    def gradients(self, indices):
        return super().gradients(np.array(indices, dtype=int))


class MicrobatchesClipped(CorrectStep):
    def total(self, indices):
        gradients = np.nan_to_num(self.gradients(indices), posinf=0, neginf=0)
        groups = [gradients[at : at + 4].mean(0) for at in range(0, len(indices), 4)]
        return self.clip(np.array(groups)).sum(0) if groups else np.zeros(P)


class DividedByTheRealisedSize(CorrectStep):
    def divide(self, total, size):
        return total / max(1, size)


# ---------------------------------------------------------------- state


class BatchNorm(CorrectStep):
    def inputs(self, indices):
        x = np.nan_to_num(super().inputs(indices), posinf=0, neginf=0)
        return (x - x.mean(0)) / (x.std(0) + 1e-5) if len(x) else x


class RunningStatistics(CorrectStep):
    mean = 0.0

    def inputs(self, indices):
        x = super().inputs(indices)
        if len(x):
            self.mean = 0.9 * self.mean + 0.1 * np.nan_to_num(x).clip(-3, 3).mean(0)
        return x - self.mean


class MeanLossInside(CorrectStep):
    def gradients(self, indices):
        return super().gradients(indices) / max(1, len(indices))


class LossOverItsBatchMean(CorrectStep):
    def gradients(self, indices):
        gradients = super().gradients(indices)
        norms = self.norms(gradients)
        return (
            gradients / max(1e-6, np.where(np.isfinite(norms), norms, 0).mean()) if len(norms) else gradients
        )


class Momentum(CorrectStep):
    velocity = 0.0

    def total(self, indices):
        self.velocity = 0.5 * self.velocity + super().total(indices)
        return self.velocity


class NoZeroGrad(CorrectStep):
    left = 0.0

    def total(self, indices):
        own = super().total(indices)
        total, self.left = own + self.left, own
        return total


# ---------------------------------------------------------------- sampler


class EmptyBatchesSkipped(CorrectStep):
    def sample(self, step, seed):
        rng = np.random.default_rng((seed, step))
        while not (batch := np.flatnonzero(rng.random(N) < Q)).size:
            pass
        return batch


class Shuffled(CorrectStep):
    def sample(self, step, seed):
        size = int(N * Q)
        epoch, at = divmod(step, N // size)
        return np.random.default_rng((seed, epoch)).permutation(N)[at * size : (at + 1) * size]


class FixedSize(CorrectStep):
    def sample(self, step, seed):
        return np.random.default_rng((seed, step)).choice(N, size=int(N * Q), replace=False)


class WithReplacement(CorrectStep):
    def sample(self, step, seed):
        rng = np.random.default_rng((seed, step))
        return rng.integers(0, N, size=rng.binomial(N, Q))


class WrongRate(CorrectStep):
    def sample(self, step, seed):
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < 1.1 * Q)


class FirstOnesMoreOften(CorrectStep):
    def sample(self, step, seed):
        rates = np.where(np.arange(N) < 4, 1.5 * Q, Q * (N - 6) / (N - 4))
        return np.flatnonzero(np.random.default_rng((seed, step)).random(N) < rates)


class LargeBatchesCut(CorrectStep):
    def sample(self, step, seed):
        return super().sample(step, seed)[:6]


class CouplesJoinTogether(CorrectStep):
    def sample(self, step, seed):
        return np.flatnonzero(np.repeat(np.random.default_rng((seed, step)).random(N // 2) < Q, 2))


class ReseededEachEpoch(CorrectStep):
    def sample(self, step, seed):
        return super().sample(step % 8, seed)


class SeedIgnored(CorrectStep):
    def sample(self, step, seed):
        return super().sample(step, 0)


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A fault, and the check that must find it (others may, too)."""

    step: Callable[[], CorrectStep]
    caught_by: str

    @cached_property
    def name(self):
        return self.step.__name__


BUGS = [
    Bug(step=NoiseOnce, caught_by="noise-fresh"),
    Bug(step=SeededAlike, caught_by="noise-fresh"),
    Bug(step=EveryOtherStepNegated, caught_by="noise-fresh"),
    Bug(step=OneKeyForAllParameters, caught_by="noise-fresh"),
    Bug(step=PartlyKept, caught_by="noise-independent"),
    Bug(step=NoneOnOneParameter, caught_by="noise-present"),
    Bug(step=DividedTwice, caught_by="noise-scale"),
    Bug(step=ByTheRealisedSize, caught_by="noise-scale"),
    Bug(step=WithoutTheClipNorm, caught_by="noise-scale"),
    Bug(step=Uniform, caught_by="noise-shape"),
    Bug(step=Laplace, caught_by="noise-shape"),
    Bug(step=Truncated, caught_by="noise-shape"),
    Bug(step=CoarseGrid, caught_by="noise-lattice"),
    Bug(step=OneNumberARow, caught_by="noise-lattice"),
    Bug(step=NotCentred, caught_by="noise-mean"),
    Bug(step=EmptyBatchWithoutNoise, caught_by="empty-batch"),
    Bug(step=EmptyBatchRefused, caught_by="empty-batch"),
    Bug(step=SumClipped, caught_by="sensitivity"),
    Bug(step=MeanClipped, caught_by="sensitivity"),
    Bug(step=PerLayerAtC, caught_by="sensitivity"),
    Bug(step=NormWithoutBias, caught_by="sensitivity"),
    Bug(step=HugeOnesKept, caught_by="sensitivity"),
    Bug(step=NotANumberKept, caught_by="sensitivity"),
    Bug(step=ByValue, caught_by="sensitivity"),
    Bug(step=ClipNormFromTheBatch, caught_by="sensitivity"),
    Bug(step=TwoViewsCountedAsOne, caught_by="sensitivity"),
    Bug(step=DuplicatesCountedTwice, caught_by="sensitivity"),
    Bug(step=MicrobatchesClipped, caught_by="sensitivity"),
    Bug(step=DividedByTheRealisedSize, caught_by="sensitivity"),
    Bug(step=BatchNorm, caught_by="linearity"),
    Bug(step=MeanLossInside, caught_by="linearity"),
    Bug(step=LossOverItsBatchMean, caught_by="linearity"),
    Bug(step=RunningStatistics, caught_by="history"),
    Bug(step=Momentum, caught_by="history"),
    Bug(step=NoZeroGrad, caught_by="history"),
    Bug(step=EmptyBatchesSkipped, caught_by="sampler-size"),
    Bug(step=FixedSize, caught_by="sampler-size"),
    Bug(step=LargeBatchesCut, caught_by="sampler-size"),
    Bug(step=Shuffled, caught_by="sampler-time"),
    Bug(step=ReseededEachEpoch, caught_by="sampler-time"),
    Bug(step=SeedIgnored, caught_by="sampler-time"),
    Bug(step=WithReplacement, caught_by="sampler-distinct"),
    Bug(step=WrongRate, caught_by="sampler-rate"),
    Bug(step=FirstOnesMoreOften, caught_by="sampler-rate"),
    Bug(step=CouplesJoinTogether, caught_by="sampler-pairs"),
]
