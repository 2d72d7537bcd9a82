"""Differences between settings: intervals, p-values, and few or equal seeds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clifftop.analysis.inference import (
    difference_of,
    least_sd,
    p_better,
    p_greater,
    p_greater_unpaired,
    paired_difference,
    rows_behind,
    summarised,
    welch_difference,
)
from clifftop.testing.frontiers import TestRows, level, simulated_evidence

A, B = np.array([0.91, 0.84, 0.88, 0.95]), np.array([0.86, 0.83, 0.81, 0.93])


def test_paired_is_the_one_sample_t_of_scipy():
    found = paired_difference(A, B)
    low, high = stats.ttest_rel(A, B).confidence_interval()
    assert found.ci95 == pytest.approx((low, high))
    assert (found.mean, found.n) == (pytest.approx((A - B).mean()), 4)
    assert p_greater(A - B) == pytest.approx(stats.ttest_rel(A, B, alternative="greater").pvalue)
    assert p_greater(A - B, than=0.02) == pytest.approx(
        stats.ttest_1samp(A - B, 0.02, alternative="greater").pvalue
    )


def test_welch_is_that_of_scipy():
    a, b = A, B[:3]
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert welch_difference(a, b).ci95 == pytest.approx(tuple(theirs.confidence_interval()))
    greater = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    assert p_greater_unpaired(a, b) == pytest.approx(greater)


def test_one_seed_shows_nothing():
    assert paired_difference([0.9], [0.1]).ci95 is None
    assert welch_difference([0.9], [0.1, 0.2]).ci95 is None
    assert p_greater([0.8]) == 1
    assert p_greater_unpaired([0.9], [0.1, 0.2]) == 1


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="n=0"):
        paired_difference([math.nan], [0.5])
    with pytest.raises(ValueError, match="n=0 and n=1"):
        welch_difference([], [0.5])
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference([0.1, 0.2], [0.1])


@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_differences_are_no_certainty(n):
    """Without spread the p-value is the sign test's, or what the test rows leave; never 0."""
    assert p_greater(np.full(n, 0.3)) == 0.5**n
    assert p_greater(np.full(n, -0.3)) == 1
    assert p_greater(np.zeros(n)) == 1
    assert p_greater_unpaired(np.full(n, 0.8), np.full(n, 0.5)) == 0.5**n
    assert 1e-12 < p_greater(np.full(n, 0.3), num_test=100) < 0.1
    assert p_greater(np.full(n, 0.01), num_test=100) > 0.003
    low, high = summarised(np.full(n, 0.3), num_test=100).ci95
    assert high - low > 2 * 1.96 * 0.0458 / math.sqrt(n)


def test_the_least_spread_is_mcnemars():
    """b rows gained and none lost out of M: the variance of b / M over other rows."""
    rng = np.random.default_rng(0)
    drawn = rng.binomial(200, 0.1, size=20_000) / 200
    assert least_sd(0.1, 200) == pytest.approx(drawn.std(), rel=0.02)
    assert least_sd(0.0, 200) == pytest.approx(math.sqrt(0.005 * 0.995 / 200))
    assert least_sd(1.0, 200) == pytest.approx(least_sd(0.0, 200))


def test_test_rows_never_sharpen():
    noisy = [0.3, 0.1, 0.2]
    assert p_greater(noisy, num_test=10_000) == p_greater(noisy)
    assert p_greater(noisy, num_test=5) > p_greater(noisy)
    assert summarised(noisy, num_test=10_000) == summarised(noisy)


def test_rows_are_behind_shares_only():
    evidence = simulated_evidence(rng=np.random.default_rng(0), num_test=50)
    assert rows_behind(evidence, *evidence.private) == 50
    exact = simulated_evidence(rng=np.random.default_rng(0), num_test=None)
    assert rows_behind(exact, *exact.private) is None


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("paired", [True, False])
def test_differences_of_cells_follow_the_evidence(paired, maximize):
    evidence = simulated_evidence(
        rng=np.random.default_rng(3), epsilons=(0.5, 8.0), paired=paired, maximize=maximize, missing=0.2
    )
    low, high = evidence.private
    found = difference_of(evidence, high, low)
    assert found.mean > 0.2
    assert p_better(evidence, high, low) < 1e-4
    assert p_better(evidence, low, high) > 0.99
    assert p_better(evidence, high, low, than=found.mean) == pytest.approx(0.5)


def test_cells_without_a_common_seed_have_no_difference():
    evidence = simulated_evidence(rng=np.random.default_rng(0), epsilons=(1.0, 2.0), missing=1.0)
    assert difference_of(evidence, *evidence.private) is None
    assert p_better(evidence, *evidence.private) == 1


FALSE_ALARMS = 600


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize(
    ("num_test", "mean", "own_sd"), [(100, 0.99, 0.0), (100, 0.9, 0.003), (10_000, 0.9, 0.002)]
)
def test_no_effect_is_found_no_oftener_than_claimed(n, num_test, mean, own_sd):
    """At 5%, 600 draws: more than 49 hits have a chance below one in two thousand if the test is valid."""
    rng = np.random.default_rng(n)
    exact = (mean + own_sd * rng.standard_normal((2, FALSE_ALARMS, n))).clip(0, 1)
    a, b = rng.binomial(num_test, exact) / num_test
    hits = sum(p_greater(a[i] - b[i], num_test=num_test) <= 0.05 for i in range(FALSE_ALARMS))
    assert hits <= 49
    assert stats.binom.sf(49, FALSE_ALARMS, 0.05) < 5e-4


def test_without_the_least_spread_there_would_be_too_many():
    """Negative control: counts of few rows often agree by chance, and plain t then gives p = 0."""
    rng = np.random.default_rng(1)
    differences = np.round(rng.normal(0, 0.006, size=(4000, 2)) * 100) / 100
    plain = [(d.std() == 0 and d.mean() > 0) or p_greater(d) <= 0.01 for d in differences]
    assert np.mean(plain) > 0.02
    assert np.mean([p_greater(d, num_test=100) <= 0.01 for d in differences]) <= 0.01


def test_an_effect_is_found():
    evidence = simulated_evidence(
        rng=np.random.default_rng(0),
        frontier=lambda epsilon: 0.9 if epsilon > 1 else 0.87,
        epsilons=(1.0, 2.0),
        seeds=10,
        num_test=1000,
        test_rows=TestRows.REDRAWN,
    )
    low, high = evidence.private
    assert p_better(evidence, high, low) < 0.001
    flat = simulated_evidence(rng=np.random.default_rng(0), frontier=level(0.9), epsilons=(1.0, 2.0))
    assert p_better(flat, *flat.private) > 0.05


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(-0.5, 0.5))
@settings(derandomize=True, max_examples=60)
def test_p_is_a_probability_and_order_does_not_matter(differences, than):
    p = p_greater(differences, than=than)
    assert 0 < p <= 1 or (p == 0 and np.std(differences) > 0)
    assert p_greater(differences[::-1], than=than) == pytest.approx(p, rel=1e-6, abs=1e-12)
