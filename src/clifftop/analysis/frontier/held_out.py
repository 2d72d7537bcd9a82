"""Choosing on some seeds and judging on the others, so that the best of many does not look too good.

The best mean among many cells is optimistic: it was chosen for being high. Here each seed is judged at
the cell that is best on the mean of all *other* seeds (cross-validation, leaving one out: M. Stone,
"Cross-validatory choice and assessment of statistical predictions", JRSS B 36, 1974).
"""

from __future__ import annotations

import numpy as np

from clifftop.analysis.frontier.table import Floats, Ints
from clifftop.analysis.uncertainty import Estimate, estimate

_DIGITS = 12
NOTHING = -1
"""The place of a choice that could not be made."""


def without_each(utilities: Floats) -> Floats:
    """``(K, S)``: each cell's mean over the columns other than this one.

    -inf where the cell has no entry in the column, or none in another: it cannot be chosen there.
    """
    known = np.isfinite(utilities)
    others = known.sum(axis=1, keepdims=True) - 1
    totals = np.nansum(utilities, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        means = ((totals - utilities) / np.maximum(others, 1)).round(_DIGITS)
    return np.where(known & (others > 0), means, -np.inf)


def running_choice(scores: Floats) -> Ints:
    """``(K, S)``: the row of the largest score among the rows so far, the first of equals; -1 without one.

    >>> running_choice(np.array([[0.2], [0.1], [0.3], [0.3]])).T
    array([[0, 0, 2, 2]])
    """
    before = np.vstack([np.full((1, scores.shape[1]), -np.inf), scores[:-1]])
    records = scores > np.maximum.accumulate(before, axis=0)
    return np.maximum.accumulate(np.where(records, np.arange(len(scores))[:, None], NOTHING), axis=0)


def chosen_rows(utilities: Floats, ends: Ints) -> Ints:
    """``(P, S)``: the cell that the other columns choose among the first ``ends[p]`` rows."""
    return running_choice(without_each(utilities))[ends - 1]


def judged(utilities: Floats, rows: Ints) -> Floats:
    """``(P, S)``: each column's own value at the rows chosen for it; NaN where there was no choice."""
    columns = np.arange(utilities.shape[1])
    return np.where(rows == NOTHING, np.nan, utilities[np.maximum(rows, 0), columns])


def held_out(utilities: Floats, ends: Ints) -> Floats:
    """``(P, S)``: the best of the first ``ends[p]`` rows, chosen on the other columns, judged on each.

    >>> table = np.array([[0.5, 0.9, 0.6], [0.8, 0.7, 0.7]])
    >>> held_out(table, np.array([2]))
    array([[0.5, 0.7, 0.7]])
    """
    if not utilities.size:
        return np.full((len(ends), utilities.shape[1]), np.nan)
    return judged(utilities, chosen_rows(utilities, ends))


def estimate_of(values: Floats) -> Estimate | None:
    """The estimate from the entries that are known; None where none is."""
    known = values[np.isfinite(values)]
    return estimate(known) if known.size else None
