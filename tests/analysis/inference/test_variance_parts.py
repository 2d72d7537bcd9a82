"""Where variance comes from, and how many seeds a precision takes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clifftop.analysis.inference import binomial_interval, seeds_needed, variance_parts
from clifftop.analysis.uncertainty import t_half_width
from clifftop.testing.frontiers import TestRows, level, simulated_evidence


def one_level(rows, *, seeds=2000, seed_sd=0.02, num_test=200):
    evidence = simulated_evidence(
        rng=np.random.default_rng(0),
        frontier=level(0.8),
        epsilons=(1.0,),
        seeds=seeds,
        seed_sd=seed_sd,
        own_sd=0.0,
        num_test=num_test,
        test_rows=rows,
    )
    return evidence, evidence.private[0]


def test_planted_parts_are_recovered_where_rows_are_redrawn():
    parts = variance_parts(*one_level(TestRows.REDRAWN), redrawn=True)
    assert parts.test_set == pytest.approx(0.8 * 0.2 / 200, rel=0.05)
    assert parts.seeds == pytest.approx(0.02**2, rel=0.25)
    assert parts.total == pytest.approx(parts.test_set + parts.seeds)
    assert parts.standard_error() == pytest.approx(math.sqrt(parts.total / 2000))
    assert parts.standard_error(500) == pytest.approx(2 * parts.standard_error())


def test_the_binomial_part_is_without_bias():
    """Few rows: p(1 - p)/M of the scores would be 1 - 1/M times too small."""
    rng = np.random.default_rng(0)
    scores = rng.binomial(4, 0.5, size=20_000) / 4
    assert (scores * (1 - scores)).mean() / 3 == pytest.approx(0.25 / 4, rel=0.02)


def test_shared_rows_bound_what_seeds_can_give():
    parts = variance_parts(*one_level(TestRows.FIXED))
    assert parts.seeds == parts.total
    assert parts.standard_error(10**9) == pytest.approx(math.sqrt(parts.test_set), rel=1e-3)
    assert parts.standard_error(1) > parts.standard_error(10)


def test_seeds_alone_give_no_less_than_nothing():
    parts = variance_parts(*one_level(TestRows.REDRAWN, seed_sd=0.0, seeds=3), redrawn=True)
    assert parts.seeds >= 0


def test_none_where_there_is_nothing_to_part():
    assert variance_parts(*one_level(TestRows.OWN, seeds=1)) is None
    assert variance_parts(*one_level(TestRows.OWN, num_test=None)) is None


@pytest.mark.parametrize(("right", "rows"), [(0, 10), (3, 10), (10, 10), (97, 100)])
def test_binomial_interval_is_that_of_scipy(right, rows):
    theirs = stats.binomtest(right, rows).proportion_ci(method="exact")
    assert binomial_interval(right / rows, num_test=rows) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(("score", "rows"), [(1.2, 10), (-0.1, 10), (0.5, 0)])
def test_what_is_no_share_is_refused(score, rows):
    with pytest.raises(ValueError, match="must be a share"):
        binomial_interval(score, num_test=rows)


@given(st.floats(1e-4, 1.0), st.floats(1e-3, 1.0))
@settings(derandomize=True, max_examples=60)
def test_the_fewest_seeds_that_do(sd, half_width):
    n = seeds_needed(sd, half_width=half_width)
    assert t_half_width(std=sd, n=n) <= half_width
    assert n == 2 or t_half_width(std=sd, n=n - 1) > half_width


def test_the_interval_has_the_promised_width_on_average():
    n = seeds_needed(0.02, half_width=0.01)
    rng = np.random.default_rng(0)
    halves = [t_half_width(std=float(rng.normal(0, 0.02, n).std(ddof=1)), n=n) for _ in range(400)]
    assert np.mean(halves) == pytest.approx(0.01, rel=0.05)


def test_no_spread_and_wrong_arguments():
    assert seeds_needed(0.0, half_width=0.01) == 2
    for sd, half_width in ((-1.0, 0.1), (math.inf, 0.1), (0.1, 0.0)):
        with pytest.raises(ValueError, match="half_width above 0"):
            seeds_needed(sd, half_width=half_width)
