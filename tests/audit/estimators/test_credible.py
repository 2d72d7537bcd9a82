"""Credible limits: right under the prior, sharper than exact limits, and no confidence limits."""

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.estimators.credible import (
    PRIOR,
    epsilon_jeffreys,
    epsilon_jointly_credible,
    probability_above,
)
from clifftop.audit.estimators.thresholds import epsilon_from_counts
from clifftop.audit.estimators.values import Counts

COUNTS = Counts(true_positives=180, present=200, false_positives=43, absent=200)
OPTIONS = {"delta": 1e-3, "confidence": 0.95}


def test_is_the_posterior():
    """Against 200,000 draws of both rates; five standard errors, false-alarm probability below 1e-6."""
    rng = np.random.default_rng(0)
    tpr, fpr = rng.beta(180.5, 20.5, 200_000), rng.beta(43.5, 157.5, 200_000)
    for epsilon in (1.2, 1.5, 2.0):
        broken = (tpr > 1e-3 + np.exp(epsilon) * fpr) | (1 - fpr > 1e-3 + np.exp(epsilon) * (1 - tpr))
        chance = probability_above(COUNTS, epsilon=epsilon, delta=1e-3)
        assert chance == pytest.approx(broken.mean(), abs=5 * np.sqrt(0.25 / 200_000))
    limit = epsilon_jointly_credible(COUNTS, **OPTIONS).epsilon
    assert probability_above(COUNTS, epsilon=limit, delta=1e-3) == pytest.approx(0.95, abs=1e-4)


def test_is_sharper_than_the_exact_limits_and_says_what_it_is():
    exact = epsilon_from_counts(COUNTS, **OPTIONS)
    jeffreys, joint = epsilon_jeffreys(COUNTS, **OPTIONS), epsilon_jointly_credible(COUNTS, **OPTIONS)
    assert exact.epsilon < jeffreys.epsilon < joint.epsilon < joint.detection_limit
    assert PRIOR in jeffreys.assumptions
    assert PRIOR in joint.assumptions


def test_holds_on_average_over_the_prior(allowed):
    """Both rates drawn from it: at most 5% of 100 fail, but for chance below 1e-4."""
    rng = np.random.default_rng(1)
    failures = 0
    for tpr, fpr in rng.beta(0.5, 0.5, (100, 2)):
        counts = _counts(int(rng.binomial(200, tpr)), int(rng.binomial(200, fpr)))
        ratios = (tpr / fpr, (1 - fpr) / (1 - tpr))
        truth = float(np.log(max(1.0, *ratios)))
        failures += probability_above(counts, epsilon=truth, delta=0.0) >= 0.95
    assert failures <= allowed(100)


def test_is_no_confidence_limit():
    """Why it refutes nothing: at a false-positive rate of 0.0101 it fails more than twice as often as 0.05.

    The exact limit of the same counts keeps it. Summed over all outcomes, no simulation.
    """
    fpr, truth = 0.0101, float(np.log(1.0 / 0.0101))
    credible = confident = 0.0
    for wrong in range(12):
        chance, counts = stats.binom.pmf(wrong, 200, fpr), _counts(200, wrong)
        credible += chance * (probability_above(counts, epsilon=truth, delta=0.0) >= 0.95)
        confident += chance * (epsilon_from_counts(counts, delta=0.0, confidence=0.95).epsilon > truth)
    assert credible > 0.1
    assert confident <= 0.05


def _counts(hits, wrong):
    return Counts(true_positives=hits, present=200, false_positives=wrong, absent=200)


def test_equal_counts_show_nothing():
    counts = Counts(true_positives=50, present=100, false_positives=50, absent=100)
    assert not epsilon_jeffreys(counts, **OPTIONS).detected
    assert not epsilon_jointly_credible(counts, **OPTIONS).detected
