"""What must hold of an accountant: exact comparisons, each failure with the question that shows it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from clifftop.audit.accounts.asking import Answer
from clifftop.audit.accounts.settings import Moment, Setting, Target
from clifftop.audit.document import CheckRow

ROUNDING = 1e-6
"""This part of a number is forgiven beside a certified one."""
WIGGLE = 0.1
"""This part is forgiven between two answers: numerical upper bounds wiggle by their own error."""


@final
@dataclass(frozen=True, kw_only=True)
class AccountantCheck:
    """One thing that must hold of an accountant, and whether it was seen to fail.

    Attributes:
        name: of the check.
        must_hold: in words.
        found: in words.
        passed: whether nothing against it was found; no proof that it holds.
        understates: whether a failure shows a privacy loss reported below the truth.
        failures: how many answers broke it.
        witness: the answers that break it most; empty where none does.
        seconds: how long it took.
    """

    name: str
    must_hold: str
    found: str
    passed: bool
    understates: bool = False
    failures: int = 0
    witness: tuple[Answer[Any], ...] = ()
    seconds: float = 0.0

    def row(self) -> CheckRow:
        """The check as a row of an audit's document."""
        return CheckRow(
            name=self.name,
            passed=self.passed,
            found=self.found,
            must_hold=self.must_hold,
            seconds=self.seconds,
        )


def check_answers(answers: Sequence[Answer[Any]], *, name: str) -> AccountantCheck:
    """Every question has an answer that is a number."""
    return _judged(
        name=name,
        must_hold="every setting must have an answer that is a number; infinity is one",
        broken=[(one,) for one in answers if not one.given],
        badness=lambda _: 0.0,
        looked=f"{len(answers)} answers",
    )


def check_sign(answers: Sequence[Answer[Any]]) -> AccountantCheck:
    """No answer is negative, and none is 0 where the truth is not."""
    return _judged(
        name="positive",
        must_hold="epsilon is never negative, and above 0 wherever something is released",
        broken=[
            (one,)
            for one in answers
            if one.given and (one.reported < 0 or (one.reported == 0 and one.certified.lower > 0))
        ],
        badness=lambda witness: -witness[0].reported,
        looked=f"{len(answers)} answers",
    )


def check_truth(answers: Sequence[Answer[Any]], *, name: str, must_hold: str) -> AccountantCheck:
    """No answer is below the lower end of the certified interval."""
    check = _judged(
        name=name,
        must_hold=must_hold,
        broken=[(one,) for one in answers if is_below(one)],
        badness=lambda witness: -witness[0].share,
        looked=f"{len(answers)} answers",
        understates=True,
    )
    if check.passed:
        return check
    share = check.witness[0].share
    return replace(check, found=f"{check.found}: {share:.2g} of it")


def is_below(one: Answer[Any]) -> bool:
    """Whether the answer is certainly below the truth; what is below a truth of 0 is `check_sign`'s."""
    lower = one.certified.lower
    return one.given and lower > 0 and one.reported < lower * (1.0 - ROUNDING)


def check_order(
    answers: Sequence[Answer[Setting]],
    *,
    name: str,
    must_hold: str,
    axis: Callable[[Setting], float],
    rest: Callable[[Setting], tuple[float, ...]],
) -> AccountantCheck:
    """Along an axis on which privacy is only lost, no answer is a tenth or more below the one before it."""
    pairs = list(neighbours(answers, axis=axis, rest=rest))
    return _judged(
        name=name,
        must_hold=must_hold,
        broken=[(a, b) for a, b in pairs if b.reported < a.reported - WIGGLE * abs(a.reported)],
        badness=lambda witness: -witness[1].reported / witness[0].reported,
        looked=f"{len(pairs)} pairs of answers",
    )


def neighbours(
    answers: Iterable[Answer[Setting]],
    *,
    axis: Callable[[Setting], float],
    rest: Callable[[Setting], tuple[float, ...]],
) -> Iterable[tuple[Answer[Setting], Answer[Setting]]]:
    """Answers that differ in one parameter alone and are next to each other in it, the smaller one first."""
    given = sorted((one for one in answers if one.given), key=lambda one: (rest(one.asked), axis(one.asked)))
    for _, line in itertools.groupby(given, key=lambda one: rest(one.asked)):
        yield from itertools.pairwise(line)


def check_moments(answers: Sequence[Answer[Moment]]) -> AccountantCheck:
    """No divergence is below the truth at any order."""
    return check_truth(
        answers, name="orders", must_hold="no order's divergence may be below the truth; none is free"
    )


@final
@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What a calibration answered.

    Attributes:
        target: the question.
        noise_multiplier: the answer; NaN where there was none.
        answer: what the accountant says of that noise, beside the truth; None where that is no setting.
        error: what was raised, in one line; empty where nothing was.
    """

    target: Target
    noise_multiplier: float
    answer: Answer[Setting] | None
    error: str = ""


def check_calibration_answers(made: Sequence[Calibrated]) -> AccountantCheck:
    """Every target has a noise multiplier above 0."""
    silent = [one for one in made if one.answer is None]
    said = f"at {silent[0].target}: {silent[0].error or silent[0].noise_multiplier}" if silent else "nothing"
    return AccountantCheck(
        name="calibration-answers",
        must_hold="every target must have a finite noise multiplier above 0",
        found=f"{len(silent)} of {len(made)} targets have none, as {said}"
        if silent
        else f"{len(made)} targets have one",
        passed=not silent,
        failures=len(silent),
    )


def check_calibration(made: Sequence[Calibrated]) -> AccountantCheck:
    """The noise that is given keeps the target, in truth."""
    return _round_trip(
        made,
        name="calibration-truth",
        must_hold="the noise for a target must keep epsilon at or below it",
        over=lambda one: one.certified.lower,
        what="the true epsilon is at least",
        understates=True,
    )


def check_round_trip(made: Sequence[Calibrated]) -> AccountantCheck:
    """The accountant agrees with its own calibration."""
    return _round_trip(
        made,
        name="calibration-round-trip",
        must_hold="epsilon of the noise for a target must be at most the target",
        over=lambda one: one.reported,
        what="the accountant itself reports",
        understates=False,
    )


def _round_trip(
    made: Sequence[Calibrated],
    *,
    name: str,
    must_hold: str,
    over: Callable[[Answer[Setting]], float],
    what: str,
    understates: bool,
) -> AccountantCheck:
    asked = [(one.target, one.answer) for one in made if one.answer is not None]
    broken = [
        (over(answer) / target.epsilon, target, answer)
        for target, answer in asked
        if over(answer) > target.epsilon * (1.0 + ROUNDING)
    ]
    if not broken:
        return AccountantCheck(
            name=name, must_hold=must_hold, found=f"nothing in {len(asked)} targets", passed=True
        )
    _, target, worst = max(broken, key=lambda one: one[0])
    return AccountantCheck(
        name=name,
        must_hold=must_hold,
        found=f"{len(broken)} of {len(asked)} targets missed; {what} {over(worst):.6g} for "
        f"{target}, noise_multiplier={worst.asked.noise_multiplier:.6g}",
        passed=False,
        understates=understates,
        failures=len(broken),
        witness=(worst,),
    )


def _judged(
    *,
    name: str,
    must_hold: str,
    broken: Sequence[tuple[Answer[Any], ...]],
    badness: Callable[[tuple[Answer[Any], ...]], float],
    looked: str,
    understates: bool = False,
) -> AccountantCheck:
    """A check that fails where something is broken; the worst case is its witness."""
    if not broken:
        return AccountantCheck(name=name, must_hold=must_hold, found=f"nothing in {looked}", passed=True)
    worst = max(broken, key=lambda one: _finite(badness(one)))
    return AccountantCheck(
        name=name,
        must_hold=must_hold,
        found=f"{len(broken)} of {looked}; worst: {'; then '.join(map(str, worst))}",
        passed=False,
        understates=understates,
        failures=len(broken),
        witness=worst,
    )


def _finite(value: float) -> float:
    return -math.inf if math.isnan(value) else value
