"""The best of some cells against the best of others, whichever these are: a bound on each side, and p-values.

Judging the best of many by its own mean favours the side with more cells. Choosing on the other seeds
removes that from the mean, but not from its spread: where several cells are about equally good the choice
jumps between them, and a t-interval of such values is much too narrow. (In simulation, ten equal settings a
side and 20 seeds, a t-test on held-out values called two equal methods different in 32% of cases.)

So the bounds are on the difference of the best *true* means. Let a be the cell of this side with the
largest mean, chosen among K. For every cell b of the other side, ``mean(a) - mean(b) - c se(a, b)`` lies
below the true difference of a and b except with probability 2.5%, where c is the quantile of
``Z / sqrt(chi2 / dof)`` for the largest Z of K standard normals. In normal samples the means, by which a
is chosen, are independent of the spreads, so the chance is at most the mean of
``min(1, K (1 - Phi(c s)))`` over s = ``sqrt(chi2 / dof)``, however the cells depend on each other. The
other side's truly best cell is one of the b, so the least of these bounds holds for it
(intersection-union; compare J. C. Hsu, "Simultaneous confidence intervals for all distances from the
best", Annals of Statistics 9, 1981). Standard errors are those of `clifftop.analysis.frontier.spreads`: exact
with one cell a side, an approximation with more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.frontier.spreads import Errors, errors_of_differences, errors_of_means
from clifftop.analysis.frontier.table import Floats, Ints, SeedTable
from clifftop.analysis.inference.floors import NO_SPREAD, fallback_t, least_sd
from clifftop.analysis.uncertainty import Estimate

ALPHA = 0.05
_FAR = 0.999
_GRID = 600


@final
@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far the best of one side lies above the best of the other.

    Attributes:
        low: 97.5% sure to lie below the lead; None where nothing is known of the spread.
        high: 97.5% sure to lie above it.
        p_more: of "the best of this side is not better".
        p_less: of "the best of this side is not worse".
    """

    low: float | None = None
    high: float | None = None
    p_more: float = 1.0
    p_less: float = 1.0

    def around(self, found: Estimate) -> Estimate:
        """An estimate with this interval in place of its own, widened if need be to hold the mean."""
        if self.low is None or self.high is None:
            return replace(found, ci95=None)
        return replace(found, ci95=(min(self.low, found.mean), max(self.high, found.mean)))

    def at_least_zero(self) -> Lead:
        """The lead of this side over both: never negative."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, 0.0), high=max(self.high, 0.0))


def contest(table: SeedTable, mine: Ints, theirs: Ints, *, num_test: int | None = None) -> Lead:
    """The lead of the best of some rows over the best of others; nothing is known without two seeds a side.

    Args:
        table: holds the rows of both sides.
        mine: rows of this side, at least one.
        theirs: rows of the other side, at least one.
        num_test: test rows where utilities are shares of them: seeds that agree by more than so few rows
            allow are not believed (`clifftop.analysis.inference.least_sd`).
    """
    own, other = rivals(table, mine), rivals(table, theirs)
    if min(table.counts[own].min(), table.counts[other].min()) < 2:
        return Lead()
    low, p_more = _ahead(table, own, other, num_test)
    high, p_less = _ahead(table, other, own, num_test)
    return Lead(low=low, high=0.0 - high, p_more=p_more, p_less=p_less)


def best_between(table: SeedTable, rows: Ints) -> Lead:
    """Between which values the best true utility of some rows lies, as `Lead.low` and `Lead.high`.

    Below: the best mean less c standard errors. Above: the truly best cell lies below its own one-sided
    t-bound except with probability 2.5%, so the largest of these bounds will do.
    """
    from scipy.special import stdtrit

    found = rivals(table, rows)
    if table.counts[found].min() < 2:
        return Lead()
    near = errors_of_means(table, found)
    c = quantile_of_largest(found.size, int(near.dofs[0]))
    highs = table.means[found] + stdtrit(near.dofs, 1 - ALPHA / 2) * near.errors
    return Lead(low=float(table.means[found[0]] - c * near.errors[0]), high=float(highs.max()))


def eligible(counts: Ints) -> NDArray[np.bool_]:
    """Which cells have seeds enough to be compared: half as many as the most, and two if one has two.

    >>> eligible(np.array([10, 5, 4])), eligible(np.array([2, 1])), eligible(np.array([1, 1]))
    (array([ True,  True, False]), array([ True, False]), array([ True,  True]))
    """
    most = counts.max(initial=0)
    return counts >= max(min(2, most), most / 2)


def rivals(table: SeedTable, rows: Ints) -> Ints:
    """The `eligible` rows that the best of them does not beat by far (one-sided p below 0.001).

    By falling mean. A cell with too few seeds beside the others is no rival: its luck cannot be judged.
    """
    from scipy.special import stdtrit

    some = rows[eligible(table.counts[rows])]
    order = some[np.argsort(-table.means[some], kind="stable")]
    errors = np.nan_to_num(table.stds[order]) / np.sqrt(table.counts[order])
    n = np.minimum(table.counts[order], table.counts[order[0]])
    far = stdtrit(np.maximum(n - 1, 1), _FAR) * np.hypot(errors, errors[0])
    return order[(table.means[order[0]] - table.means[order] <= far) | (n < 2)]


@lru_cache(maxsize=4096)
def quantile_of_largest(count: int, dof: int) -> float:
    """c: the largest of ``count`` normals, divided by ``sqrt(chi2 / dof)``, exceeds it with at most 2.5%.

    >>> round(quantile_of_largest(1, 9), 2), round(quantile_of_largest(10, 9), 2)
    (2.26, 3.68)
    """
    from scipy.optimize import brentq

    high = 2.0
    while p_of_largest(high, count, dof) > ALPHA / 2:
        high *= 2

    def beyond(t: float) -> float:
        return p_of_largest(t, count, dof) - ALPHA / 2

    root: Any = brentq(beyond, 0.0, high, xtol=1e-6)  # a float: the full output was not asked for
    return float(root)


def p_of_largest(t: float, count: int, dof: int) -> float:
    """A bound on the chance that the largest of ``count`` normals over ``sqrt(chi2 / dof)`` exceeds ``t``.

    >>> round(p_of_largest(2.262, 1, 9), 4)
    0.025
    """
    from scipy.special import ndtr

    spread, weights = _spreads(dof)
    return min(1.0, float(weights @ np.minimum(1.0, count * ndtr(-t * spread))))


@lru_cache(maxsize=1024)
def _spreads(dof: int) -> tuple[Floats, Floats]:
    """Values of ``sqrt(chi2 / dof)`` and their probabilities, finest where it is small."""
    from scipy.special import gammaincinv

    even = (np.arange(_GRID) + 0.5) / _GRID
    return np.sqrt(2 * gammaincinv(dof / 2, even**4) / dof), 4 * even**3 / _GRID


def _ahead(table: SeedTable, own: Ints, other: Ints, num_test: int | None) -> tuple[float, float]:
    """The least 97.5% sure lead of the best of ``own`` over the best of ``other``, and its p-value."""
    near = errors_of_differences(table, own, other)
    leads = table.means[own[0]] - table.means[other]
    errors = _believed(leads, near, num_test)
    low, p_value = np.inf, 0.0
    for dof in np.unique(near.dofs).tolist():
        at = near.dofs == dof
        low = min(low, float((leads[at] - quantile_of_largest(own.size, dof) * errors[at]).min()))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = float(np.where(leads[at] == 0, 0.0, leads[at] / errors[at]).min())
        p_value = max(p_value, p_of_largest(t, own.size, dof))
    return low, p_value


def _believed(leads: Floats, near: Errors, num_test: int | None) -> Floats:
    """Standard errors that are not smaller than so few rows, or so few seeds, can show."""
    if num_test is not None:
        least = least_sd(np.minimum(np.abs(leads), 1.0), num_test) / np.sqrt(near.n)
        return np.maximum(near.errors, least)
    # Differences without any spread prove what a sign test proves.
    flat = near.errors * np.sqrt(near.n) <= NO_SPREAD * np.abs(leads)
    return np.where(flat & (leads != 0), np.abs(leads) / max(fallback_t(near.n), 1e-3), near.errors)
