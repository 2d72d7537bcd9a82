"""How the checks of a training are put into words, and how noise is compared."""

from __future__ import annotations

import numpy as np

from clifftop.audit.steps import StepCheck
from clifftop.audit.trainings.adapter import Array

_SHARE = 0.25
"""Of the numbers that two draws share, above which one is not drawn anew."""
_LOOKED_AT = 512
_ALIKE = 1e-6
"""Ratios that differ by less, relatively, are one: noise may be rounded to single precision."""


def verdict(name: str, must_hold: str, faults: list[str], *, otherwise: str) -> StepCheck:
    """An exact check: fails with the first of ``faults``, if there is one."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    found = faults[0] + more if faults else otherwise
    return StepCheck(name=name, must_hold=must_hold, found=found, passed=not faults)


def repeated(draws: Array) -> tuple[int, int] | None:
    """Two rows of ``(N, K)`` noise of which one repeats a part of the other; None for none.

    A part is a quarter of the numbers, at least three, at the same places, times any one factor: the scale
    of noise may change between steps. At most 512 places are looked at. Numbers that are 0 are no noise.
    That independent draws of three numbers have one ratio within a millionth is of the order of 1e-12.

    >>> repeated(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [-2.0, -4.0, -6.0]]))
    (0, 2)
    >>> repeated(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    """
    places = np.unique(np.linspace(0, draws.shape[1] - 1, min(_LOOKED_AT, draws.shape[1])).astype(int))
    size = np.abs(draws[:, places])
    logs = np.log(np.where(size > 0, size, np.nan))
    part = max(3, int(np.ceil(_SHARE * len(places))))
    for first in range(len(logs) - 1):
        ratios = np.sort(logs[first + 1 :] - logs[first], axis=1)
        alike = (ratios[:, part - 1 :] - ratios[:, : len(places) - part + 1] < _ALIKE).any(1)
        if alike.any():
            return first, first + 1 + int(alike.argmax())
    return None


def same(one: Array, other: Array) -> bool:
    """Whether two arrays are equal to the bit, or not a number at the same places."""
    return one.shape == other.shape and bool(np.array_equal(one, other, equal_nan=True))
