"""The one-run bound: the published formula, its coverage, and what breaks it."""

import math

import numpy as np
import pytest
from scipy import stats

from clifftop.audit.estimators.one_run import (
    OneRunSpec,
    epsilon_from_correct,
    epsilon_one_run,
    p_value,
    power,
)

CONFIDENCE = 0.95


def brute_force(m, r, v, epsilon, delta):
    """Theorem 5.2 summed term by term, over every i from 1 to m."""
    q = math.exp(epsilon) / (1.0 + math.exp(epsilon))
    law = [math.comb(r, w) * q**w * (1.0 - q) ** (r - w) for w in range(r + 1)]
    lift = max(sum(law[w] for w in range(r + 1) if v > w >= v - i) / i for i in range(1, m + 1))
    return min(1.0, sum(law[v:]) + 2.0 * m * delta * lift)


@pytest.mark.parametrize(("m", "r"), [(1, 1), (12, 5), (40, 40), (200, 60)])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 4.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.01])
def test_is_the_published_formula(m, r, epsilon, delta):
    spec = OneRunSpec(num_canaries=m, guesses_in=r, guesses_out=0)
    for v in range(r + 1):
        assert p_value(spec, v, epsilon=epsilon, delta=delta) == pytest.approx(
            brute_force(m, r, v, epsilon, delta), rel=1e-8, abs=1e-14
        )


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_bound_is_where_the_p_value_meets_the_level(delta):
    spec = OneRunSpec(num_canaries=500, guesses_in=60, guesses_out=60)
    for correct in (80, 100, 120):
        epsilon = epsilon_from_correct(spec, correct, delta=delta, confidence=CONFIDENCE).epsilon
        assert brute_force(500, 120, correct, epsilon, delta) <= 0.05
        assert brute_force(500, 120, correct, epsilon * (1.0 + 1e-6), delta) > 0.05


def audits(known, rng, spec, repetitions, *, delta):
    for _ in range(repetitions):
        coins = spec.coins(rng)
        yield epsilon_one_run(spec, known.scores(rng, coins), coins, delta=delta, confidence=CONFIDENCE)


def test_covers(known, allowed):
    """Each canary goes through the mechanism by itself. False-alarm probability below 1e-4 each."""
    spec = OneRunSpec(num_canaries=400, guesses_in=60, guesses_out=60)
    rng = np.random.default_rng(1)
    shown = [bound.epsilon for bound in audits(known, rng, spec, 200, delta=known.delta)]
    assert sum(epsilon > known.epsilon for epsilon in shown) <= allowed(200)
    if known.delta == 0:  # with delta 0.01 and 400 canaries nothing can be shown
        assert max(shown) > 0.5 * known.epsilon


def test_a_delta_that_is_forgotten_is_seen(named, allowed):
    """Negative control: the right delta keeps the level, delta 0 breaks it."""
    known = named["5 answers, delta 0.01"]
    spec = OneRunSpec(num_canaries=2000, guesses_in=20, guesses_out=20)
    rng = np.random.default_rng(2)
    for delta, broken in ((known.delta, False), (0.0, True)):
        shown = [bound.epsilon for bound in audits(known, rng, spec, 60, delta=delta)]
        assert (sum(epsilon > known.epsilon for epsilon in shown) > allowed(60)) == broken


def test_picking_the_number_of_guesses_by_the_result_breaks_the_level(named, allowed):
    """Negative control: the best of 15 numbers of guesses; each by itself keeps the level.

    Seen in the research for nominal 0.05: 0.18 to 0.19. Randomised response, for which the bound is tight.
    """
    known, rng, repetitions = named["randomised response"], np.random.default_rng(3), 400
    specs = [OneRunSpec(num_canaries=1000, guesses_in=k, guesses_out=k) for k in range(30, 451, 30)]
    alarms = np.zeros((repetitions, len(specs)), dtype=bool)
    fewest = [fewest_that_refute(spec, known.epsilon) for spec in specs]
    for row in alarms:
        coins = specs[0].coins(rng)
        scores = known.scores(rng, coins)
        row[:] = [spec.correct(scores, coins) >= few for spec, few in zip(specs, fewest, strict=True)]
    assert alarms.sum(axis=0).max() <= allowed(repetitions)
    assert alarms.any(axis=1).sum() > 1.5 * allowed(repetitions)


def fewest_that_refute(spec, epsilon):
    """The bound exceeds epsilon exactly from this number of right guesses on."""
    few = next(v for v in range(spec.num_guesses + 1) if p_value(spec, v, epsilon=epsilon, delta=0.0) <= 0.05)
    assert epsilon_from_correct(spec, few, delta=0.0, confidence=CONFIDENCE).epsilon >= epsilon
    assert epsilon_from_correct(spec, few - 1, delta=0.0, confidence=CONFIDENCE).epsilon < epsilon
    return few


def test_power_is_that_of_a_perfect_attack():
    spec = OneRunSpec(num_canaries=1000, guesses_in=500, guesses_out=500)
    coins = np.arange(1000) % 2 == 0
    bound = epsilon_one_run(spec, coins.astype(float), coins, delta=0.0, confidence=CONFIDENCE)
    ceiling = power(spec, delta=0.0, confidence=CONFIDENCE)
    accuracy = 0.05 ** (1 / 1000)
    assert bound.epsilon == bound.detection_limit == ceiling
    assert ceiling == pytest.approx(math.log(accuracy / (1.0 - accuracy)), rel=1e-6)
    assert power(spec, delta=1e-4, confidence=CONFIDENCE) < ceiling


def test_power_on_gaussians_is_that_of_the_research(mu_of):
    """1000 canaries at epsilon 4: 0.35 of the truth there, with 1 in 10 guessed on each side here."""
    mu, rng = mu_of(4.0, 1e-5), np.random.default_rng(4)
    spec = OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50)
    shown = []
    for _ in range(20):
        coins = spec.coins(rng)
        scores = rng.normal(size=1000) + mu * coins
        shown.append(epsilon_one_run(spec, scores, coins, delta=1e-5, confidence=CONFIDENCE).epsilon / 4.0)
    assert 0.25 < np.mean(shown) < 0.45


def test_guessing_shows_nothing():
    spec = OneRunSpec(num_canaries=100, guesses_in=10, guesses_out=10)
    bound = epsilon_from_correct(spec, 10, delta=0.0, confidence=CONFIDENCE)
    assert not bound.detected
    assert "below the detection limit" in str(bound)
    assert bound.detection_limit == power(spec, delta=0.0, confidence=CONFIDENCE)


def test_a_guess_is_right_when_it_agrees_with_the_coin():
    spec = OneRunSpec(num_canaries=5, guesses_in=2, guesses_out=1)
    coins = np.array([True, False, True, False, False])
    assert spec.correct([5.0, 4.0, 3.0, 2.0, 1.0], coins) == 2
    assert spec.guesses([5.0, 4.0, 3.0, 2.0, 1.0]).tolist() == [1, 1, 0, 0, -1]


def test_coins_are_fair():
    """Mean of 100,000 coins: five standard errors, false-alarm probability below 1e-6."""
    coins = OneRunSpec(num_canaries=100_000, guesses_in=1, guesses_out=0).coins(np.random.default_rng(0))
    assert abs(coins.mean() - 0.5) < 5 * 0.5 / math.sqrt(100_000)
    assert stats.binomtest(int((coins[1:] == coins[:-1]).sum()), 99_999).pvalue > 1e-6


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"num_canaries": 0, "guesses_in": 0, "guesses_out": 0}, "num_canaries=0"),
        ({"num_canaries": 10, "guesses_in": 6, "guesses_out": 5}, "found guesses_in . guesses_out=11"),
        ({"num_canaries": 10, "guesses_in": 0, "guesses_out": 0}, "needs a guess"),
        ({"num_canaries": 10, "guesses_in": -1, "guesses_out": 2}, "guesses_in=-1"),
    ],
)
def test_refuses_a_specification_that_makes_no_sense(fields, found):
    with pytest.raises(ValueError, match=found):
        OneRunSpec(**fields)


def test_refuses_what_is_not_one_a_canary():
    spec = OneRunSpec(num_canaries=3, guesses_in=1, guesses_out=1)
    coins = np.array([True, False, True])
    with pytest.raises(ValueError, match="scores must be one a canary"):
        spec.correct([1.0, 2.0], coins)
    with pytest.raises(ValueError, match="included must be one boolean"):
        spec.correct([1.0, 2.0, 3.0], coins.astype(int))
    with pytest.raises(ValueError, match="0 <= correct <= num_guesses"):
        epsilon_from_correct(spec, 3, delta=0.0, confidence=CONFIDENCE)
