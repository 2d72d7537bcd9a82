"""Bootstrap intervals, from one seed to many."""

import math

import numpy as np
import pytest

from clifftop.analysis.inference import bootstrap_interval
from clifftop.analysis.uncertainty import estimate


def ratio(rows):
    return float(rows[:, 0].mean() / rows[:, 1].mean())


def test_one_value_shows_no_spread_and_none_is_refused():
    assert bootstrap_interval([0.5], np.mean, rng_seed=0) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="n=0"):
        bootstrap_interval([], np.mean, rng_seed=0)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_few_values_give_the_t_interval_of_a_mean(n):
    values = np.random.default_rng(n).normal(size=n)
    found = bootstrap_interval(values, np.mean, rng_seed=0)
    assert found == pytest.approx(estimate(values).ci95, rel=0.1, abs=0.05)


@pytest.mark.parametrize("n", [3, 12])
def test_equal_values_give_no_width(n):
    assert bootstrap_interval(np.full(n, 0.25), np.mean, rng_seed=0) == (0.25, 0.25)


def test_a_statistic_that_never_moves():
    values = np.arange(12.0)
    assert bootstrap_interval(values, lambda _: 1.0, rng_seed=0) == (1.0, 1.0)


def test_rows_stay_together():
    """A ratio of strongly correlated columns is known far better than from the columns apart."""
    rng = np.random.default_rng(0)
    common = rng.lognormal(0, 1, size=20)
    rows = np.stack([2 * common * rng.normal(1, 0.01, 20), common], axis=1)
    low, high = bootstrap_interval(rows, ratio, rng_seed=0)
    assert low < 2 < high
    assert high - low < 0.05


def test_equal_seeds_give_equal_intervals():
    values = np.random.default_rng(1).normal(size=15)
    first = bootstrap_interval(values, np.median, rng_seed=4)
    assert bootstrap_interval(values, np.median, rng_seed=4) == first
    wide = bootstrap_interval(values, np.median, rng_seed=4, level=0.99)
    assert wide[0] <= first[0] < first[1] <= wide[1]


@pytest.mark.parametrize("n", [3, 12])
def test_coverage(n):
    """Of 60 intervals at 95%, 51 or fewer cover with a chance below one in 5,000."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(60):
        low, high = bootstrap_interval(rng.normal(1.0, 1.0, size=n), lambda v: float(v.mean()), rng_seed=1)
        covered += low < 1 < high
    assert covered >= 52
