"""Exact Gaussian composition against mpmath and the study's published column."""

import math

import mpmath
import pytest

from clifftop.accounting import GaussianDpAccountant
from clifftop.accounting.gdp import gaussian_delta, gaussian_epsilon
from clifftop.events import Composed, FixedOrder, Gaussian, NeighboringRelation, SelfComposed

ADD_OR_REMOVE, REPLACE, ZERO_OUT = (
    NeighboringRelation.ADD_OR_REMOVE_ONE,
    NeighboringRelation.REPLACE_ONE,
    NeighboringRelation.ZERO_OUT,
)
MUS = [1e-8, 1e-4, 1e-3, 0.01, 0.049, 0.051, 0.3, 1.0, 7.0, 60.0, 447.2, 1e4, 1e6]
DELTAS = [1e-300, 1e-15, 1e-9, 1e-5, 0.1, 0.5, 0.95]


def true_delta(mu: float, epsilon: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


@pytest.mark.parametrize(
    ("sigma", "expected"),
    [
        (0.01, 101906.3),
        (0.1, 1189.78),
        (0.5, 77.330),
        (1, 28.3735),
        (2, 11.4800),
        (5, 3.84861),
        (10, 1.76006),
    ],
)
def test_the_fixed_order_column_of_the_study(sigma: float, expected: float) -> None:
    bound = GaussianDpAccountant(ZERO_OUT).epsilon(FixedOrder(Gaussian(sigma), 20), delta=1e-5)
    assert bound.upper == pytest.approx(expected, rel=5e-6)
    assert bound.relative_width < 1e-12


@pytest.mark.parametrize("mu", MUS)
def test_epsilon_encloses_the_truth_tightly(mu: float) -> None:
    for delta in DELTAS:
        bound = gaussian_epsilon(mu, delta, method="test")
        assert true_delta(mu, bound.upper) <= delta
        assert bound.lower == 0 or true_delta(mu, bound.lower) >= delta
        assert bound.relative_width < 1e-11


@pytest.mark.parametrize("mu", MUS)
def test_delta_encloses_the_truth_tightly(mu: float) -> None:
    for scale in (0.0, 0.01, 1.0, 3.0, 6.0):
        epsilon = scale * mu + 0.5 * mu**2 * min(scale, 1.0)
        bound = gaussian_delta(mu, epsilon, method="test")
        assert bound.lower <= true_delta(mu, epsilon) <= bound.upper
        assert bound.upper - bound.lower <= 1e-7 * bound.upper


def test_delta_beyond_the_smallest_number_stays_above_the_truth() -> None:
    for mu, epsilon in ((0.1, 1e6), (1e-8, 10.0), (1.0, 1e4)):
        bound = gaussian_delta(mu, epsilon, method="test")
        assert 0 == bound.lower < bound.upper < 1e-300


def test_extreme_noise_gives_no_exception() -> None:
    assert gaussian_epsilon(1e-300, 1e-5, method="test").upper == 0
    assert gaussian_epsilon(1e200, 1e-5, method="test").upper == math.inf
    huge = gaussian_epsilon(1e15, 1e-5, method="test")
    assert huge.lower <= 0.5e30 * (1 + 1e-10)
    assert huge.upper >= 0.5e30


@pytest.mark.parametrize("delta", [1e-5, 0.1])
def test_a_delta_above_total_variation_costs_nothing(delta: float) -> None:
    total_variation = math.erf(1 / (1e3 * 2 * math.sqrt(2)))
    bound = gaussian_epsilon(1e-3, 1.001 * total_variation, method="test")
    assert bound.upper == 0
    assert gaussian_epsilon(1e-3, 0.999 * total_variation, method="test").lower > 0


def test_composition_adds_squared_mus() -> None:
    accountant = GaussianDpAccountant(ADD_OR_REMOVE)
    parts = Composed(
        (Gaussian(3.0), SelfComposed(Gaussian(4.0), 5), SelfComposed(SelfComposed(Gaussian(1.5), 2), 3))
    )
    mu = math.sqrt(1 / 9 + 5 / 16 + 6 / 2.25)
    assert accountant.mu(parts) == pytest.approx(mu, rel=1e-15)
    whole = accountant.epsilon(Gaussian(1 / mu), delta=1e-6)
    assert accountant.epsilon(parts, delta=1e-6).estimate == pytest.approx(whole.estimate, rel=1e-12)


def test_replacing_moves_the_sum_twice_as_far() -> None:
    near, far = GaussianDpAccountant(ZERO_OUT), GaussianDpAccountant(REPLACE)
    assert far.mu(Gaussian(2.0)) == 2 * near.mu(Gaussian(2.0)) == 1.0
    assert far.epsilon(Gaussian(2.0), delta=1e-5) == near.epsilon(Gaussian(1.0), delta=1e-5)
    assert near.epsilon(Gaussian(2.0), delta=1e-5) == GaussianDpAccountant(ADD_OR_REMOVE).epsilon(
        Gaussian(2.0), delta=1e-5
    )


def test_epsilon_and_delta_are_inverse() -> None:
    accountant = GaussianDpAccountant(ZERO_OUT)
    event = FixedOrder(Gaussian(1.3), 4)
    bound = accountant.epsilon(event, delta=1e-7)
    assert accountant.delta(event, epsilon=bound.estimate).estimate == pytest.approx(1e-7, rel=1e-11)
