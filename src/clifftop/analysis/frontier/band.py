"""The frontier's line with what surrounds it, and how surely each cell is on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.analysis.frontier.contest import ALPHA, best_between
from clifftop.analysis.frontier.held_out import estimate_of, held_out
from clifftop.analysis.frontier.resampling import Resampling, Spread
from clifftop.analysis.frontier.table import Floats, Ints, SeedTable
from clifftop.analysis.frontier.values import BandPoint

MOST_LEVELS = 200
"""Levels at which a band is drawn: a line on a screen shows no more."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The front when the means are drawn anew.

    Attributes:
        membership: ``(K,)`` share of draws in which a cell is on the front; None without draws.
        lines: ``(P, R)`` the best mean at or below each chosen level.
    """

    membership: Floats | None
    lines: Floats


def front_of(means: Floats, ends: Ints) -> np.ndarray:
    """``(K, R)``: whether a cell is best at its level and better than all of smaller levels.

    Args:
        means: ``(K, R)``, a column a draw.
        ends: ``(L,)`` how many cells lie at or below each level.
    """
    if not ends.size:
        return np.zeros(means.shape, dtype=np.bool_)
    starts = np.concatenate([[0], ends[:-1]])
    best = np.maximum.reduceat(means, starts, axis=0)
    before = np.maximum.accumulate(np.vstack([np.full((1, means.shape[1]), -np.inf), best[:-1]]), axis=0)
    wanted = np.where(best > before, best, np.inf)
    return means == np.repeat(wanted, ends - starts, axis=0)


def shown_ends(table: SeedTable, on_front: np.ndarray) -> Ints:
    """At most about `MOST_LEVELS` of the table's levels: where the front rises first, then evenly."""
    ends = table.ends
    if ends.size <= MOST_LEVELS:
        return ends
    rising = np.searchsorted(ends, np.flatnonzero(on_front), side="right")
    rising = rising[:: -(-rising.size * 2 // MOST_LEVELS)]
    evenly = np.linspace(0, ends.size - 1, MOST_LEVELS // 2).astype(np.intp)
    return ends[np.unique(np.concatenate([rising, evenly]))]


def drawn(resampling: Resampling, shown: Ints, *, count: int, rng: np.random.Generator) -> Drawn:
    """Draw the means ``count`` times, and look which cells are on the front and how high it lies."""
    hits = np.zeros(len(resampling.table.cells))
    lines: list[Floats] = [np.empty((shown.size, 0))]
    for means in resampling.draws(count, rng):
        hits += front_of(means, resampling.table.ends).sum(axis=1)
        lines.append(np.maximum.accumulate(means, axis=0)[shown - 1])
    membership = None if resampling.spread is Spread.UNKNOWN else hits / count
    return Drawn(membership=membership, lines=np.hstack(lines))


def band_of(resampling: Resampling, shown: Ints) -> tuple[BandPoint, ...]:
    """The band at the shown levels; both of its ends hold level by level, at 97.5% each.

    From the seeds as in `clifftop.analysis.frontier.contest.best_between`. Where only the test set is
    known, from the number of right answers (Clopper and Pearson, 1934): above, the bound of the best;
    below too, but at a level divided by the number of cells that it was the best of.
    """
    table = resampling.table
    best = np.maximum.accumulate(table.means)[shown - 1]
    outside = [estimate_of(values) for values in held_out(table.utilities, shown)]
    lows: Sequence[float | None] = [None] * shown.size
    highs: Sequence[float | None] = lows
    if resampling.spread is Spread.SEEDS:
        found = [best_between(table, np.arange(end)) for end in shown]
        least, most = _possible(resampling)
        lows = [None if lead.low is None else max(lead.low, least) for lead in found]
        highs = [None if lead.high is None else min(lead.high, most) for lead in found]
    elif resampling.spread is Spread.TEST_SET and resampling.num_test is not None:
        lows, highs = _binomial(table.means, shown, resampling.num_test)
    return tuple(
        BandPoint(
            epsilon=float(table.levels[end - 1]),
            lower=None if low is None else min(low, top),
            best=top,
            held_out=None if out is None else out.mean,
            upper=None if high is None else max(high, top),
        )
        for end, top, out, low, high in zip(shown, best.tolist(), outside, lows, highs, strict=True)
    )


def _possible(resampling: Resampling) -> tuple[float, float]:
    """Between which values a utility can lie at all: shares of test rows, or anything."""
    if resampling.num_test is None:
        return -np.inf, np.inf
    return (-1.0, 0.0) if bool((resampling.table.means < 0).any()) else (0.0, 1.0)


def _binomial(means: Floats, shown: Ints, num_test: int) -> tuple[list[float | None], list[float | None]]:
    """The exact bounds of the best accuracy, from the number of right answers."""
    from scipy.special import betaincinv

    best = np.maximum.accumulate(means)[shown - 1]
    right = np.clip(np.rint(np.abs(best) * num_test), 0, num_test)
    wrong = num_test - right
    each = ALPHA / 2 / shown
    low = np.where(right > 0, betaincinv(np.maximum(right, 1), wrong + 1, each), 0.0)
    high = np.where(wrong > 0, betaincinv(right + 1, np.maximum(wrong, 1), 1 - ALPHA / 2), 1.0)
    return low.tolist(), high.tolist()
