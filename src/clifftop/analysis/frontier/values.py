"""What a frontier is made of. All utilities have the sign that makes more better."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import final

from clifftop.analysis.uncertainty import Estimate


@final
@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """One private cell.

    Attributes:
        cell: its place in `Evidence.cells`.
        epsilon: the upper end, of one run alone.
        utility: the mean over its seeds.
        compute: examples that one run processes.
        on_front: whether no cell of the same or a smaller level of epsilon does better on the mean.
        membership: how often it is on the front when the means are drawn anew; None where nothing is
            known of how they spread.
    """

    cell: int
    epsilon: float
    utility: Estimate
    compute: float
    on_front: bool
    membership: float | None


@final
@dataclass(frozen=True, kw_only=True)
class BandPoint:
    """The frontier at one epsilon: the best utility of any cell at or below it.

    Attributes:
        epsilon: the level.
        lower: 97.5% sure to lie below the best true utility; None where nothing is known.
        best: the largest mean. Optimistic, since it was chosen for being large.
        held_out: what a choice made on the other seeds gets, mean over seeds; None below two seeds.
        upper: 97.5% sure to lie above the best true utility; None where nothing is known.
    """

    epsilon: float
    lower: float | None
    best: float
    held_out: float | None
    upper: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Knee:
    """Where more epsilon stops paying: the level farthest above the straight line in log epsilon.

    Attributes:
        epsilon: the level.
        interval: holds the knee in 95% of the draws.
        cell: the best cell there.
        share: of the whole rise of the frontier, what is reached there.
        bend: how far the frontier lies above the line: the mean with the knee chosen on the other seeds, the
            interval for the knee and the line's ends whichever they are.
    """

    epsilon: float
    interval: tuple[float, float]
    cell: int
    share: float
    bend: Estimate


@final
class Told(StrEnum):
    """What an interval says of a difference."""

    MORE = "more"
    LESS = "less"
    NOTHING = "cannot be told from zero"


def told(difference: Estimate) -> Told:
    """Whether the 95% interval of a difference leaves zero out.

    >>> told(Estimate(mean=0.2, std=0.1, n=5, ci95=(0.1, 0.3))).value
    'more'
    """
    if difference.ci95 is None or difference.ci95[0] <= 0 <= difference.ci95[1]:
        return Told.NOTHING
    return Told.MORE if difference.mean > 0 else Told.LESS


@final
@dataclass(frozen=True, kw_only=True)
class Marginal:
    """What raising the budget from one epsilon to another buys.

    Attributes:
        epsilon_low: the smaller budget, a level.
        epsilon_high: the larger.
        cell_low: the best cell at or below the smaller budget, over all seeds.
        cell_high: the best at or below the larger.
        gain: in utility. The mean is taken seed by seed, with the cells of both ends chosen on the other
            seeds; the interval holds for the best true utilities. Neither is below 0, since what a small
            budget allows a large one allows too. Without a second seed the difference of the best means,
            which has no interval.
        p_value: of "it buys nothing".
    """

    epsilon_low: float
    epsilon_high: float
    cell_low: int
    cell_high: int
    gain: Estimate
    p_value: float

    @property
    def per_unit(self) -> Estimate:
        """The gain for each unit of epsilon, had it come evenly."""
        return scaled(self.gain, 1 / (self.epsilon_high - self.epsilon_low))

    @property
    def per_doubling(self) -> Estimate:
        """The gain for each doubling of epsilon, had it come evenly."""
        return scaled(self.gain, 1 / math.log2(self.epsilon_high / self.epsilon_low))

    @property
    def told(self) -> Told:
        """Whether the gain can be told from zero."""
        return told(self.gain)


@final
@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best setting that a budget allows.

    Attributes:
        cell: the one with the largest mean, among cells with enough seeds.
        epsilon: its upper end.
        utility: its mean. Optimistic: it was chosen for being large.
        held_out: what the choice gets on a seed that had no part in it, mean over seeds; None below two
            seeds. The interval is one for the best true utility, whichever cell has it.
        runner_up: the cell with the second largest mean; None without one.
        margin: best minus second best, by seed. A two-sided t-interval keeps its level though the two were
            picked by their means (K. Hung, W. Fithian, "Rank verification for exponential families",
            Annals of Statistics 47, 2019). None where there is no second, or no seed that both have.
        candidates: how many cells it was chosen from.
    """

    cell: int
    epsilon: float
    utility: Estimate
    held_out: Estimate | None
    runner_up: int | None
    margin: Estimate | None
    candidates: int


@final
@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One cell on a curve."""

    cell: int
    epsilon: float
    compute: float
    utility: Estimate


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """The cells that no other beats, among those within a limit on the other budget.

    Attributes:
        limit: the largest compute of a cell (a curve over epsilon), or the largest epsilon (over compute).
        points: by rising epsilon, or by rising compute.
    """

    limit: float
    points: tuple[CurvePoint, ...]


def scaled(of: Estimate, factor: float) -> Estimate:
    """An estimate in another unit.

    >>> scaled(Estimate(mean=0.2, std=0.1, n=5, ci95=(0.1, 0.3)), -10.0).ci95
    (-3.0, -1.0)
    """
    ends = None if of.ci95 is None else (of.ci95[0] * factor, of.ci95[1] * factor)
    ci95 = None if ends is None else (min(ends), max(ends))
    return replace(of, mean=of.mean * factor, std=of.std * abs(factor), ci95=ci95)
