"""Intervals for statistics that are no means: by resampling the seeds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENOUGH_FOR_BCA = 10
RESAMPLES = 1999


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    rng_seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """An interval for a statistic of the seeds, by the bootstrap.

    From ten seeds on it is SciPy's bias-corrected and accelerated interval (Efron 1987). Below, resampling so
    few values gives intervals that are much too short, so it is ``statistic +- t(n - 1) x standard error``
    with the bootstrap's standard error times ``sqrt(n / (n - 1))``: for a mean, that is the t-interval.
    Below two seeds it is all of the line, since one value shows no spread.

    Args:
        values: ``(n, ...)``; one row a seed, and rows are drawn whole, so that what a seed's values have in
            common stays together.
        statistic: from such rows to a number, smooth in them. For the place of a maximum, a count or a
            minimum no bootstrap interval has its level.
        rng_seed: equal seeds give equal intervals.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: there are no values.

    >>> low, high = bootstrap_interval([0.83, 0.88, 0.71], np.mean, rng_seed=0)
    >>> round(low, 2), round(high, 2)
    (0.59, 1.02)
    >>> bootstrap_interval([0.83], np.mean, rng_seed=0)
    (-inf, inf)
    """
    rows = np.asarray(values, dtype=np.float64)
    n = rows.shape[0] if rows.ndim else 0
    if n == 0:
        raise ValueError("an interval needs at least one value, found n=0; pass one value a seed")
    if n < 2:
        return -math.inf, math.inf
    rng = np.random.default_rng(rng_seed)
    if n < ENOUGH_FOR_BCA:
        return _t_interval(rows, statistic, rng, level)
    return _bca(rows, statistic, rng, level)


def _t_interval(
    rows: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    rng: np.random.Generator,
    level: float,
) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = rows.shape[0]
    drawn = [statistic(rows[picked]) for picked in rng.integers(n, size=(RESAMPLES, n))]
    error = float(np.std(drawn)) * math.sqrt(n / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * error
    centre = float(statistic(rows))
    return centre - half, centre + half


def _bca(
    rows: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], float],
    rng: np.random.Generator,
    level: float,
) -> tuple[float, float]:
    centre = float(statistic(rows))
    if np.all(rows == rows[0]):
        return centre, centre
    from scipy.stats import DegenerateDataWarning, bootstrap

    def of_places(picked: NDArray[np.intp]) -> float:
        return statistic(rows[picked])

    places = np.arange(rows.shape[0])
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (places,),
            of_places,
            n_resamples=RESAMPLES,
            vectorized=False,
            confidence_level=level,
            method="BCa",
            rng=rng,
        )
    low, high = map(float, found.confidence_interval)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    tail = (1 - level) / 2  # the correction has no value where the statistic hardly moves
    low, high = np.quantile(found.bootstrap_distribution, [tail, 1 - tail])
    return float(low), float(high)
