"""Which epsilons of two sweeps count as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clifftop.analysis.comparison.values import Matching
from clifftop.analysis.evidence import Cell
from clifftop.analysis.frontier.table import level_of

_ROUNDING = 1e-9


@final
@dataclass(frozen=True, kw_only=True)
class Together:
    """The cells of both sides at one epsilon."""

    epsilon: float
    matching: Matching
    first: tuple[Cell, ...]
    second: tuple[Cell, ...]


def matched(first: Sequence[Cell], second: Sequence[Cell], *, tolerance: float) -> tuple[Together, ...]:
    """Groups of cells at one epsilon, by rising epsilon; cells that the other side cannot match are left out.

    From the largest epsilon down, an epsilon takes all cells of both sides whose level is at most it, and
    less by no more than ``tolerance`` times it. Nothing is interpolated.

    Args:
        first: private cells with a finite epsilon.
        second: the same of the other side.
        tolerance: relative to the epsilon.
    """
    left = sorted(zip(level_of(first), range(len(first)), strict=True))
    right = sorted(zip(level_of(second), range(len(second)), strict=True))
    found: list[Together] = []
    while left and right:
        top = max(left[-1][0], right[-1][0])
        least = top * (1 - tolerance - _ROUNDING)
        mine = tuple(first[at] for level, at in left if level >= least)
        theirs = tuple(second[at] for level, at in right if level >= least)
        if mine and theirs:
            found.append(Together(epsilon=top, matching=_why(mine + theirs), first=mine, second=theirs))
            left, right = _below(left, least), _below(right, least)
        else:
            left = [item for item in left if item[0] < top]
            right = [item for item in right if item[0] < top]
    return tuple(reversed(found))


def _below(levels: list[tuple[float, int]], least: float) -> list[tuple[float, int]]:
    return [item for item in levels if item[0] < least]


def _why(cells: Sequence[Cell]) -> Matching:
    targets = {cell.number("target_epsilon") for cell in cells}
    return Matching.TARGET if len(targets) == 1 and None not in targets else Matching.TOLERANCE
