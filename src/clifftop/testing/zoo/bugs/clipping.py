"""What is wrong with a step's clipping."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.step import BIASES, DIVISOR, STARTS, C, CorrectStep, P, one_vector


class SumClipped(CorrectStep):
    """The batch's sum is clipped in place of each gradient."""

    def total(self, indices: list[int]) -> Array:
        return one_vector(np.nan_to_num(self.gradients(indices)).sum(0))


class MeanClipped(CorrectStep):
    """The batch's mean is clipped, and noised as if each gradient were."""

    def total(self, indices: list[int]) -> Array:
        return one_vector(np.nan_to_num(self.gradients(indices)).sum(0) / max(1, len(indices))) * DIVISOR


class PerLayerAtC(CorrectStep):
    """Each layer is clipped at the whole clip norm."""

    def clip(self, gradients: Array, bound: float = C) -> Array:
        layers = np.split(gradients, STARTS[1:-1], axis=1)
        return np.concatenate([CorrectStep.clip(self, layer) for layer in layers], 1)


class NormWithoutBias(CorrectStep):
    """Norms forget the biases."""

    def norms(self, gradients: Array) -> Array:
        return np.sqrt((gradients[:, ~BIASES] ** 2).sum(1))


class HugeOnesKept(CorrectStep):
    """A gradient whose norm overflows is not clipped."""

    def clip(self, gradients: Array, bound: float = C) -> Array:
        factors = bound / self.norms(gradients)
        return np.nan_to_num(gradients) * np.where(factors > 0, np.minimum(1, factors), 1)[:, None]


class NotANumberKept(CorrectStep):
    """A gradient that is not a number passes the clipping."""

    def clip(self, gradients: Array, bound: float = C) -> Array:
        return gradients * np.minimum(1, bound / (self.norms(gradients) + 1e-12))[:, None]


class ByValue(CorrectStep):
    """Each number is clipped in place of the norm."""

    def clip(self, gradients: Array, bound: float = C) -> Array:
        return np.clip(np.nan_to_num(gradients), -bound, bound)


class ClipNormFromTheBatch(CorrectStep):
    """The clip norm is a multiple of the batch's own median norm."""

    def clip(self, gradients: Array, bound: float = C) -> Array:
        norms = self.norms(gradients)
        finite = norms[np.isfinite(norms)]
        return super().clip(gradients, C * np.median(finite) if finite.size else C)


class TwoViewsCountedAsOne(CorrectStep):
    """Two augmented views of an example are clipped one by one and counted as one."""

    def total(self, indices: list[int]) -> Array:
        views = [self.clip(self.gradients(indices) + shift) for shift in (0.0, 0.01)]
        return views[0].sum(0) + views[1].sum(0)


class DuplicatesCountedTwice(CorrectStep):
    """An example that comes twice is weighted twice each time."""

    def total(self, indices: list[int]) -> Array:
        counts = np.bincount(indices, minlength=1) if indices else np.zeros(1)
        return (self.clip(self.gradients(indices)) * counts[indices][:, None]).sum(0)


class MicrobatchesClipped(CorrectStep):
    """Means of microbatches are clipped, not examples."""

    def total(self, indices: list[int]) -> Array:
        gradients = np.nan_to_num(self.gradients(indices), posinf=0, neginf=0)
        groups = [gradients[at : at + 4].mean(0) for at in range(0, len(indices), 4)]
        return self.clip(np.array(groups)).sum(0) if groups else np.zeros(P)


class DividedByTheRealisedSize(CorrectStep):
    """The noisy sum is divided by the realised batch size."""

    def divide(self, total: Array, size: int) -> Array:
        return total / max(1, size)


class MeanLossInside(CorrectStep):
    """The loss is a mean, and gradients are clipped after its division."""

    def gradients(self, indices: list[int]) -> Array:
        return super().gradients(indices) / max(1, len(indices))


class LossOverItsBatchMean(CorrectStep):
    """Gradients are scaled by the batch's mean norm before they are clipped."""

    def gradients(self, indices: list[int]) -> Array:
        gradients = super().gradients(indices)
        norms = self.norms(gradients)
        return (
            gradients / max(1e-6, np.where(np.isfinite(norms), norms, 0).mean()) if len(norms) else gradients
        )


BUGS = (
    bug(BugKind.CLIPPING, SumClipped, "sensitivity", source="AiDotNet PR#1318; APPFL#349"),
    bug(BugKind.CLIPPING, MeanClipped, "sensitivity", source="AiDotNet PR#1318; caamas#36"),
    bug(BugKind.CLIPPING, PerLayerAtC, "sensitivity", source="fedbiomed#1443"),
    bug(BugKind.CLIPPING, NormWithoutBias, "sensitivity"),
    bug(BugKind.CLIPPING, HugeOnesKept, "sensitivity", source="arXiv 2602.17454 (several libraries)"),
    bug(BugKind.CLIPPING, NotANumberKept, "sensitivity", source="arXiv 2602.17454 (several libraries)"),
    bug(BugKind.CLIPPING, ByValue, "sensitivity"),
    bug(BugKind.CLIPPING, ClipNormFromTheBatch, "sensitivity"),
    bug(BugKind.CLIPPING, TwoViewsCountedAsOne, "sensitivity"),
    bug(BugKind.CLIPPING, DuplicatesCountedTwice, "sensitivity"),
    bug(BugKind.CLIPPING, MicrobatchesClipped, "sensitivity", source="tensorflow/privacy#620"),
    bug(BugKind.CLIPPING, DividedByTheRealisedSize, "sensitivity", source="ASGM, by arXiv 2605.15648"),
    bug(BugKind.CLIPPING, MeanLossInside, "linearity"),
    bug(BugKind.CLIPPING, LossOverItsBatchMean, "linearity"),
)
