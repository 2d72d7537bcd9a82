"""What crosses from one example or step to another."""

# ruff: noqa: D102 -- a fault is documented by its class.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.step import CorrectStep, P


class BatchNorm(CorrectStep):
    """Inputs are normalised by the batch's own mean and deviation."""

    def inputs(self, indices: list[int]) -> Array:
        x = np.nan_to_num(super().inputs(indices), posinf=0, neginf=0)
        return (x - x.mean(0)) / (x.std(0) + 1e-5) if len(x) else x


class RunningStatistics(CorrectStep):
    """Running means of inputs, taken without noise, are used in later steps."""

    mean = 0.0

    def inputs(self, indices: list[int]) -> Array:
        x = super().inputs(indices)
        if len(x):
            self.mean = 0.9 * self.mean + 0.1 * np.nan_to_num(x).clip(-3, 3).mean(0)
        return x - self.mean


class Momentum(CorrectStep):
    """Momentum is taken of clean sums."""

    velocity: Array = np.zeros(P)

    def total(self, indices: list[int]) -> Array:
        self.velocity = 0.5 * self.velocity + super().total(indices)
        return self.velocity


class NoZeroGrad(CorrectStep):
    """Gradients of the step before are left in the sum."""

    left: Array = np.zeros(P)

    def total(self, indices: list[int]) -> Array:
        own = super().total(indices)
        total, self.left = own + self.left, own
        return total


BUGS = (
    bug(BugKind.STATE, BatchNorm, "linearity", source="opacus#319"),
    bug(BugKind.STATE, RunningStatistics, "history", source="opacus#472"),
    bug(BugKind.STATE, Momentum, "history"),
    bug(BugKind.STATE, NoZeroGrad, "history", source="opacus#54, #143, PR#16"),
)
