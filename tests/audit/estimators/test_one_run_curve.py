"""One-run tests of a claimed curve: against exact worst cases, coverage, and what breaks them."""

import bisect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import optimize, special

from clifftop.audit.estimators.curves import approximate_dp_curve, gaussian_curve
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run import p_value as steinke
from clifftop.audit.estimators.one_run_curve import AnyMechanism, IndependentCanaries
from clifftop.audit.estimators.one_run_family import (
    epsilon_gaussian,
    epsilon_in_family,
    gaussian_lower,
)

ANY, INDEPENDENT = AnyMechanism(), IndependentCanaries()
CONFIDENCE = 0.95


def spec_of(m, r):
    return OneRunSpec(num_canaries=m, guesses_in=r - r // 2, guesses_out=r // 2)


def worst_case(m, r, v, epsilon, delta):
    """The largest chance of v right guesses over *all* private mechanisms, by a linear programme.

    A mechanism is a law of guesses for each set of coins; what it releases besides does not help. It is
    private if for neighbours x, y the excess of P(g | x) over e^eps P(g | y) sums to delta at most.
    """
    coins = list(itertools.product((0, 1), repeat=m))
    guesses = [g for g in itertools.product((-1, 0, 1), repeat=m) if sum(map(abs, g)) == r]
    pairs = [(a, b) for a, b in itertools.permutations(range(len(coins)), 2)
             if sum(x != y for x, y in zip(coins[a], coins[b], strict=True)) == 1]  # fmt: skip
    laws, excess = len(coins) * len(guesses), len(pairs) * len(guesses)
    cost = np.zeros(laws + excess)
    above, limits, equal = [], [], np.zeros((len(coins), laws + excess))
    for i, coin in enumerate(coins):
        equal[i, i * len(guesses) : (i + 1) * len(guesses)] = 1.0
        for j, guess in enumerate(guesses):
            right = sum(g == 2 * c - 1 for g, c in zip(guess, coin, strict=True))
            cost[i * len(guesses) + j] = -float(right >= v) / len(coins)
    for number, (a, b) in enumerate(pairs):
        at = laws + number * len(guesses)
        for j in range(len(guesses)):
            row = np.zeros(laws + excess)
            row[a * len(guesses) + j], row[b * len(guesses) + j], row[at + j] = 1.0, -math.exp(epsilon), -1.0
            above.append(row)
            limits.append(0.0)
        row = np.zeros(laws + excess)
        row[at : at + len(guesses)] = 1.0
        above.append(row)
        limits.append(delta)
    found = optimize.linprog(cost, np.array(above), limits, equal, np.ones(len(coins)), method="highs")
    return -found.fun


@pytest.mark.parametrize(("m", "r"), [(1, 1), (2, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_no_private_mechanism_guesses_better(m, r, delta):
    """Exact, over all mechanisms. Not far above either: within 1.6 here."""
    for v in range(1, r + 1):
        worst = worst_case(m, r, v, 0.7, delta)
        chance = ANY.p_value(approximate_dp_curve(0.7, delta), spec_of(m, r), v)
        assert worst * (1 - 1e-7) <= chance <= 1.6 * worst
        if m == 1:
            assert chance == pytest.approx(worst, rel=1e-3)


def tail_programme(m, r, v, epsilon, delta):
    """The most that the theorem's inequalities for tails allow, by a linear programme over all laws."""
    factor, rows, limits = math.exp(epsilon), [], []
    k = np.arange(r + 1)
    for i in range(r):
        right, wrong = (k > i) * k / m, (k >= i) * (r - k) / m
        rows += [right - factor * wrong, right - wrong / factor]
        limits += [delta, 1.0 - (1.0 - delta) / factor]
    found = optimize.linprog(-(k >= v).astype(float), rows, limits, [np.ones(r + 1)], [1.0], method="highs")
    return -found.fun


@pytest.mark.parametrize(("m", "r", "delta"), [(12, 12, 0.0), (30, 10, 0.01), (20, 15, 1e-3)])
def test_the_recursion_solves_the_programme(m, r, delta):
    """Greedy from one point, as the module's text proves, is as good as any law."""
    for v in range(1, r + 1):
        chance = ANY.p_value(approximate_dp_curve(1.0, delta), spec_of(m, r), v)
        assert chance == pytest.approx(tail_programme(m, r, v, 1.0, delta), rel=2e-3)


def test_floats_lose_nothing_that_matters():
    """The recursion in exact fractions for odds of 3 and delta 1/1000: one millionth either way decides."""
    m, r, v, odds, delta = 400, 120, 104, Fraction(3), Fraction(1, 1000)

    def needed(right):
        return max(Fraction(0), (right - delta) / odds, 1 - delta - odds * (1 - right))

    def total(chance):
        right, wrong = chance * v / m, chance * (r - v) / m
        for level in range(v - 1, -1, -1):
            more = max(wrong, needed(right))
            right, wrong = right + (more - wrong) * level / (r - level), more
        return (right + wrong) * m / r

    low, high = Fraction(0), Fraction(1)
    for _ in range(34):
        middle = (low + high) / 2
        low, high = (low, middle) if total(middle) > 1 else (middle, high)
    curve = approximate_dp_curve(math.log(3.0), 1e-3)
    assert ANY.refutes(curve, spec_of(m, r), v, tail=float(high) * (1 + 2e-6))
    assert not ANY.refutes(curve, spec_of(m, r), v, tail=float(high) * (1 - 1e-7))


@pytest.mark.parametrize(("m", "r"), [(40, 40), (200, 50)])
def test_independent_randomised_response_is_binomial(m, r):
    """Exact: every guess is right with the same chance. The general test is never below."""
    for v in range(r // 2, r + 1, 5):
        exact = float(special.betainc(v, r - v + 1, 1.0 / (1.0 + math.exp(-1.0))))
        chance = INDEPENDENT.p_value(approximate_dp_curve(1.0, 0.0), spec_of(m, r), v)
        assert exact <= chance <= exact * 1.02 + 2e-9
        assert exact <= steinke(spec_of(m, r), v, epsilon=1.0, delta=0.0) * (1 + 1e-8)
        assert exact <= ANY.p_value(approximate_dp_curve(1.0, 0.0), spec_of(m, r), v) * (1 + 1e-8)


def right_guesses(rng, mu, m, r, repetitions):
    """Of the best attack on a Gaussian mechanism: the r largest absolute log-likelihood ratios."""
    coins = rng.integers(0, 2, (repetitions, m))
    seen = rng.normal(size=(repetitions, m)) + mu * (coins - 0.5)
    best = np.argsort(-np.abs(seen), axis=1)[:, :r]
    rows = np.arange(repetitions)[:, None]
    return ((seen[rows, best] > 0) == coins[rows, best]).sum(axis=1)


def test_independent_gaussians_have_this_law():
    """Monte Carlo, 4000 repetitions, five standard errors: false-alarm probability below 1e-5."""
    spec, rights = spec_of(100, 20), right_guesses(np.random.default_rng(0), 1.0, 100, 20, 4000)
    for v in (16, 18, 20):
        seen = (rights >= v).mean()
        error = math.sqrt(seen * (1 - seen) / 4000)
        chance = INDEPENDENT.p_value(gaussian_curve(1.0), spec, v)
        assert chance - 0.01 * chance - 5 * error < seen < chance + 5 * error
    assert INDEPENDENT.expected_correct(gaussian_curve(1.0), spec) == pytest.approx(rights.mean(), abs=0.15)


@pytest.mark.parametrize("audit", [ANY, INDEPENDENT])
def test_covers_on_known_mechanisms(audit, named, allowed):
    """Scores of the mechanism against its own curve; false-alarm probability below 1e-4 each."""
    rng, spec = np.random.default_rng(1), spec_of(300, 60)
    for name in ("gaussian", "laplace", "randomised response"):
        known = named[name]
        curve = gaussian_curve(1.0) if name == "gaussian" else approximate_dp_curve(known.epsilon, 0.0)
        fewest = fewest_that_refute(audit, curve, spec)
        alarms = 0
        for _ in range(200):
            coins = spec.coins(rng)
            alarms += spec.correct(known.scores(rng, coins), coins) >= fewest
        assert alarms <= allowed(200)


def fewest_that_refute(audit, curve, spec):
    """More right guesses refute at least as much."""
    numbers = range(spec.num_guesses + 1)
    return bisect.bisect_left(numbers, True, key=lambda v: audit.refutes(curve, spec, v, tail=0.05))


def test_the_best_number_of_guesses_picked_by_the_result_breaks_the_level(allowed):
    """Negative control on Gaussians, for which the test for independent canaries is tight."""
    rng, repetitions = np.random.default_rng(3), 400
    specs = [spec_of(200, r) for r in range(8, 201, 16)]
    fewest = [fewest_that_refute(INDEPENDENT, gaussian_curve(1.0), spec) for spec in specs]
    alarms = np.zeros((repetitions, len(specs)), dtype=bool)
    for row in alarms:
        coins = specs[0].coins(rng)
        scores = rng.normal(size=200) + coins - 0.5
        row[:] = [s.correct(scores, coins) >= few for s, few in zip(specs, fewest, strict=True)]
    assert alarms.sum(axis=0).max() <= allowed(repetitions) < alarms.any(axis=1).sum()


def test_dependence_breaks_the_test_for_independent_canaries_only(allowed):
    """Negative control: three tosses in ten answer for all canaries at once."""
    toss, epsilon, m = 0.3, 3.0, 200
    right = 1.0 / (1.0 + math.exp(-epsilon))

    def curve(alpha):  # answers "in" by the toss, then silence, then answers "out"
        wrong = toss * (1.0 - right)
        if alpha <= wrong:
            return 1.0 - toss * right - math.exp(epsilon) * (alpha - wrong)
        if alpha <= wrong + 1.0 - toss:
            return 1.0 - toss * right - (alpha - wrong)
        return (1.0 - alpha) * math.exp(-epsilon)

    spec, rng, alarms = spec_of(m, m), np.random.default_rng(4), {ANY: 0, INDEPENDENT: 0}
    for _ in range(60):
        chance = right if rng.random() < toss else 0.5
        correct = int(rng.binomial(m, chance))
        for audit in alarms:
            alarms[audit] += audit.refutes(curve, spec, correct, tail=0.05)
    assert alarms[ANY] <= allowed(60) < alarms[INDEPENDENT]


def test_a_leak_through_the_last_bits_of_a_float_is_seen():
    """Noise plus a bit, in floating point, is not the Laplace mechanism of the textbook (Mironov 2012)."""
    rng, spec = np.random.default_rng(6), OneRunSpec(num_canaries=2000, guesses_in=0, guesses_out=30)
    coins = spec.coins(rng)
    released = rng.laplace(size=2000) + coins
    scores = np.abs(released) - np.abs(released - 1.0)
    for seen, refuted in ((scores, True), (np.round(scores, 9), False)):
        correct = spec.correct(seen, coins)
        assert ANY.refutes(approximate_dp_curve(1.0, 0.0), spec, correct, tail=1e-3) == refuted


@pytest.mark.parametrize("audit", [ANY, INDEPENDENT])
def test_the_bound_is_where_the_p_value_meets_the_level(audit):
    spec = spec_of(300, 60)
    bound = epsilon_gaussian(audit, spec, 57, delta=1e-5, confidence=CONFIDENCE)
    mu = dict(bound.detail)["mu"]
    assert audit.p_value(gaussian_curve(mu), spec, 57) <= 0.05 * 1.001
    assert audit.p_value(gaussian_curve(mu * 1.001), spec, 57) > 0.05 / 1.002
    assert 0 < bound.epsilon == gaussian_lower(mu, 1e-5) < bound.detection_limit
    assert not epsilon_gaussian(audit, spec, 30, delta=1e-5, confidence=CONFIDENCE).detected


def test_a_family_of_curves_gives_nearly_the_same_bound():
    """The Gaussian family as callables, coarsely, from below."""
    spec = spec_of(300, 60)
    options = {"delta": 1e-5, "confidence": CONFIDENCE}
    exact = epsilon_gaussian(ANY, spec, 58, **options).epsilon
    bound = epsilon_in_family(
        ANY, spec, 58, curve=gaussian_curve, epsilon=lambda mu: gaussian_lower(mu, 1e-5), start=0.2,
        family="Gaussian", **options,
    )  # fmt: skip
    assert 0.97 * exact < bound.epsilon <= exact
    perfect = epsilon_in_family(
        ANY, spec, 60, curve=gaussian_curve, epsilon=lambda mu: gaussian_lower(mu, 1e-5), start=0.2,
        family="Gaussian", **options,
    )  # fmt: skip
    assert perfect.epsilon <= bound.detection_limit <= 1.25 * perfect.epsilon
    nothing = epsilon_in_family(
        ANY, spec, 30, curve=gaussian_curve, epsilon=lambda mu: mu, start=1.0, family="Gaussian", **options
    )
    assert not nothing.detected


def test_refuses_what_makes_no_sense():
    spec = spec_of(10, 4)
    with pytest.raises(ValueError, match="delta must be > 0"):
        epsilon_gaussian(ANY, spec, 3, delta=0.0, confidence=CONFIDENCE)
    with pytest.raises(ValueError, match="0 <= correct <= num_guesses"):
        ANY.against(gaussian_curve(1.0), spec, 5, confidence=CONFIDENCE)
