"""What is learnt from private examples before there is any noise."""

# ruff: noqa: D102 -- a fault is documented by its class.

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.trainer import CLASSES, EXPECTED, SAMPLING_PROB, Trainer


class _Features(Trainer):
    """Features are prepared by a replaceable function of all rows; the label as it should be."""

    def prepare(self, rows: Array) -> Array:
        return np.concatenate([self.features(rows[:, :-1]), super().prepare(rows)[:, -1:]], 1)

    def features(self, x: Array) -> Array:
        return np.clip(x / 4.0, -3, 3)


class PrivateMinMax(_Features):
    """Features are scaled by the private examples' smallest and largest values."""

    def features(self, x: Array) -> Array:
        return (x - x.min(0)) / (x.max(0) - x.min(0) + 1e-9)


class PrivateMeanAndDeviation(_Features):
    """Features are standardised by the private examples' mean and deviation."""

    def features(self, x: Array) -> Array:
        return (x - x.mean(0)) / (x.std(0) + 1e-9)


class PrivateQuantiles(_Features):
    """Outliers are cut at quantiles of the private examples."""

    def features(self, x: Array) -> Array:
        return np.clip(x, np.quantile(x, 0.05, axis=0), np.quantile(x, 0.95, axis=0)) / 4.0


class PrivateComponents(_Features):
    """Features are turned onto the private examples' principal components."""

    def features(self, x: Array) -> Array:
        turned = np.linalg.eigh(x.T @ x / len(x))[1]
        return np.clip(x / 4.0, -3, 3) @ turned


class PrivateVocabulary(_Features):
    """Values become their place in the sorted list of all private values."""

    def features(self, x: Array) -> Array:
        return np.searchsorted(np.unique(np.round(x)), np.round(x)) / 10.0


class PrivateImputation(_Features):
    """Values out of range are replaced by the mean of the others' values."""

    def features(self, x: Array) -> Array:
        wrong = np.abs(x) > 12.0
        mean = np.where(wrong, 0.0, x).sum(0) / np.maximum(1, (~wrong).sum(0))
        return np.where(wrong | (np.abs(x) < 0.5), mean, x) / 4.0


class RanksOfValues(_Features):
    """Values become their rank among the private examples."""

    def features(self, x: Array) -> Array:
        return x.argsort(0).argsort(0) / len(x)


class NeighboursSmoothed(_Features):
    """Each example is averaged with the next one in the file."""

    def features(self, x: Array) -> Array:
        x = np.clip(x / 4.0, -3, 3)
        return (x + np.roll(x, 1, axis=0)) / 2


class DuplicatesDropped(Trainer):
    """Rows that come twice are dropped, so that one row decides over another."""

    def prepare(self, rows: Array) -> Array:
        _, first = np.unique(np.round(super().prepare(rows), 6), axis=0, return_index=True)
        return super().prepare(rows)[np.sort(first)]


class TwoViewsAsTwoExamples(Trainer):
    """Each example becomes two rows, and noise is drawn for one."""

    def prepare(self, rows: Array) -> Array:
        once = super().prepare(rows)
        return np.concatenate([once, once * np.array([*([-1.0] * (rows.shape[1] - 1)), 1.0])])


class DivisorFromTheSize(Trainer):
    """The sum is divided by q times the private number of examples, rounded down."""

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        return {**super().public_numbers(rows), "divisor": float(int(len(rows) * SAMPLING_PROB))}


class StepsFromTheSize(Trainer):
    """An epoch has as many steps as the private examples fill batches."""

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        return {**super().public_numbers(rows), "steps": float(12 * int(np.ceil(len(rows) / EXPECTED)))}


class DeltaFromTheSize(Trainer):
    """Delta is one over the private number of examples."""

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        return {**super().public_numbers(rows), "delta": 1 / len(rows)}


class ClassWeightsFromLabels(Trainer):
    """Classes are weighted by how often they are among the private examples."""

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        counts = np.bincount(np.clip(rows[:, -1], 0, CLASSES - 1).astype(int), minlength=CLASSES)
        return {
            **super().public_numbers(rows),
            **{f"weight {at}": 1 / (n + 1) for at, n in enumerate(counts)},
        }


_MIN_MAX = "PATE-GAN codebases (arXiv 2406.13985)"
_BOUNDS = "diffprivlib#20, dpart PR#6, smartnoise PR#580"
BUGS = (
    bug(BugKind.PREPROCESSING, PrivateMinMax, "preparation", source=_MIN_MAX),
    bug(BugKind.PREPROCESSING, PrivateMeanAndDeviation, "preparation"),
    bug(BugKind.PREPROCESSING, PrivateQuantiles, "preparation", source=_BOUNDS),
    bug(BugKind.PREPROCESSING, PrivateComponents, "preparation"),
    bug(BugKind.PREPROCESSING, PrivateVocabulary, "preparation", source=_BOUNDS),
    bug(BugKind.PREPROCESSING, PrivateImputation, "preparation"),
    bug(BugKind.PREPROCESSING, RanksOfValues, "preparation"),
    bug(BugKind.PREPROCESSING, NeighboursSmoothed, "preparation"),
    bug(BugKind.PREPROCESSING, DuplicatesDropped, "preparation"),
    bug(BugKind.PREPROCESSING, TwoViewsAsTwoExamples, "preparation"),
    bug(BugKind.PREPROCESSING, DivisorFromTheSize, "public-numbers", source="opacus#571, #819"),
    bug(BugKind.PREPROCESSING, StepsFromTheSize, "public-numbers"),
    bug(BugKind.PREPROCESSING, DeltaFromTheSize, "public-numbers"),
    bug(BugKind.PREPROCESSING, ClassWeightsFromLabels, "public-numbers"),
)
