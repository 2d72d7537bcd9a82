"""The best cell, and all cells that cannot be told from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.inference.differences import difference_of, summarised
from clifftop.analysis.inference.floors import NO_SPREAD, fallback_t, least_sd, rows_behind
from clifftop.analysis.inference.held_out import cross_fitted, fitted_estimate
from clifftop.analysis.uncertainty import Estimate

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

_MOST_RIVALS = 512
"""A cell is compared with so many of the highest means; the correction still counts all other cells."""


@final
@dataclass(frozen=True, kw_only=True)
class Winner:
    """The cell with the highest mean utility, and what may be said of it. Cells are places in the evidence.

    Attributes:
        best: the cell with the highest mean.
        utility: its utility; optimistic, since it was chosen for being high.
        held_out: utility where the cell is chosen on one half of the seeds and judged on the other: free of
            that optimism. None below two common seeds.
        contenders: the cells that cannot be told from the best, by falling mean; ``best`` is the first. With
            probability ``level`` or more the truly best cell is among them.
        runner_up: the cell with the second highest mean; None if there is one cell.
        margin: utility of ``best`` minus that of ``runner_up``; None without a common seed.
        p_value: of "``best`` is not better than every other cell".
        level: of confidence.
    """

    best: int
    utility: Estimate
    held_out: Estimate | None
    contenders: tuple[int, ...]
    runner_up: int | None
    margin: Estimate | None
    p_value: float
    level: float


def best_of(evidence: Evidence, cells: Sequence[Cell] | None = None, *, level: float = 0.95) -> Winner:
    """The best of ``cells`` (by default all private ones), compared with all others at once.

    A cell is no contender where some other cell beats it: by Student's t on the differences by seed (by
    the means where the evidence is not paired), the p-value times the number of other cells (Bonferroni). The
    truly best cell has to survive only its own comparisons, so the set holds it with probability ``level``
    (as in Hsu's comparison with the best, 1981), with no correction for how many cells are asked about.

    It assumes differences that are near enough normal. With few seeds and many cells hardly any cell is
    excluded: that is what so few seeds show. Cells without a finite score are left out.

    Raises:
        ValueError: no cell has a finite score.
    """
    known = [cell for cell in (evidence.private if cells is None else cells) if evidence.values(cell).size]
    if not known:
        raise ValueError(
            "the best needs cells with a finite score, found none; pass cells that were measured"
        )
    table = utilities(evidence, known)
    means = np.nanmean(table, axis=1)
    order = np.argsort(-means.round(12), kind="stable")
    rows = rows_behind(evidence, *known)
    beaten = _p_beaten(table, rows, paired=evidence.paired)
    best = int(order[0])
    contenders = [known[i].index for i in order if i == best or beaten[i] > 1 - level]
    runner_up = known[int(order[1])] if len(known) > 1 else None
    complete = table[:, np.isfinite(table).all(axis=0)]
    return Winner(
        best=known[best].index,
        utility=summarised(evidence.utilities(known[best]), num_test=rows),
        held_out=fitted_estimate(cross_fitted(complete), num_test=rows) if complete.shape[1] > 1 else None,
        contenders=tuple(contenders),
        runner_up=None if runner_up is None else runner_up.index,
        margin=None if runner_up is None else difference_of(evidence, known[best], runner_up),
        p_value=float(np.delete(beaten, best).max(initial=0.0)) if runner_up is not None else 1.0,
        level=level,
    )


def utilities(evidence: Evidence, cells: Sequence[Cell]) -> NDArray[np.float64]:
    """``(cells, seeds)``: utility by cell and seed, over all seeds of any of them; NaN where not measured."""
    measured = [evidence.measured(cell) for cell in cells]
    seeds = np.unique(np.concatenate([found for found, _ in measured]))
    table = np.full((len(cells), seeds.size), np.nan)
    for row, (found, values) in zip(table, measured, strict=True):
        row[np.searchsorted(seeds, found)] = values if evidence.maximize else -values
    return table


def _p_beaten(table: NDArray[np.float64], num_test: int | None, *, paired: bool) -> NDArray[np.float64]:
    """``(cells,)``: p-value of "no other cell is better than this one", corrected for how many there are."""
    known = np.isfinite(table)
    centred = table - np.nanmean(table, axis=0, keepdims=True) if paired else table
    filled = np.where(known, centred, 0.0)
    rivals = np.argsort(-np.nanmean(table, axis=1), kind="stable")[:_MOST_RIVALS]
    compare = _paired_t if paired else _unpaired_t
    least = _least_p(*compare(filled, known, rivals, num_test))
    return np.minimum(least * (len(table) - 1), 1.0)


def _paired_t(
    filled: NDArray[np.float64], known: NDArray[np.bool_], rivals: NDArray[np.int64], num_test: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The t of "the rival beats the cell" and the common seeds, ``(cells, rivals)``."""
    mask = known.astype(np.float64)
    theirs, their_mask = filled[rivals], mask[rivals]
    n = mask @ their_mask.T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (mask @ theirs.T - filled @ their_mask.T) / n
        squares = mask @ (theirs**2).T + filled**2 @ their_mask.T - 2 * filled @ theirs.T
        variance = (squares - n * mean**2).clip(min=0) / (n - 1)
        return _t(mean, variance, n, num_test), n.astype(np.int64)


def _unpaired_t(
    filled: NDArray[np.float64], known: NDArray[np.bool_], rivals: NDArray[np.int64], num_test: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As `_paired_t`, over seeds with nothing in common; degrees of freedom of the smaller sample."""
    n = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=1) / n
        spread = np.where(known, filled - mean[:, None], 0.0)
        error = (spread**2).sum(axis=1) / (n - 1) / n
        smaller = np.minimum(n[:, None], n[None, rivals])
        variance = (error[:, None] + error[None, rivals]) * smaller
        return _t(mean[None, rivals] - mean[:, None], variance, smaller, num_test), smaller


def _t(
    mean: NDArray[np.float64], variance: NDArray[np.float64], n: NDArray[np.float64], num_test: int | None
) -> NDArray[np.float64]:
    if num_test is not None:
        variance = np.maximum(variance, least_sd(mean, num_test) ** 2)
    t = mean / np.sqrt(variance / n)
    flat = (variance <= (NO_SPREAD * mean) ** 2) & (n >= 2)
    for count in np.unique(n[flat]):
        t[flat & (n == count)] = fallback_t(int(count))
    return np.where((n >= 2) & (mean > 0), t, -np.inf)


def _least_p(t: NDArray[np.float64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each row's least one-sided p-value."""
    from scipy.special import stdtr

    least = np.ones(len(t))
    for count in np.unique(n[n >= 2]):
        highest = np.where(n == count, t, -np.inf).max(axis=1)
        least = np.minimum(least, stdtr(count - 1, -highest))
    return least
