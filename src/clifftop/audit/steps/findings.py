"""What a check of a step says, and the evidence that it stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.document import CheckRow


@final
@dataclass(frozen=True, kw_only=True)
class Witness:
    """What shows a fault to whoever asks the step for it again.

    Attributes:
        what: the number, in words.
        value: what it was.
        limit: what it may be.
        batches: the batches that show it, if batches do.
    """

    what: str
    value: float
    limit: float
    batches: tuple[tuple[int, ...], ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class StepCheck:
    """One thing that must hold of a step, and whether it was seen to fail.

    Attributes:
        name: of the check.
        must_hold: in words.
        found: in words.
        passed: whether nothing against it was found; no proof that it holds.
        witness: the worst case that was found, also where it is within its limit.
        p_value: for a statistical check, corrected for all that it looked at; None for an exact one.
        seconds: how long it took; checks that share their draws share the time.
    """

    name: str
    must_hold: str
    found: str
    passed: bool
    witness: Witness | None = None
    p_value: float | None = None
    seconds: float = 0.0

    def row(self) -> CheckRow:
        """The check as a row of an audit's document."""
        return CheckRow(
            name=self.name,
            passed=self.passed,
            found=self.found,
            must_hold=self.must_hold,
            p_value=self.p_value,
            seconds=self.seconds,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Family:
    """P-values of hypotheses that are judged together: their smallest, times how many there were.

    Each p-value is valid (at most u with probability at most u where the hypothesis holds), so the
    corrected one is, whatever they have to do with each other (Bonferroni).
    """

    corrected: float
    found: str


def family(p_values: Iterable[float] | NDArray[np.float64], describe: Callable[[int], str]) -> Family:
    """Judge p-values together; ``describe(i)`` says what the i-th saw.

    >>> family([0.5, 0.01], lambda i: f"test {i}")
    Family(corrected=0.02, found='test 1')
    """
    values = np.asarray(list(p_values) if not isinstance(p_values, np.ndarray) else p_values).ravel()
    # A statistic that is not a number comes from values that are not: never a pass.
    values = np.where(np.isnan(values), 0.0, values)
    if not values.size:
        return Family(corrected=1.0, found="nothing to look at")
    worst = int(values.argmin())
    return Family(corrected=min(1.0, float(values[worst]) * values.size), found=describe(worst))


def judged(name: str, must_hold: str, families: Iterable[Family], *, level: float) -> StepCheck:
    """A statistical check: fails with probability at most ``level`` where all hypotheses hold."""
    looked = list(families)
    worst = min(looked, key=lambda one: one.corrected)
    p_value = min(1.0, worst.corrected * len(looked))
    return StepCheck(
        name=name, must_hold=must_hold, found=worst.found, passed=p_value >= level, p_value=p_value
    )
