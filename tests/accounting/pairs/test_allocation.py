"""Random allocation: sums on a lattice, the exact integral for two batches, simulation for many."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from clifftop.accounting import delta, epsilon
from clifftop.accounting.pairs.allocation import allocation
from clifftop.accounting.pairs.lattice_power import Steps, lattice_power
from clifftop.accounting.pairs.table import TablePair
from clifftop.events import Gaussian, NeighboringRelation, PoissonSampled, RandomAllocation, SelfComposed

ADD_OR_REMOVE, REPLACE, ZERO_OUT = NeighboringRelation


def hockey_stick(pair: TablePair, at: float) -> float:
    """``E_P[(1 - e^{at - L})_+]`` of a table."""
    gain = np.maximum(-np.expm1(at - pair.losses), 0.0)
    return float(pair.p @ gain) + pair.infinite


def exact_for_two(sigma: float, at: float, *, removing: bool) -> float:
    """The integral over z_1 of the mean over z_2, which is the price of an option on a log-normal."""
    alpha, slope = math.exp(at), 1.0 / sigma

    def given(z: float) -> float:
        first = math.exp(slope * z - 0.5 * slope**2)
        if removing:  # E[((first + V) / 2 - alpha)_+]
            strike = 2.0 * alpha - first
            if strike <= 0:
                return 0.5 * (1.0 - strike)
            point = math.log(strike) / slope + 0.5 * slope
            return 0.5 * (special.ndtr(slope - point) - strike * special.ndtr(-point))
        strike = 2.0 / alpha - first  # E[(1 - alpha (first + V) / 2)_+]
        if strike <= 0:
            return 0.0
        point = math.log(strike) / slope + 0.5 * slope
        return 0.5 * alpha * (strike * special.ndtr(point) - special.ndtr(point - slope))

    density = 1.0 / math.sqrt(2.0 * math.pi)
    kink = math.log(2.0 * (alpha if removing else 1.0 / alpha)) / slope + 0.5 * slope
    return integrate.quad(
        lambda z: density * math.exp(-0.5 * z * z) * given(z),
        -12.0,
        12.0 + slope,
        points=[min(kink, 11.0)],
        limit=400,
        epsabs=0.0,
        epsrel=1e-11,
    )[0]


@pytest.mark.parametrize("removing", [True, False])
@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_two_batches_against_the_exact_integral(sigma: float, removing: bool) -> None:
    above = allocation(sigma=sigma, num_batches=2, removing=removing, above=True)
    below = allocation(sigma=sigma, num_batches=2, removing=removing, above=False)
    for at in (0.05, 0.3 / sigma, 1.0 / sigma, 2.5 / sigma):
        true = exact_for_two(sigma, at, removing=removing)
        low, high = hockey_stick(below, at), hockey_stick(above, at)
        assert low <= true <= high
        if at <= 1.0 / sigma:  # where the grid of V still resolves W
            assert high < true * 1.1 + 1e-9
            assert low > true * 0.9 - 1e-9
    # The negative control: a truth that is a tenth off would be noticed.
    true = exact_for_two(sigma, 0.05, removing=removing)
    assert not hockey_stick(below, 0.05) <= 1.1 * true <= hockey_stick(above, 0.05)
    assert not hockey_stick(below, 0.05) <= 0.9 * true <= hockey_stick(above, 0.05)


def test_many_batches_against_simulation() -> None:
    """1e5 draws of 40 batches; the check fails by chance with probability below 1e-5 (4.5 deviations)."""
    rng = np.random.default_rng(7)
    sigma, m = 0.8, 40
    w = np.exp(rng.standard_normal((100_000, m)) / sigma - 0.5 / sigma**2).mean(axis=1)
    for removing in (True, False):
        above = allocation(sigma=sigma, num_batches=m, removing=removing, above=True)
        below = allocation(sigma=sigma, num_batches=m, removing=removing, above=False)
        for at in (0.0, 0.2, 0.5):
            gain = np.maximum(w - math.exp(at), 0.0) if removing else np.maximum(1.0 - math.exp(at) * w, 0.0)
            mean, error = float(gain.mean()), 4.5 * float(gain.std()) / math.sqrt(len(w))
            assert hockey_stick(below, at) <= mean + error
            assert hockey_stick(above, at) >= mean - error
            assert hockey_stick(above, at) - hockey_stick(below, at) < 0.02 * mean


def test_the_published_interval_holds_ours() -> None:
    """Two-sided bounds of PLD_accounting 2.0 for sigma 1, 1000 batches, delta 1e-5: [0.1364, 0.1422]."""
    bound = epsilon(RandomAllocation(1000, Gaussian(1.0)), delta=1e-5, neighboring_relation=ADD_OR_REMOVE)
    assert 0.1364 < bound.lower <= bound.upper < 0.1422
    assert bound.relative_width < 1e-4
    poisson = SelfComposed(PoissonSampled(1e-3, Gaussian(1.0)), 1000)
    assert bound.upper < epsilon(poisson, delta=1e-5, neighboring_relation=ADD_OR_REMOVE).lower


def test_relations_and_composition() -> None:
    epoch = RandomAllocation(20, Gaussian(1.5))
    at = {"delta": 1e-6}
    once = epsilon(epoch, **at, neighboring_relation=ADD_OR_REMOVE)
    assert epsilon(epoch, **at, neighboring_relation=ZERO_OUT) == once
    replaced = epsilon(epoch, **at, neighboring_relation=REPLACE)
    assert replaced.lower >= once.lower
    assert replaced.upper <= epsilon(Gaussian(1.5), **at, neighboring_relation=REPLACE).upper * (1 + 1e-9)
    thrice = epsilon(SelfComposed(epoch, 3), **at, neighboring_relation=ADD_OR_REMOVE)
    assert thrice.lower > 1.5 * once.upper
    alone = epsilon(RandomAllocation(1, Gaussian(1.5)), **at, neighboring_relation=ADD_OR_REMOVE)
    plain = epsilon(Gaussian(1.5), **at, neighboring_relation=ADD_OR_REMOVE)
    assert alone.upper == pytest.approx(plain.upper, rel=1e-5)
    assert alone.upper >= plain.lower


def test_little_noise_gives_up_amplification_and_stays_sound() -> None:
    event = RandomAllocation(10, Gaussian(0.1))
    bound = delta(event, epsilon=60.0, neighboring_relation=ADD_OR_REMOVE)
    unamplified = delta(Gaussian(0.1), epsilon=60.0, neighboring_relation=ADD_OR_REMOVE)
    assert bound.upper <= unamplified.upper * (1 + 1e-6)
    # Removing alone: the example's own batch shows, which ten batches dilute by ln 10.
    assert bound.lower > 0.05


@pytest.mark.parametrize("count", [1, 2, 7])
def test_lattice_power_brackets_exact_convolution(count: int) -> None:
    rng = np.random.default_rng(count)
    masses = rng.random(9) ** 6
    masses /= masses.sum()
    exact = np.ones(1, dtype=np.longdouble)
    for _ in range(count):
        exact = np.convolve(exact, masses.astype(np.longdouble))
    steps = Steps(first=3, masses=masses, count=count)
    total = lattice_power(steps, first=3 * count, size=128, tilts=[-6.0, -2.0, 0.0, 2.0, 6.0])
    lower, upper = total.lower[: len(exact)], total.upper[: len(exact)]
    assert np.all(lower <= exact * (1 + 1e-15))
    assert np.all(exact <= upper * (1 + 1e-15))
    assert total.below == total.above == total.above_weighted == 0.0
    assert np.all(upper[exact > 1e-12] < 1.001 * exact[exact > 1e-12])
    assert np.all(lower[exact > 1e-12] > 0.999 * exact[exact > 1e-12])


def test_lattice_power_knows_what_its_window_misses() -> None:
    """A window around the mean of a sum of 50: the bounds outside hold, and inside nothing is too low."""
    masses = np.array([0.7, 0.2, 0.1])
    exact = np.ones(1)
    for _ in range(50):
        exact = np.convolve(exact, masses)
    total = lattice_power(Steps(first=0, masses=masses, count=50), first=12, size=32, tilts=[0.0])
    places = np.arange(len(exact))
    assert exact[:12].sum() <= total.below
    assert exact[44:].sum() <= total.above
    assert (places * exact)[44:].sum() <= total.above_weighted
    assert np.all(total.lower <= exact[12:44])
    assert np.all(exact[12:44] <= total.upper)
    # The negative control: what wraps around is not nothing.
    assert total.upper[:10].sum() > exact[12:22].sum()


@pytest.mark.parametrize(("sigma", "batches"), [(0.5, 50), (0.05, 3)])
def test_rare_and_large_losses_are_bounded_on_both_sides(sigma: float, batches: int) -> None:
    """Where V spans many decades the grid is finer, or nothing is claimed from below; never a warning."""
    bound = delta(RandomAllocation(batches, Gaussian(sigma)), epsilon=1.0, neighboring_relation=ADD_OR_REMOVE)
    assert 0 <= bound.lower <= bound.upper <= 1
    if sigma == 0.5:
        assert bound.lower > 0.8 * bound.upper
