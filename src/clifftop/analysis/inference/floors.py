"""How little the values of seeds may spread before their spread is no longer believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

NO_SPREAD = 1e-6
"""A standard deviation below this share of the mean is taken for rounding."""


def least_sd(difference: ArrayLike, num_test: int) -> NDArray[np.float64]:
    """The least standard deviation that a difference of two shares of ``num_test`` rows can honestly have.

    Two models whose shares of right answers differ by d disagree on at least d M of the M rows. Other
    rows would give another d, with standard deviation ``sqrt(d (1 - d) / M)`` or more (equality when no row
    is lost, as in McNemar's test). One row is the least that is counted. Seeds that agree better than that
    do so by chance, or because they share their rows; either way it proves nothing about other rows.

    >>> print(least_sd(0.2, 100), least_sd(0.0, 100).round(4))
    0.04 0.0099
    """
    share = np.abs(np.asarray(difference, dtype=np.float64)).clip(1 / num_test, max(1 - 1 / num_test, 0))
    return np.sqrt(share * (1 - share) / num_test)


def rows_behind(evidence: Evidence, *cells: Cell) -> int | None:
    """``num_test`` where the metric is a share of test rows in these cells, else None.

    A share of M rows is a multiple of 1/M between 0 and 1; a loss is not.
    """
    count = evidence.num_test
    if count is None or count < 2:
        return None
    counts = np.concatenate([evidence.values(cell) for cell in cells]) * count if cells else np.empty(0)
    whole = np.abs(counts - counts.round()) < 1e-3
    inside = (counts > -0.5) & (counts < count + 0.5)
    return count if bool(np.all(whole & inside)) else None


def fallback_t(n: int) -> float:
    """The t statistic that has the sign test's p-value, ``2**-n``; for values without any spread.

    n differences that are symmetric about zero are all positive with probability at most 2**-n, whatever
    their law; that much n equal differences prove, and not more.
    """
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - 0.5**n)) if n > 1 else -math.inf
