"""All exact checks of a whole training, for whatever its adapter can give."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from clifftop.audit.accounts import Setting
from clifftop.audit.document import AuditDocument, AuditKind
from clifftop.audit.steps import StepCheck
from clifftop.audit.steps.reports import ChecksReport
from clifftop.audit.steps.timing import timed
from clifftop.audit.threads import on_one_thread
from clifftop.audit.trainings.adapter import (
    CAPABILITIES,
    Distributed,
    HasAccountant,
    HasPublicNumbers,
    Prepares,
    ReportsEpsilon,
    Runs,
    Tunes,
    UnusableTraining,
)
from clifftop.audit.trainings.preparation import check_preparation, check_public_numbers
from clifftop.audit.trainings.replay import check_runs
from clifftop.audit.trainings.reports import check_reported, check_training_accountant, check_tuning
from clifftop.audit.trainings.workers import STATISTICAL_CHECKS, check_workers

_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_timed = partial(
    timed,
    must_hold="a training must answer what an adapter with this capability is asked",
    refusals=_REFUSALS,
    unusable=UnusableTraining,
)


@final
@dataclass(frozen=True, kw_only=True)
class TrainingChecks(ChecksReport):
    """What the checks of a training said. Nothing here proves a training private.

    Attributes:
        checks: all that were made, in order.
        level: the probability, at most, that a training which keeps its claim fails a statistical check.
        not_checked: what could not be looked at, and why.
        seconds: how long all took.
    """

    def document(self, subject: str) -> AuditDocument:
        """The audit in the form of all audits."""
        return self.as_document(
            AuditKind.TRAINING,
            subject,
            claim="the model and all that is published with it follow from noisy releases that are charged",
            sound="nothing was found, as far as was looked",
            notes=(
                f"a training that keeps its claim fails with probability {self.level:g} at most",
                "the steps' own sums, noise and batches are looked at by the checks of a step",
            ),
        )


@on_one_thread
def check_training(
    training: object,
    *,
    level: float = 1e-4,
    seed: int = 0,
    settings: Sequence[Setting] | None = None,
    without: Collection[type] = (),
) -> TrainingChecks:
    """Check what lies beyond one step of a training: an object with some of the capabilities.

    Exact, with no false alarm: preparation, public numbers, what the model is made of, charges, noise that
    comes twice, restarts, the reported epsilon, the accountant, the search for settings. Statistical, sharing
    ``level`` equally: the global batch of several workers and the scale of their noise. A check whose
    questions the training refuses fails, and says with what.

    Args:
        training: an adapter; see `clifftop.audit.trainings.adapter` for what it may have.
        level: of the whole audit.
        seed: of the trainings that are run; ``seed + 1`` is used beside it.
        settings: what an accountant is asked, as in `clifftop.audit.accounts.check_accountant`.
        without: capabilities that are left alone, and reported as not checked.

    Raises:
        ValueError: ``level`` is not in (0, 1), or the object has no capability at all.

    >>> import numpy as np
    >>> class Scaled:
    ...     def rows(self):
    ...         return np.arange(12.0).reshape(6, 2)
    ...
    ...     def prepare(self, rows):
    ...         return (rows - rows.min(0)) / (rows.max(0) - rows.min(0) + 1)
    >>> [check.name for check in check_training(Scaled()).findings]
    ['preparation']
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), found level={level}; use 1e-4")
    has = {capability for capability, _, _ in CAPABILITIES if isinstance(training, capability)}
    missing = tuple(
        f"{what}, since it was left out" if capability in has else f"{what}, since there is no {needed}"
        for capability, what, needed in CAPABILITIES
        if capability not in has - set(without)
    )
    if len(missing) == len(CAPABILITIES):
        raise UnusableTraining(
            f"a training under audit must have at least one capability, found {type(training).__name__} "
            "with none to look at; give it rows() and prepare(rows), or run(...)"
        )
    start = time.perf_counter()
    made = [
        check
        for name, checks in _questions(
            training, has - set(without), level=level, seed=seed, settings=settings
        )
        for check in _timed(name, checks)
    ]
    return TrainingChecks(
        checks=tuple(made), level=level, not_checked=missing, seconds=time.perf_counter() - start
    )


def _questions(
    training: object, looked_at: set[type], *, level: float, seed: int, settings: Sequence[Setting] | None
) -> Iterable[tuple[str, Callable[[], Iterable[StepCheck]]]]:
    if isinstance(training, Prepares) and Prepares in looked_at:
        yield "preparation", lambda: (check_preparation(training),)
    if isinstance(training, HasPublicNumbers) and HasPublicNumbers in looked_at:
        yield "public-numbers", lambda: (check_public_numbers(training),)
    if isinstance(training, Runs) and Runs in looked_at:
        yield "post-processing", lambda: check_runs(training, seed=seed)
    if isinstance(training, Distributed) and Distributed in looked_at:
        each = level / STATISTICAL_CHECKS
        yield "workers-noise-scale", lambda: check_workers(training, level=each, seed=seed)
    if isinstance(training, ReportsEpsilon) and ReportsEpsilon in looked_at:
        yield "reported-epsilon", lambda: (check_reported(training),)
    if isinstance(training, HasAccountant) and HasAccountant in looked_at:
        yield "accountant-answers", lambda: check_training_accountant(training, settings=settings)
    if isinstance(training, Tunes) and Tunes in looked_at:
        yield "tuning-epsilon", lambda: check_tuning(training, seed=seed)
