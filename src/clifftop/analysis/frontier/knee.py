"""The knee: the level of epsilon beyond which the frontier rises more slowly than before."""

from __future__ import annotations

import numpy as np

from clifftop.analysis.frontier.contest import Lead, quantile_of_largest, rivals
from clifftop.analysis.frontier.held_out import chosen_rows, estimate_of, judged, running_choice, without_each
from clifftop.analysis.frontier.table import Floats, Ints, SeedTable
from clifftop.analysis.frontier.values import Knee
from clifftop.analysis.uncertainty import Estimate

_FEWEST_LEVELS = 3
_WIDEST = 0.5
_MOST = 50


def find_knee(table: SeedTable, shown: Ints, lines: Floats) -> Knee | None:
    """The knee of the frontier, or None where the data do not support one.

    With epsilon on a log scale and both axes cut to the unit square, the knee is the level at which the
    frontier lies farthest above the line from its first to its last level (V. Satopaa, J. Albrecht,
    D. Irwin, B. Raghavan, "Finding a 'Kneedle' in a haystack", ICDCS Workshops 2011). A straight line
    with noise has such a point too. So a knee is reported only if

    - the frontier has at least three levels and two seeds;
    - it lies above the line there for sure (97.5%): the lower bound heeds that the knee's cell was chosen
      among all cells, and that the best cells at both ends of the line are not known
      (`clifftop.analysis.frontier.contest`);
    - the central 95% of the knees of frontiers drawn anew span at most half the range of log epsilon.

    Args:
        table: the private cells.
        shown: ``(P,)`` how many cells lie at or below each level to look at.
        lines: ``(P, R)`` frontiers drawn anew at these levels.
    """
    if shown.size < _FEWEST_LEVELS or table.levels[0] <= 0 or not lines.size:
        return None
    levels = table.levels[shown - 1]
    place = np.log(levels / levels[0]) / np.log(levels[-1] / levels[0])
    means = np.maximum.accumulate(table.means)[shown - 1]
    at, share = _farthest(means[:, None], place)
    if at[0] <= 0:
        return None
    best = int(running_choice(table.means[:, None])[shown[at[0]] - 1, 0])
    bend = _bend(table, best, shown, place, float(place[at[0]]))
    if bend is None or bend.ci95 is None or bend.ci95[0] <= 0:
        return None
    again, _ = _farthest(lines, place)
    rising = again[again >= 0]
    if not rising.size:
        return None
    low, high = np.quantile(rising, (0.025, 0.975), method="inverted_cdf")
    if place[high] - place[low] > _WIDEST:
        return None
    return Knee(
        epsilon=float(levels[at[0]]),
        interval=(float(levels[min(low, at[0])]), float(levels[max(high, at[0])])),
        cell=int(table.cells[best]),
        share=float(share[0]),
        bend=bend,
    )


def _farthest(lines: Floats, place: Floats) -> tuple[Ints, Floats]:
    """``(R,)`` twice: the level farthest above the line, -1 where nothing rises; the share risen there."""
    rise = lines[-1] - lines[0]
    share = (lines - lines[0]) / np.where(rise > 0, rise, np.inf)
    at = (share - place[:, None]).argmax(axis=0)
    return np.where(rise > 0, at, -1), share[at, np.arange(lines.shape[1])]


def _bend(table: SeedTable, row: int, shown: Ints, place: Floats, share: float) -> Estimate | None:
    """How far the knee's cell lies above the line; the interval's lower end is sure for every line.

    The line goes from the best cell at the first level to the best of all, whichever these are.
    """
    first = rivals(table, np.arange(shown[0]))[:_MOST]
    last = rivals(table, np.arange(shown[-1]))[:_MOST]
    utilities = table.utilities
    line = (1 - share) * utilities[first][:, None] + share * utilities[last][None, :]
    heights = (utilities[row] - line).reshape(-1, utilities.shape[1])
    found = estimate_of(_held_out_bends(utilities, shown, place))
    n = np.isfinite(heights).sum(axis=1)
    if found is None or n.min() < 2:
        return None
    means = np.nanmean(heights, axis=1)
    errors = np.nanstd(heights, axis=1, ddof=1) / np.sqrt(n)
    factor = np.array([quantile_of_largest(len(table.cells), int(each) - 1) for each in n])
    low, high = float((means - factor * errors).min()), float((means + factor * errors).max())
    return Lead(low=low, high=high).around(found)


def _held_out_bends(utilities: Floats, shown: Ints, place: Floats) -> Floats:
    """``(S,)``: each seed's own height above its own line, at the knee that the other seeds choose."""
    rows = chosen_rows(utilities, shown)
    scores = without_each(utilities)
    columns = np.arange(utilities.shape[1])
    seen = np.where(rows >= 0, scores[np.maximum(rows, 0), columns], np.nan)
    possible = np.isfinite(seen).all(axis=0)
    at, _ = _farthest(np.where(possible, seen, 0.0), place)
    own = judged(utilities, rows)
    chord = own[0] + place[at] * (own[-1] - own[0])
    return np.where(possible & (at >= 0), own[at, columns] - chord, np.nan)
