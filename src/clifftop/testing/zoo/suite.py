"""The suite that a subject of the zoo, a step or a training, is put through."""

from __future__ import annotations

from clifftop.audit.steps import StepCheck, check_step
from clifftop.audit.trainings import check_training
from clifftop.testing.zoo.step import CorrectStep


def examine(subject: object, *, level: float = 1e-4, seed: int = 0) -> tuple[StepCheck, ...]:
    """All checks of a step, where the subject is one, and of a training otherwise."""
    if isinstance(subject, CorrectStep):
        return check_step(subject, level=level, seed=seed).checks
    return check_training(subject, level=level, seed=seed).checks
