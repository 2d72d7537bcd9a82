"""All checks of an accountant, within a few seconds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clifftop.audit.accounts import checks
from clifftop.audit.accounts.asking import (
    Answer,
    Clock,
    DivergenceOf,
    EpsilonOf,
    NoiseOf,
    answer,
    ask,
    ask_moment,
)
from clifftop.audit.accounts.checks import AccountantCheck, Calibrated
from clifftop.audit.accounts.settings import (
    Setting,
    Target,
    extreme_settings,
    moments,
    usual_settings,
    usual_targets,
)
from clifftop.audit.document import AuditDocument, AuditKind, Verdict
from clifftop.events import NeighboringRelation

ORDERS = (1.25, 1.5, 2.0, 2.5, 3.0, 8.5, 32.0, 256.0)
"""Fractional orders and whole ones, below and above 2."""
GRID_SHARE = 0.6
"""This part of the time goes to the grid at most; the other questions have the rest."""


@final
@dataclass(frozen=True, kw_only=True)
class AccountantReport:
    """What the checks of an accountant said.

    A pass is no proof: between the settings that were asked anything may happen.

    Attributes:
        checks: all that were made, in order.
        answers: what was asked and answered on the grid and at its extremes.
        relation: the pairs of data sets of which epsilon is claimed.
        not_checked: what was not looked at, and why.
        seconds: how long all took.
    """

    checks: tuple[AccountantCheck, ...]
    answers: tuple[Answer[Setting], ...]
    relation: NeighboringRelation
    not_checked: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def findings(self) -> tuple[AccountantCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def understates(self) -> bool:
        """Whether a privacy loss was reported below the truth, for certain."""
        return any(check.understates for check in self.findings)

    @property
    def lowest(self) -> Answer[Setting] | None:
        """The answer that is the smallest part of the truth; None where nothing was answered."""
        given = [one for one in self.answers if one.given and one.certified.lower > 0]
        return min(given, key=lambda one: one.share, default=None)

    @property
    def looseness(self) -> tuple[float, float] | None:
        """Answers over the certified upper end, median and largest, where they are finite; None for none."""
        ratios = [
            one.reported / one.certified.upper
            for one in self.answers
            if math.isfinite(one.reported) and one.certified.lower > 0
        ]
        return (statistics.median(ratios), max(ratios)) if ratios else None

    def document(self, subject: str) -> AuditDocument:
        """The audit in the form of all audits."""
        return AuditDocument(
            kind=AuditKind.ACCOUNTANT,
            subject=subject,
            claim="an upper bound on epsilon of Poisson-sampled Gaussian releases, at every setting and "
            f"consistently, for {self.relation.name.lower().replace('_', ' ')}",
            verdict=Verdict.NOT_REFUTED if self.ok else Verdict.REFUTED,
            reason=self._reason(),
            checks=tuple(check.row() for check in self.checks),
            figures=self._figures(),
            notes=(
                "the truth is known as an interval, proven on both sides; below its lower end is too small",
                *(f"not checked: {what}" for what in self.not_checked),
            ),
            seconds=self.seconds,
        )

    def _reason(self) -> str:
        failed = ", ".join(check.name for check in self.findings)
        if self.understates:
            return f"reports less privacy loss than there is; failed: {failed}"
        if failed:
            return f"no answer was below the truth, but failed: {failed}"
        return "no answer was below the truth, as far as was asked"

    def _figures(self) -> tuple[tuple[str, float], ...]:
        infinite = sum(one.reported == math.inf for one in self.answers)
        found = [("settings asked", float(len(self.answers)))]
        if self.lowest is not None and math.isfinite(self.lowest.share):
            found.append(("smallest part of the truth that was reported", self.lowest.share))
        if self.looseness is not None:
            names = "reported over the truth, median", "reported over the truth, largest"
            found += list(zip(names, self.looseness, strict=True))
        return (*found, ("infinite answers", float(infinite)))

    def __str__(self) -> str:
        """One line a check, failed ones marked, and how loose the answers are."""
        lines = [f"{'ok  ' if one.passed else 'FAIL'} {one.name}: {one.found}" for one in self.checks]
        lines += [f"--   {name}: {value:.4g}" for name, value in self._figures()]
        lines += [f"--   not checked: {what}" for what in self.not_checked]
        return "\n".join([*lines, f"{self.seconds:.1f} s; {self._reason()}"])


def check_accountant(
    epsilon_of: EpsilonOf,
    *,
    noise_of: NoiseOf | None = None,
    divergence_of: DivergenceOf | None = None,
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE,
    orders: Sequence[float] = ORDERS,
    settings: Sequence[Setting] | None = None,
    targets: Sequence[Target] | None = None,
    budget_seconds: float = 4.0,
) -> AccountantReport:
    """Check any accountant of Poisson-sampled Gaussian releases against certified intervals.

    Every comparison is exact: an answer fails only where it is below a proven lower end (by more than one
    part in a million), or contradicts another answer of its own. Looseness is reported and fails nothing.

    Args:
        epsilon_of: ``epsilon_of(sampling_prob=, noise_multiplier=, steps=, delta=)``, the least or an upper
            bound on it; a sampling probability of 1 is every example in every batch.
        noise_of: ``noise_of(target_epsilon=, sampling_prob=, steps=, delta=)``, its calibration, or None.
        divergence_of: ``divergence_of(order=, sampling_prob=, noise_multiplier=)``, its Renyi divergence of
            one release, or None.
        relation: the pairs of data sets that the accountant claims to protect.
        orders: at which divergences are asked; whole ones alone for an accountant that knows no others.
        settings: to ask about; a grid with noise from 0.05 to 20 and its extremes by default.
        targets: to calibrate for.
        budget_seconds: of CPU; a slow accountant is asked less, which the report says. A single call is
            never interrupted: give ``settings`` to one that takes minutes at some.

    Raises:
        ValueError: the budget is not above 0.

    >>> report = check_accountant(
    ...     lambda sampling_prob, noise_multiplier, steps, delta: steps * sampling_prob / noise_multiplier
    ... )
    >>> report.understates, [check.name for check in report.findings]
    (True, ['truth', 'full-batch'])
    """
    if not budget_seconds > 0:
        raise ValueError(
            f"budget_seconds must be above 0, found budget_seconds={budget_seconds!r}; 4 is enough for most"
        )
    start = time.perf_counter()
    usual = usual_settings() if settings is None else tuple(settings)
    extreme = extreme_settings() if settings is None else ()
    first, whole = Clock(GRID_SHARE * budget_seconds), Clock(budget_seconds)
    grid = [ask(epsilon_of, setting, relation) for setting in first.within(usual)]
    far = [ask(epsilon_of, setting, relation) for setting in whole.within(extreme)]
    made = _grid_checks(grid, far)
    skipped = _skipped("settings", len(grid) + len(far), len(usual) + len(extreme))
    if noise_of is not None:
        questions = usual_targets() if targets is None else tuple(targets)
        found = [_calibrate(noise_of, epsilon_of, target, relation) for target in whole.within(questions)]
        made += [check(found) for check in _CALIBRATION]
        skipped += _skipped("targets", len(found), len(questions))
    else:
        skipped += ("the calibration, since none was given",)
    if divergence_of is not None:
        asked = moments(tuple(orders))
        said = [ask_moment(divergence_of, moment, relation) for moment in whole.within(asked)]
        made += [checks.check_answers(said, name="orders-answer"), checks.check_moments(said)]
        skipped += _skipped("divergences", len(said), len(asked))
    return AccountantReport(
        checks=tuple(made),
        answers=(*grid, *far),
        relation=relation,
        not_checked=skipped,
        seconds=time.perf_counter() - start,
    )


_CALIBRATION = (checks.check_calibration_answers, checks.check_calibration, checks.check_round_trip)


def _grid_checks(grid: Sequence[Answer[Setting]], far: Sequence[Answer[Setting]]) -> list[AccountantCheck]:
    every = (*grid, *far)
    sampled = [one for one in every if one.asked.sampling_prob < 1]
    full = [one for one in every if one.asked.sampling_prob == 1]
    made = [
        *([checks.check_answers(grid, name="answers")] if grid else []),
        *([checks.check_answers(far, name="extremes")] if far else []),
        checks.check_sign(every),
    ]
    if sampled:
        must_hold = "no answer may be below the certified lower end"
        made.append(checks.check_truth(sampled, name="truth", must_hold=must_hold))
    if full:
        must_hold = "no answer may be below the exact epsilon of full batches"
        made.append(checks.check_truth(full, name="full-batch", must_hold=must_hold))
    return [*made, *_order_checks(grid)]


def _order_checks(grid: Sequence[Answer[Setting]]) -> list[AccountantCheck]:
    return [
        checks.check_order(
            grid,
            name="monotone-noise",
            must_hold="less noise must never cost less",
            axis=lambda s: -s.noise_multiplier,
            rest=lambda s: (s.sampling_prob, s.steps, s.delta),
        ),
        checks.check_order(
            grid,
            name="monotone-steps",
            must_hold="more releases must never cost less",
            axis=lambda s: s.steps,
            rest=lambda s: (s.sampling_prob, s.noise_multiplier, s.delta),
        ),
        checks.check_order(
            grid,
            name="monotone-sampling",
            must_hold="batches that hold more must never cost less",
            axis=lambda s: s.sampling_prob,
            rest=lambda s: (s.noise_multiplier, s.steps, s.delta),
        ),
        checks.check_order(
            grid,
            name="monotone-delta",
            must_hold="a smaller delta must never cost less",
            axis=lambda s: -s.delta,
            rest=lambda s: (s.sampling_prob, s.noise_multiplier, s.steps),
        ),
    ]


def _calibrate(
    noise_of: NoiseOf, epsilon_of: EpsilonOf, target: Target, relation: NeighboringRelation
) -> Calibrated:
    noise, error = answer(
        lambda: noise_of(
            target_epsilon=target.epsilon,
            sampling_prob=target.sampling_prob,
            steps=target.steps,
            delta=target.delta,
        )
    )
    usable = 0 < noise < math.inf
    return Calibrated(
        target=target,
        noise_multiplier=noise,
        answer=ask(epsilon_of, target.with_noise(noise), relation) if usable else None,
        error=error,
    )


def _skipped(what: str, asked: int, planned: int) -> tuple[str, ...]:
    left = planned - asked
    return (f"{left} of {planned} {what}, since the time was spent",) if left else ()
