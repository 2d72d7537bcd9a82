"""What a training reports, against what it certainly costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clifftop.accounting import epsilon
from clifftop.audit.accounts import Setting, check_accountant
from clifftop.audit.steps import StepCheck
from clifftop.audit.trainings.adapter import Data, HasAccountant, Reported, ReportsEpsilon, Tunes
from clifftop.audit.trainings.findings import repeated, verdict

SLACK = 1e-6
"""A report is below the truth where it is by more than this part of it."""
CANDIDATES = 6


def check_reported(training: ReportsEpsilon) -> StepCheck:
    """The reported epsilon is not below the certified lower end of what was done."""
    reported = training.reported()
    least = _least(reported)
    return verdict(
        "reported-epsilon",
        "the reported epsilon must not be below the truth for what was released",
        _too_small(reported.epsilon, least, "what was released costs"),
        otherwise=f"{reported.epsilon:.4g} is reported, the truth is {least:.4g} at least",
    )


def _least(reported: Reported) -> float:
    return epsilon(reported.event, delta=reported.delta, neighboring_relation=reported.relation).lower


def _too_small(said: float, least: float, what: str) -> list[str]:
    if math.isfinite(said) and said >= least * (1 - SLACK):
        return []
    return [] if said == math.inf else [f"{said:.4g} is reported, {what} {least:.4g} at least"]


def check_training_accountant(
    training: HasAccountant, *, settings: Sequence[Setting] | None = None
) -> tuple[StepCheck, ...]:
    """The checks of `clifftop.audit.accounts.check_accountant` on the training's own accountant."""
    report = check_accountant(training.epsilon_of, settings=settings)
    return tuple(
        StepCheck(
            name=f"accountant-{one.row().name}",
            must_hold=one.row().must_hold,
            found=one.row().found,
            passed=one.row().passed,
        )
        for one in report.checks
    )


def check_tuning(training: Tunes, *, seed: int) -> tuple[StepCheck, ...]:
    """A search is charged for: its candidates, its scores on private data, with noise of their own.

    That the report grows with the number of candidates is asked for, since the choice looks at all of them;
    by how much it must grow depends on the rule of choice, and is not checked.
    """
    alone, several = training.tune(1, seed=seed), training.tune(CANDIDATES, seed=seed)
    return (
        _report_of_a_search(alone.reported, several.reported, several.charged_runs, len(several.noise)),
        verdict(
            "tuning-noise",
            "candidates that are compared must have noise of their own",
            ["two candidates have the same noise"] if repeated(several.noise) is not None else [],
            otherwise=f"{CANDIDATES} candidates have noise of their own",
        ),
        _scores(training, several.parameters, several.charged_scores),
    )


def _report_of_a_search(alone: Reported, several: Reported, charged: int, made: int) -> StepCheck:
    faults = _too_small(alone.epsilon, _least(alone), "one candidate costs")
    faults += _too_small(several.epsilon, _least(several), "one of the candidates alone costs")
    if several.epsilon <= alone.epsilon < math.inf:
        faults.append(
            f"{several.epsilon:.4g} is reported for {CANDIDATES} candidates, {alone.epsilon:.4g} for one"
        )
    if charged < made:
        faults.append(f"{made} candidates were trained, {charged} are charged")
    return verdict(
        "tuning-epsilon",
        "the choice of the best of several private models must be charged for all of them",
        faults,
        otherwise=f"{several.epsilon:.4g} for {CANDIDATES} candidates, {alone.epsilon:.4g} for one",
    )


def _scores(training: Tunes, parameters: np.ndarray, charged: int) -> StepCheck:
    """Whether scores look at private data is seen by changing the data under the same models."""
    faults: list[str] = []
    for at, one in enumerate(parameters):
        seen = {training.score(one.copy(), data=data) for data in (Data.GIVEN, Data.OTHER)}
        if len(seen) > 1 and charged < len(parameters):
            faults.append(
                f"the score of candidate {at} looks at private examples; {charged} of {len(parameters)} "
                "scores are charged"
            )
    return verdict(
        "tuning-scores",
        "scores must not look at private examples, or be charged",
        faults,
        otherwise="no uncharged score looks at private examples",
    )
