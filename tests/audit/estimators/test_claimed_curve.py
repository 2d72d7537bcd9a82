"""Tests of a claimed trade-off curve: a true claim stands, one that understates falls."""

import numpy as np
import pytest
from scipy import stats

from clifftop.accounting.views import TradeOff, profile
from clifftop.audit.estimators.claims import against_curve_held_out
from clifftop.audit.estimators.curves import (
    against_curve,
    approximate_dp_curve,
    gaussian_curve,
    largest_refuted,
    p_value,
    refutes,
)
from clifftop.audit.estimators.thresholds import Rule, candidates
from clifftop.audit.estimators.values import Counts
from clifftop.events import Gaussian, NeighboringRelation

REPETITIONS = 300
COUNTS = [
    Counts(true_positives=30, present=40, false_positives=4, absent=50),
    Counts(true_positives=40, present=40, false_positives=0, absent=50),
    Counts(true_positives=0, present=40, false_positives=50, absent=50),
    Counts(true_positives=9000, present=10_000, false_positives=20, absent=5000),
]


@pytest.mark.parametrize("counts", COUNTS, ids=["usual", "perfect", "opposite", "uneven"])
@pytest.mark.parametrize(
    "curve",
    [gaussian_curve(0.0), gaussian_curve(1.5), approximate_dp_curve(1.0, 0.01)],
    ids=["no loss", "Gaussian", "epsilon and delta"],
)
def test_p_value_is_the_largest_over_all_rates(counts, curve):
    """Against a brute-force search on a fine grid: never below it, and at most about 1% above."""
    rates = np.concatenate((np.linspace(0.0, 1.0, 20_001), np.geomspace(1e-9, 1.0, 20_000)))
    misses = np.asarray([curve(float(rate)) for rate in rates])
    one = stats.binom.cdf(counts.false_positives, counts.absent, rates)
    two = stats.binom.cdf(counts.present - counts.true_positives, counts.present, misses)
    product = float((one * two).max())
    brute = product * (1.0 - np.log(product)) if product > 0 else 0.0
    assert brute * (1.0 - 1e-9) <= p_value(curve, counts) <= max(1.02 * brute, 1e-300)


@pytest.mark.parametrize("counts", COUNTS, ids=["usual", "perfect", "opposite", "uneven"])
def test_the_quick_decision_is_that_of_the_p_value(counts):
    for mu in np.linspace(0.0, 6.0, 25):
        p = p_value(gaussian_curve(mu), counts)
        if abs(p / 0.05 - 1.0) > 0.02:
            assert refutes(gaussian_curve(mu), counts, tail=0.05) == (p <= 0.05)


def test_a_true_claim_stands(known, allowed):
    """For each of four mechanisms; false-alarm probability of this test below 1e-4 each."""
    rng = np.random.default_rng(7)
    curve, rule = approximate_dp_curve(known.epsilon, known.delta), Rule(threshold=0.0)
    alarms = sum(refutes(curve, rule.counts(*known.samples(rng, 500)), tail=0.05) for _ in range(REPETITIONS))
    assert alarms <= allowed(REPETITIONS)


def test_the_level_is_used(named, allowed):
    """The Gaussian's own curve at the middle is refuted in about, and not above, 5% of repetitions."""
    rng, rule = np.random.default_rng(8), Rule(threshold=0.0)
    counts = [rule.counts(*named["gaussian"].samples(rng, 500)) for _ in range(2000)]
    alarms = sum(refutes(gaussian_curve(1.0), some, tail=0.05) for some in counts)
    assert 20 <= alarms <= allowed(2000)


def test_a_threshold_picked_on_the_same_runs_breaks_the_level(named, allowed):
    """Negative control: the same counts, the best of many thresholds. Seen: 0.28 at nominal 0.05, in 600."""
    rng = np.random.default_rng(10)
    alarms = 0
    for _ in range(100):
        present, absent = named["gaussian"].samples(rng, 1000)
        places = candidates(np.concatenate((present, absent)))
        alarms += any(
            refutes(gaussian_curve(1.0), Rule(threshold=float(place)).counts(present, absent), tail=0.05)
            for place in places
        )
    assert alarms > allowed(100)


def claim(sigma):
    curve = TradeOff(profile(Gaussian(sigma), neighboring_relation=NeighboringRelation.ZERO_OUT))
    return lambda alpha: curve.type_two_error(alpha).lower


def test_claims_of_the_accountant(named):
    """The noise was 1 (mu 1): the claim of 1 stands, that of 1.25 falls, and so does each above it."""
    counts = Rule(threshold=0.0).counts(*named["gaussian"].samples(np.random.default_rng(10), 20_000))
    family = [(1.0 / sigma, claim(sigma)) for sigma in (0.8, 1.0, 1.25, 2.0)]
    true = against_curve(claim(1.0), counts, confidence=0.95, family=family)
    false = against_curve(claim(1.25), counts, confidence=0.95)
    assert (true.refuted, false.refuted) == (False, True)
    assert true.p_value > 0.05 > false.p_value
    assert true.largest_refuted == 1.0 / 1.25
    assert false.largest_refuted == 0.0


def test_a_leak_in_the_tail_is_found_by_other_runs(named):
    """Noise as claimed, but one run in fifty shows its canary: a threshold in the middle is blind."""
    rng = np.random.default_rng(11)
    present, absent = named["gaussian"].samples(rng, 20_000)
    present[rng.random(20_000) < 0.02] = 1e3
    middle = against_curve(gaussian_curve(1.0), Rule(threshold=0.0).counts(present, absent), confidence=0.99)
    found = against_curve_held_out(gaussian_curve(1.0), present, absent, confidence=0.99, rng=rng)
    assert (middle.refuted, found.refuted) == (False, True)
    assert found.p_value < 1e-4
    other_way = against_curve_held_out(gaussian_curve(1.0), -absent, -present, confidence=0.99, rng=rng)
    assert other_way.refuted


def test_a_true_claim_stands_where_it_looks_worst(named, allowed):
    """False-alarm probability of this test below 1e-4."""
    rng = np.random.default_rng(12)
    tests = [
        against_curve_held_out(
            gaussian_curve(1.0), *named["gaussian"].samples(rng, 400), confidence=0.95, rng=rng
        )
        for _ in range(25)
    ]
    assert sum(test.refuted for test in tests) <= allowed(25)


def test_the_family_is_climbed_only_to_the_first_that_stands():
    counts = COUNTS[3]
    loose, tight = approximate_dp_curve(30.0, 0.0), approximate_dp_curve(0.0, 0.0)
    family = [(3.0, tight), (2.0, loose), (1.0, tight)]
    assert against_curve(tight, counts, confidence=0.95, family=family).largest_refuted == 1.0


def test_the_largest_refuted_is_refuted_and_hardly_more_is_not():
    counts = COUNTS[0]
    mu = largest_refuted(gaussian_curve, counts, tail=0.05)
    assert mu > 0
    assert refutes(gaussian_curve(mu), counts, tail=0.05)
    assert not refutes(gaussian_curve(1.02 * mu), counts, tail=0.05)


def test_refuses_a_curve_that_is_none():
    with pytest.raises(ValueError, match="must stay in"):
        against_curve(lambda alpha: 1.0 + alpha, COUNTS[0], confidence=0.95)
