"""Whether utility falls off a cliff as privacy gets stricter, and where: a test, not a look at a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, final

from clifftop.analysis.cliffs.contrasts import LEAST, SHARE, Contrasts, Window, windows
from clifftop.analysis.cliffs.ladder import Ladder, ladder_of
from clifftop.analysis.inference import fitted_estimate, summarised, welch_difference
from clifftop.analysis.uncertainty import Estimate

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

WITHIN = 3.0
"""A cliff happens within this factor in epsilon: about what doubling the noise multiplier makes."""


class Verdict(StrEnum):
    """What the data say about a cliff."""

    CLIFF = "cliff"
    """There is one."""
    NONE = "no cliff"
    """There is none between the levels that were measured."""
    TOO_COARSE = "grid too coarse"
    """Utility falls, or may fall, where neighbouring levels lie too far apart to say how steeply."""
    UNDECIDED = "undecided"
    """Too few seeds, or levels, to tell."""


@final
@dataclass(frozen=True, kw_only=True)
class SteepestDrop:
    """The largest fall of utility between two levels.

    Attributes:
        epsilon_low: the level that utility falls to.
        epsilon_high: the level that it falls from.
        drop: utility at ``epsilon_high`` minus that at ``epsilon_low``; its interval takes no account of its
            having been chosen as the largest.
        lower: what the drop exceeds with probability ``1 - alpha``, with account of that; None below two
            seeds.
        per_doubling: the mean drop over the doublings of epsilon between the two.
    """

    epsilon_low: float
    epsilon_high: float
    drop: Estimate
    lower: float | None
    per_doubling: float


@final
@dataclass(frozen=True, kw_only=True)
class CliffTest:
    """The outcome of a search for a cliff.

    Attributes:
        verdict: what the data say.
        is_cliff: whether the verdict is a cliff, at ``alpha`` for this one search.
        p_value: of "there is no cliff", over all places together; 1 where nothing could be tested.
        p_none: of "there is a cliff somewhere"; 1 where that could not be tested.
        steepest: the largest fall within the factor; None if no two levels are so close.
        where: an interval of epsilon that holds a cliff with probability ``1 - alpha``, if there is one; None
            where the verdict is not a cliff.
        gaps: neighbouring levels too far apart, between which a cliff could hide unseen.
        epsilons: the levels, rising.
        seeds: how many every level has.
        tuned: whether a level is the best of several settings, chosen on the other half of the seeds.
        left_out: cells that lack some of the seeds.
        alpha: level of the test.
        definition: what was called a cliff, in words.
    """

    verdict: Verdict
    is_cliff: bool
    p_value: float
    p_none: float
    steepest: SteepestDrop | None
    where: tuple[float, float] | None
    gaps: tuple[tuple[float, float], ...]
    epsilons: tuple[float, ...]
    seeds: int
    tuned: bool
    left_out: int
    alpha: float
    definition: str


def detect_cliff(
    evidence: Evidence,
    *,
    cells: Sequence[Cell] | None = None,
    alpha: float = 0.05,
    within: float = WITHIN,
    chance: float | None = None,
) -> CliffTest:
    """Test whether utility falls off a cliff along the privacy levels of ``cells``.

    A cliff is a fall of at least half of the range of utility within the factor ``within`` in epsilon that no
    smaller epsilon makes good. The range runs from the best that was reached, baseline included, to
    ``chance``, or without it to the worst level; where utility is a share, the fall must also be a tenth of
    the best.
    Against it stands any frontier that loses less than that over any such factor. See the page on statistics.

    Args:
        evidence: its private cells.
        cells: some of them; by default all. If they differ in more than noise, each level is the best
            setting at that epsilon or less, chosen for each seed on the other half of the seeds.
        alpha: chance of calling a cliff what is none, and of denying one that is there.
        within: the factor, above 1.
        chance: value of the metric for a model that has learnt nothing, such as one over the classes.

    Raises:
        ValueError: ``within`` is not above 1.

    >>> import numpy as np
    >>> from clifftop.testing.frontiers import simulated_evidence, step
    >>> found = detect_cliff(simulated_evidence(rng=np.random.default_rng(0), frontier=step(at=1.5)))
    >>> found.verdict.value, found.where
    ('cliff', (1.0, 2.0))
    """
    if not within > 1:
        raise ValueError(f"within must be a factor above 1, found within={within:g}; 3 is the default")
    ladder = ladder_of(evidence, evidence.private if cells is None else cells)
    near, gaps = windows(ladder.epsilons, within)
    signed = chance if chance is None or evidence.maximize else -chance
    definition = _definition(ladder, within, chance)
    return _judged(Contrasts(ladder=ladder, chance=signed), near, gaps, alpha, definition)


def _judged(
    contrasts: Contrasts, near: Sequence[Window], gaps: Sequence[Window], alpha: float, definition: str
) -> CliffTest:
    ladder, n = contrasts.ladder, contrasts.ladder.utility.shape[2]
    testable = n >= 2 and len(ladder.epsilons) >= 2
    here = [contrasts.p_cliff(w) if testable else 1.0 for w in near]
    across = [contrasts.p_cliff(w) if testable else 1.0 for w in gaps]
    absent = [contrasts.p_none(w) if testable else 1.0 for w in near]
    empty = [contrasts.p_none(w) if testable else 1.0 for w in gaps]
    p_value = _least(here)
    p_none = max([*absent, *empty], default=1.0)
    falls_in_gap = _least(across) <= alpha
    if p_value <= alpha:
        verdict = Verdict.CLIFF
    elif p_none <= alpha:
        verdict = Verdict.NONE
    elif falls_in_gap or (empty and max(empty) > alpha and max(absent, default=0.0) <= alpha):
        verdict = Verdict.TOO_COARSE
    else:
        verdict = Verdict.UNDECIDED
    possible = [w for w, p in zip(near, absent, strict=True) if p > alpha]
    hiding = [w for w, p in zip(gaps, empty, strict=True) if p > alpha]
    is_cliff = verdict is Verdict.CLIFF
    return CliffTest(
        verdict=verdict,
        is_cliff=is_cliff,
        p_value=p_value,
        p_none=p_none,
        steepest=_steepest(ladder, near, alpha),
        where=_span(ladder, possible) if is_cliff else None,
        gaps=tuple(_ends(ladder, w) for w in hiding),
        epsilons=tuple(ladder.epsilons.tolist()),
        seeds=n,
        tuned=ladder.tuned,
        left_out=ladder.left_out,
        alpha=alpha,
        definition=definition,
    )


def _least(p_values: Sequence[float]) -> float:
    """The least p-value, times how many there are; 1 without any."""
    return min(1.0, len(p_values) * min(p_values)) if p_values else 1.0


def _steepest(ladder: Ladder, near: Sequence[Window], alpha: float) -> SteepestDrop | None:
    if not near or not ladder.utility.shape[2]:
        return None
    means = ladder.utility.mean(axis=(0, 2))
    window = max(near, key=lambda w: float(means[w.high] - means[w.low]))
    low, high = _ends(ladder, window)
    drop = _drop(ladder, window)
    return SteepestDrop(
        epsilon_low=low,
        epsilon_high=high,
        drop=drop,
        lower=_lower(drop, alpha / len(near)),
        per_doubling=drop.mean / math.log2(high / low),
    )


def _drop(ladder: Ladder, window: Window) -> Estimate:
    high, low = ladder.utility[:, window.high], ladder.utility[:, window.low]
    if ladder.tuned:
        return fitted_estimate(high - low, num_test=ladder.num_test)
    if ladder.paired:
        return summarised((high - low)[0], num_test=ladder.num_test)
    return welch_difference(high[0], low[0], num_test=ladder.num_test)


def _lower(drop: Estimate, alpha: float) -> float | None:
    """One-sided lower bound of a mean at ``1 - alpha``, from its 95% interval."""
    from scipy.special import stdtrit

    if drop.ci95 is None:
        return None
    half = drop.mean - drop.ci95[0]
    return drop.mean - half * float(stdtrit(drop.n - 1, 1 - alpha) / stdtrit(drop.n - 1, 0.975))


def _ends(ladder: Ladder, window: Window) -> tuple[float, float]:
    return float(ladder.epsilons[window.low]), float(ladder.epsilons[window.high])


def _span(ladder: Ladder, possible: Sequence[Window]) -> tuple[float, float]:
    ends = [_ends(ladder, window) for window in possible]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _definition(ladder: Ladder, within: float, chance: float | None) -> str:
    bottom = "the worst measured level" if chance is None else f"chance ({chance:g})"
    tenth = "" if ladder.worst is None else f", and by at least {LEAST:.0%} of the best"
    return (
        f"utility falls by at least {SHARE:.0%} of the way from the best that was reached to {bottom}"
        f"{tenth}, within a factor of {within:g} in epsilon, and no smaller epsilon makes it good"
    )
