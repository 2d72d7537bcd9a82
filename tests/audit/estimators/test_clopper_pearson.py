"""Limits on a probability, against scipy's own and against the exact law of their errors."""

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.estimators.intervals import (
    lower_limit,
    lower_limits,
    two_sided_limits,
    upper_limit,
    upper_limits,
)

CASES = [(0, 1), (1, 1), (0, 50), (1, 50), (25, 50), (50, 50), (3, 100_000), (99_990, 100_000)]


@pytest.mark.parametrize(("successes", "trials"), CASES)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_agrees_with_scipy(successes, trials, confidence):
    def oracle(alternative):
        test = stats.binomtest(successes, trials, alternative=alternative)
        return test.proportion_ci(confidence_level=confidence, method="exact")

    close = {"rel": 1e-9, "abs": 1e-11}  # scipy looks for a root to 2e-12
    assert lower_limit(successes, trials, confidence=confidence) == pytest.approx(
        oracle("greater").low, **close
    )
    assert upper_limit(successes, trials, confidence=confidence) == pytest.approx(
        oracle("less").high, **close
    )
    both = oracle("two-sided")
    assert two_sided_limits(successes, trials, confidence=confidence) == pytest.approx(
        (both.low, both.high), **close
    )


@pytest.mark.parametrize(
    ("successes", "trials"), [(1, 50), (25, 50), (49, 50), (3, 10**6), (10**6 - 3, 10**6)]
)
@pytest.mark.parametrize("tail", [0.05, 1e-6])
def test_the_tail_at_a_limit_is_what_the_confidence_leaves(successes, trials, tail):
    low = float(lower_limits(successes, trials, tail=tail))
    high = float(upper_limits(successes, trials, tail=tail))
    for chance in (stats.binom.sf(successes - 1, trials, low), stats.binom.cdf(successes, trials, high)):
        assert 0.97 * tail <= chance <= tail  # the outward rounding costs most near 1


@pytest.mark.parametrize("trials", [1, 7, 60])
def test_covers_every_probability(trials):
    """Summed over all counts, so without chance: the error is never above 0.05, and gets near it."""
    counts, tail = np.arange(trials + 1), 0.05
    lowers, uppers = (limits(counts, trials, tail=tail) for limits in (lower_limits, upper_limits))
    chances = np.concatenate((np.linspace(0.0, 1.0, 400), lowers, uppers))
    law = stats.binom.pmf(counts, trials, chances[:, None])
    too_high = (law * (lowers > chances[:, None])).sum(axis=1)
    too_low = (law * (uppers < chances[:, None])).sum(axis=1)
    assert too_high.max() <= tail
    assert too_low.max() <= tail
    # just inside a limit the whole error is used
    inside = lowers[1:] * (1.0 - 1e-7)
    used = (stats.binom.pmf(counts, trials, inside[:, None]) * (lowers > inside[:, None])).sum(axis=1)
    assert used == pytest.approx(tail, rel=1e-4)


@pytest.mark.parametrize("bad", [(-1, 5), (6, 5), (0, 0), (1.5, 5), (True, 5)])
def test_refuses_what_is_no_count(bad):
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        lower_limit(*bad, confidence=0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, float("nan"), "0.95"])
def test_refuses_what_is_no_confidence(confidence):
    with pytest.raises(ValueError, match="confidence must be a number in"):
        upper_limit(1, 2, confidence=confidence)
