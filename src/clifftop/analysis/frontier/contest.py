"""The best of some cells against the best of others, whichever these are: a bound on each side, and p-values.

Judging the best of many by its own mean favours the side with more cells. Choosing on the other seeds
removes that from the mean, but not from its spread: where several cells are about equally good the choice
jumps between them, and a t-interval of such values is much too narrow. (In simulation, ten equal settings a
side and 20 seeds, a t-test on held-out values called two equal methods different in 32% of cases.)

So the bounds are on the difference of the best *true* means. Let a be the cell of this side with the
largest mean, chosen among K. For every cell b of the other side, ``mean(a) - mean(b) - c se(a, b)`` lies
below the true difference of a and b except with probability 2.5%, where c is the quantile of
``Z / sqrt(chi2 / dof)`` for the largest Z of K standard normals. In normal samples the means, by which a
is chosen, are independent of the spreads, so with one spread the chance is at most the mean of
``min(1, K (1 - Phi(c s)))`` over s, however the cells depend on each other. The other side's truly best
cell is one of the b, so the least of these bounds holds for it (intersection-union; compare J. C. Hsu,
"Simultaneous confidence intervals for all distances from the best", Annals of Statistics 9, 1981).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np

from clifftop.analysis.frontier.table import Floats, Ints, SeedTable
from clifftop.analysis.inference.floors import NO_SPREAD, fallback_t, least_sd
from clifftop.analysis.uncertainty import Estimate

ALPHA = 0.05
_FAR = 0.999
_GRID = 2000


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
    if table.counts[own[0]] < 2 or table.counts[other[0]] < 2:
        return Lead()
    low, p_more = _ahead(table, own, other, num_test)
    high, p_less = _ahead(table, other, own, num_test)
    return Lead(low=low, high=-high, p_more=p_more, p_less=p_less)


def best_between(table: SeedTable, rows: Ints) -> Lead:
    """Between which values the best true utility of some rows lies, as `Lead.low` and `Lead.high`.

    Below: the best mean less c standard errors. Above: the truly best cell lies below its own one-sided
    t-bound except with probability 2.5%, so the largest of these bounds will do.
    """
    from scipy.special import stdtrit

    found = rivals(table, rows)
    if table.counts[found[0]] < 2:
        return Lead()
    errors = _stds(table, found) / np.sqrt(table.counts[found])
    c = quantile_of_largest(found.size, int(table.counts[found[0]]) - 1)
    dof = np.where(table.counts[found] > 1, table.counts[found], table.counts[found[0]]) - 1
    highs = table.means[found] + stdtrit(dof, 1 - ALPHA / 2) * errors
    return Lead(low=float(table.means[found[0]] - c * errors[0]), high=float(highs.max()))


def rivals(table: SeedTable, rows: Ints) -> Ints:
    """The rows that the best of them does not beat by far (one-sided p below 0.001), by falling mean.

    The best is the one with the largest mean among those with two seeds, if there are such. A cell with a
    single seed is always a rival: how far it could have come is not known.
    """
    from scipy.special import stdtrit

    means, counts = table.means[rows], table.counts[rows]
    order = rows[np.lexsort((-means, counts < min(2, counts.max())))]
    n = np.minimum(table.counts[order], table.counts[order[0]])
    errors = _stds(table, order) / np.sqrt(table.counts[order])
    far = stdtrit(np.maximum(n - 1, 1), _FAR) * np.hypot(errors, errors[0])
    return order[(table.means[order[0]] - table.means[order] <= far) | (n < 2)]


@lru_cache(maxsize=4096)
def quantile_of_largest(count: int, dof: int) -> float:
    """c: the largest of ``count`` normals, divided by ``sqrt(chi2 / dof)``, exceeds it with at most 2.5%.

    >>> round(quantile_of_largest(1, 9), 2), round(quantile_of_largest(10, 9), 2)
    (2.26, 3.39)
    """
    low, high = 0.0, 2.0
    while p_of_largest(high, count, dof) > ALPHA / 2:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if p_of_largest(middle, count, dof) > ALPHA / 2 else (low, middle)
    return high


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
    leads, errors, dofs = _differences(table, int(own[0]), other, num_test)
    low, p_value = np.inf, 0.0
    for dof in np.unique(dofs).tolist():
        at = dofs == dof
        low = min(low, float((leads[at] - quantile_of_largest(own.size, dof) * errors[at]).min()))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = float(np.where(leads[at] == 0, 0.0, leads[at] / errors[at]).min())
        p_value = max(p_value, p_of_largest(t, own.size, dof))
    return low, p_value


def _differences(table: SeedTable, a: int, rows: Ints, num_test: int | None) -> tuple[Floats, Floats, Ints]:
    """``(B,)``: mean of ``a`` minus each row's, its standard error, and its degrees of freedom.

    On common columns where there are two; else by the means, as Welch and Satterthwaite have it.
    """
    apart = table.utilities[a] - table.utilities[rows]
    common = np.isfinite(apart).sum(axis=1) * int(table.aligned)
    paired = common > 1
    n = np.maximum(common, 1)
    mean = np.where(paired, np.nansum(apart, axis=1) / n, table.means[a] - table.means[rows])
    squares = np.nansum((apart - mean[:, None]) ** 2, axis=1)
    stds, counts = _stds(table, np.append(rows, a)), table.counts[np.append(rows, a)]
    parts = np.stack([stds[:-1] ** 2 / counts[:-1], np.full(rows.size, stds[-1] ** 2 / counts[-1])])
    freedom = np.stack([np.maximum(counts[:-1] - 1, 1), np.full(rows.size, counts[-1] - 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = parts.sum(axis=0) ** 2 / (parts**2 / freedom).sum(axis=0)
    dof = np.where(paired, n - 1, np.nan_to_num(welch, nan=1.0).clip(1)).astype(np.intp)
    size = np.where(paired, n, np.minimum(counts[:-1], counts[-1]))
    variance = np.where(paired, squares / np.maximum(n - 1, 1) / n, parts.sum(axis=0))
    return mean, np.sqrt(_believed(mean, variance, size, num_test)), dof


def _believed(mean: Floats, variance: Floats, n: Ints, num_test: int | None) -> Floats:
    """Variances of differences that are not smaller than so few rows, or so few seeds, can show."""
    if num_test is not None:
        return np.maximum(variance, least_sd(np.minimum(np.abs(mean), 1.0), num_test) ** 2 / n)
    flat = np.flatnonzero((variance * n <= (NO_SPREAD * mean) ** 2) & (mean != 0))
    for at in flat:
        variance[at] = (mean[at] / max(fallback_t(int(n[at])), 1e-3)) ** 2
    return variance


def _stds(table: SeedTable, rows: Ints) -> Floats:
    """Standard deviations over seeds; a cell with one seed is given the pooled one of the table."""
    known = table.stds[table.counts > 1]
    pooled = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
    return np.where(table.counts[rows] > 1, table.stds[rows], pooled)
