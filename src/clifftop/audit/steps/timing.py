"""Making checks with a clock beside them, and what counts as a check that failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from clifftop.audit.steps.findings import StepCheck
from clifftop.audit.steps.sums import refusal_of


def timed(
    name: str,
    checks: Callable[[], Iterable[StepCheck]],
    *,
    must_hold: str,
    refusals: tuple[type[Exception], ...],
    unusable: type[Exception],
) -> list[StepCheck]:
    """The checks with the time that they took; one that failed where what they look at raised an error.

    Args:
        name: of the check that failed by an error.
        checks: makes them.
        must_hold: what such an error breaks.
        refusals: errors that are a finding.
        unusable: the error that is none: nothing can be said then, and it is raised.
    """
    start = time.perf_counter()
    try:
        made = list(checks())
    except unusable:
        raise
    except refusals as error:
        found = f"it raised {refusal_of(error)}"
        made = [StepCheck(name=name, must_hold=must_hold, found=found, passed=False)]
    seconds = time.perf_counter() - start
    return [replace(check, seconds=seconds) for check in made]
