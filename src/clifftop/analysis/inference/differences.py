"""Differences between settings, paired by seed or not, and how sure their sign is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clifftop.analysis.inference.floors import NO_SPREAD, least_sd, rows_behind
from clifftop.analysis.uncertainty import Estimate, t_half_width

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence


def paired_difference(a: ArrayLike, b: ArrayLike, *, num_test: int | None = None) -> Estimate:
    """The mean of ``a - b`` over the seeds that both have, with its 95% t-interval.

    What the runs of one seed have in common (data, initialisation, batches) cancels. The interval assumes
    that the differences are independent over seeds and near enough normal.

    Args:
        a: ``(n,)``, one value a seed.
        b: ``(n,)``, the same seeds in the same order. A pair with a value that is not finite is left out.
        num_test: test rows, where values are shares of them: the interval is then never narrower than
            `least_sd` allows. Without it equal differences give an interval without width.

    Raises:
        ValueError: the lengths differ, or no pair is left.

    >>> paired_difference([0.9, 0.7, 0.8], [0.85, 0.66, 0.74]).ci95  # doctest: +ELLIPSIS
    (0.0251..., 0.0748...)
    """
    return summarised(_pairs(a, b), num_test=num_test)


def summarised(values: ArrayLike, *, num_test: int | None = None) -> Estimate:
    """The mean of differences already taken or of scores, ``(n,)``, as `paired_difference` has it.

    >>> summarised([0.9, 0.9, 0.9], num_test=100).ci95  # doctest: +ELLIPSIS
    (0.8254..., 0.9745...)
    """
    kept = _finite(values)
    if kept.size == 0:
        raise ValueError("a mean needs a seed that was measured on both sides, found n=0; run shared seeds")
    mean, n = float(kept.mean()), kept.size
    if n < 2:
        return Estimate(mean=mean, std=0.0, n=n, ci95=None)
    half = t_half_width(std=_honest_sd(kept, num_test), n=n)
    return Estimate(mean=mean, std=float(kept.std()), n=n, ci95=(mean - half, mean + half))


def welch_difference(a: ArrayLike, b: ArrayLike, *, num_test: int | None = None) -> Estimate:
    """The difference of two means over seeds that have nothing in common, with Welch's 95% interval.

    ``n`` is the smaller number of seeds and ``std`` the root of the sum of both population variances.

    Raises:
        ValueError: one of the two is empty.

    >>> welch_difference([0.9, 0.8, 0.7], [0.3, 0.4, 0.2]).ci95  # doctest: +ELLIPSIS
    (0.2733..., 0.7266...)
    """
    first, second = _finite(a), _finite(b)
    if not first.size or not second.size:
        raise ValueError(
            f"a difference needs a value on both sides, found n={first.size} "
            f"and n={second.size}; run more seeds"
        )
    mean = float(first.mean() - second.mean())
    std = math.sqrt(float(first.var() + second.var()))
    error, df = _welch(first, second, num_test)
    n = min(first.size, second.size)
    if n < 2:
        return Estimate(mean=mean, std=std, n=n, ci95=None)
    half = _t_quantile(0.975, df) * error
    return Estimate(mean=mean, std=std, n=n, ci95=(mean - half, mean + half))


def p_greater(differences: ArrayLike, *, than: float = 0.0, num_test: int | None = None) -> float:
    """One-sided p-value of "the mean difference is not greater than ``than``", by Student's t.

    Small is evidence for a greater mean. It is 1 below two seeds: one run shows nothing about others.
    Equal differences have no spread to judge by: the spread is then taken as `least_sd` has it where
    ``num_test`` is given, and else the p-value is the sign test's, ``2**-n``.

    >>> p_greater([0.05, 0.04, 0.06]) < 0.01, p_greater([0.3])
    (True, 1.0)
    >>> p_greater([0.3, 0.3, 0.3]), round(p_greater([0.3, 0.3, 0.3], num_test=100), 4)
    (0.125, 0.0038)
    """
    kept = _finite(differences) - than
    n = kept.size
    if n < 2:
        return 1.0
    mean, sd = float(kept.mean()), _honest_sd(kept + than, num_test)
    if sd <= NO_SPREAD * abs(mean):
        return 0.5**n if mean > 0 else 1.0
    if sd == 0:
        return 1.0
    return _p_above(mean / sd * math.sqrt(n), n - 1)


def p_greater_unpaired(
    a: ArrayLike, b: ArrayLike, *, than: float = 0.0, num_test: int | None = None
) -> float:
    """`p_greater` for the means of seeds that have nothing in common, by Welch's t.

    >>> p_greater_unpaired([0.9, 0.8, 0.85], [0.3, 0.4, 0.35]) < 0.001
    True
    """
    first, second = _finite(a), _finite(b)
    n = min(first.size, second.size)
    if n < 2:
        return 1.0
    mean = float(first.mean() - second.mean()) - than
    error, df = _welch(first, second, num_test)
    if error <= NO_SPREAD * abs(mean):
        return 0.5**n if mean > 0 else 1.0
    return _p_above(mean / error, df) if error > 0 else 1.0


def difference_of(evidence: Evidence, a: Cell, b: Cell) -> Estimate | None:
    """Utility of ``a`` minus that of ``b``: paired where the evidence is; None without a common seed."""
    num_test, sign = rows_behind(evidence, a, b), 1.0 if evidence.maximize else -1.0
    if evidence.paired:
        differences = evidence.differences(a, b)
        return summarised(sign * differences, num_test=num_test) if differences.size else None
    first, second = evidence.utilities(a), evidence.utilities(b)
    return welch_difference(first, second, num_test=num_test) if first.size and second.size else None


def p_better(evidence: Evidence, a: Cell, b: Cell, *, than: float = 0.0) -> float:
    """p-value of "the utility of ``a`` is not above that of ``b`` by more than ``than``"."""
    num_test, sign = rows_behind(evidence, a, b), 1.0 if evidence.maximize else -1.0
    if evidence.paired:
        return p_greater(sign * evidence.differences(a, b), than=than, num_test=num_test)
    return p_greater_unpaired(evidence.utilities(a), evidence.utilities(b), than=than, num_test=num_test)


def _pairs(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"paired values must be of the same seeds, found {first.shape} and {second.shape}; "
            "keep the seeds that both have, in one order"
        )
    return first - second


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def _honest_sd(differences: NDArray[np.float64], num_test: int | None) -> float:
    sd = float(differences.std(ddof=1))
    return sd if num_test is None else max(sd, float(least_sd(differences.mean(), num_test)))


def _welch(a: NDArray[np.float64], b: NDArray[np.float64], num_test: int | None) -> tuple[float, float]:
    """Standard error of the difference of means, and its degrees of freedom (Welch and Satterthwaite)."""
    if min(a.size, b.size) < 2:
        return 0.0, 1.0
    parts = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    total = float(parts.sum())
    if total == 0:
        df = float(min(a.size, b.size) - 1)
    else:
        df = total**2 / float((parts**2 / (np.array([a.size, b.size]) - 1)).sum())
    if num_test is not None:
        floor = float(least_sd(a.mean() - b.mean(), num_test)) ** 2 / min(a.size, b.size)
        total = max(total, floor)
    return math.sqrt(total), df


def _p_above(t: float, df: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def _t_quantile(probability: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))
