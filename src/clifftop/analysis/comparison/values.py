"""What a comparison says. Differences have the sign that makes more better: first minus second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import final

from clifftop.analysis.evidence.cells import Scalar
from clifftop.analysis.uncertainty import Estimate


@final
class Verdict(StrEnum):
    """Which side is better."""

    FIRST = "first"
    SECOND = "second"
    OPEN = "cannot be told apart"


@final
class Matching(StrEnum):
    """Why two epsilons count as one."""

    TARGET = "one target epsilon"
    TOLERANCE = "upper ends within the tolerance"


@final
@dataclass(frozen=True, kw_only=True)
class Side:
    """One side at one epsilon.

    Attributes:
        cell: the best cell there, its place in the side's evidence.
        setting: its setting.
        epsilon: its upper end, of one run alone.
        compute: examples that one of its runs processes.
        utility: its mean over its seeds. Optimistic, since it was chosen for being large.
        held_out: the mean where each seed is judged at the cell that is best on the others; None below two
            seeds.
        candidates: how many cells it was chosen from.
    """

    cell: int
    setting: Mapping[str, Scalar]
    epsilon: float
    compute: float
    utility: Estimate
    held_out: float | None
    candidates: int


@final
@dataclass(frozen=True, kw_only=True)
class Match:
    """Both sides at one epsilon, each at its best.

    Attributes:
        epsilon: the larger of both upper ends.
        matching: why they count as one.
        first: one side.
        second: the other.
        paired: whether the difference is taken seed by seed.
        difference: first minus second, each chosen on the other seeds; its interval holds for the best true
            utilities, for this epsilon by itself. None with its interval where no cell has two seeds.
        p_value: two-sided, of "the best of both are equal".
        p_adjusted: the same, corrected for the number of epsilons (Holm).
        verdict: who is better, told at 5% over all epsilons together.
        seeds_needed: where nobody is: about how many seeds a setting would show the difference, if it is
            the measured one. None where it is known, or would take more than a hundred thousand.
    """

    epsilon: float
    matching: Matching
    first: Side
    second: Side
    paired: bool
    difference: Estimate
    p_value: float
    p_adjusted: float
    verdict: Verdict
    seeds_needed: int | None


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sweeps or methods at matched epsilon.

    Attributes:
        first: name of one side.
        second: name of the other.
        metric: what utility is made of.
        maximize: whether the metric itself is better the larger it is.
        delta: at which all epsilons hold.
        neighboring_relation: for which they hold; None where it is not known.
        tolerance: how far matched epsilons may lie apart, relative to the larger.
        matches: by rising epsilon; at least one.
        unmatched_first: levels of epsilon that the second side does not have.
        unmatched_second: levels that the first side does not have.
        verdict: all of it in one sentence.
    """

    first: str
    second: str
    metric: str
    maximize: bool
    delta: float | None
    neighboring_relation: str | None
    tolerance: float
    matches: tuple[Match, ...]
    unmatched_first: tuple[float, ...]
    unmatched_second: tuple[float, ...]
    verdict: str
