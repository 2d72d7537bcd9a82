"""What is chosen by looking, and not paid for."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clifftop.audit.trainings import Data, Tuned
from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.trainer import STEPS, Trainer, accuracy


class OnlyTheWinnerCharged(Trainer):
    """The winner of the search is reported as if it had been the only training."""

    def charged_runs(self, candidates: int) -> int:
        return 1


class DivergedOnesNotCharged(Trainer):
    """Half of the candidates are given up early, and not charged."""

    def charged_runs(self, candidates: int) -> int:
        return (candidates + 1) // 2


class OneRunOfTheMeanLength(Trainer):
    """The search is reported as less than one of its trainings costs."""

    def tune(self, candidates: int, *, seed: int) -> Tuned:
        tuned = super().tune(candidates, seed=seed)
        shorter = self.epsilon_of(
            sampling_prob=0.2, noise_multiplier=1.2, steps=STEPS // 4 + candidates, delta=tuned.reported.delta
        )
        return replace(tuned, reported=replace(tuned.reported, epsilon=shorter))


class NoiseSharedByCandidates(Trainer):
    """All candidates are trained with one seed, and their differences have no noise."""

    def seed_of(self, candidate: int, seed: int) -> int:
        return 1000 * (seed + 1)


class ScoresOnPrivateExamples(Trainer):
    """Candidates are compared on the private examples, and the scores are not charged."""

    def score(self, parameters: Array, *, data: Data) -> float:
        return -float(np.abs(self.prepare(self.rows_of(data))[:, :-1]).mean()) + accuracy(
            parameters, self.prepare(self.rows_of(data))
        )


class ScoresOnHeldOutPrivateExamples(Trainer):
    """Candidates are compared on a private part that was held out, and the scores are not charged."""

    def score(self, parameters: Array, *, data: Data) -> float:
        held_out = self.prepare(self.rows_of(data))[-10:]
        return accuracy(parameters, held_out) - 1e-3 * float(held_out.mean())


_TUNING = "tensorflow/privacy#76"
BUGS = (
    bug(BugKind.TUNING, OnlyTheWinnerCharged, "tuning-epsilon", source=_TUNING),
    bug(BugKind.TUNING, DivergedOnesNotCharged, "tuning-epsilon"),
    bug(BugKind.TUNING, OneRunOfTheMeanLength, "tuning-epsilon"),
    bug(BugKind.TUNING, NoiseSharedByCandidates, "tuning-noise"),
    bug(BugKind.TUNING, ScoresOnPrivateExamples, "tuning-scores", source=_TUNING),
    bug(BugKind.TUNING, ScoresOnHeldOutPrivateExamples, "tuning-scores"),
)
