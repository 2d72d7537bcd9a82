"""Batches that are not Poisson samples: each scheme against a brute force of its own, and its refusals."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from clifftop.accounting import UnsupportedEvent, delta, epsilon
from clifftop.accounting.pairs.coin import CoinPair
from clifftop.accounting.pairs.sampled_gaussian import SampledGaussianPair, add_one, remove_one
from clifftop.accounting.pairs.two_sided import TwoSidedPair
from clifftop.events import (
    Composed,
    DpEvent,
    Gaussian,
    NeighboringRelation,
    PoissonSampled,
    RandomAllocation,
    SampledWithoutReplacement,
    SelfComposed,
    Shuffled,
    TruncatedPoissonSampled,
    cyclic_poisson,
)

ADD_OR_REMOVE, ZERO_OUT, REPLACE = (
    NeighboringRelation.ADD_OR_REMOVE_ONE,
    NeighboringRelation.ZERO_OUT,
    NeighboringRelation.REPLACE_ONE,
)


def hockey_stick(p: dict[float, float], q: dict[float, float], sigma: float, epsilon: float) -> float:
    """Between two mixtures of normals on the line, by the trapezoidal rule."""
    x = np.linspace(-12 * sigma - 3, 12 * sigma + 3, 400_001)

    def density(parts: dict[float, float]) -> np.ndarray:
        return sum(weight * stats.norm.pdf(x, mean, sigma) for mean, weight in parts.items())

    return float(np.trapezoid(np.maximum(density(p) - math.exp(epsilon) * density(q), 0.0), x))


@pytest.mark.parametrize("at", [0.0, 0.4, 1.5])
def test_without_replacement_two_neighbours_attain_the_bound(at: float) -> None:
    """Others at -1, the example at 1 or replaced by -1 (or left out): q = B / n, a shift of 2."""
    sigma, event = 1.3, SampledWithoutReplacement(3, 10, Gaussian(1.3))
    true = hockey_stick({0.0: 0.7, 2.0: 0.3}, {0.0: 1.0}, sigma, at)
    for relation in (ADD_OR_REMOVE, REPLACE):
        bound = delta(event, epsilon=at, neighboring_relation=relation)
        assert bound.lower <= true * (1 + 1e-7)
        assert true * (1 - 1e-7) <= bound.upper
        assert bound.relative_width < 1e-2
    zeroed = delta(event, epsilon=at, neighboring_relation=ZERO_OUT)
    attained = hockey_stick({-1.0: 0.7, 1.0: 0.3}, {-1.0: 0.7, 0.0: 0.3}, sigma, at)
    assert zeroed.lower <= attained <= zeroed.upper
    # The negative control: the Poisson number would have been below the truth (but not the total variation).
    poisson = delta(PoissonSampled(0.3, Gaussian(1.3)), epsilon=at, neighboring_relation=REPLACE)
    assert at == 0 or poisson.upper < 0.99 * true


def test_without_replacement_composes_both_sides() -> None:
    """Replaced, either neighbour may be the larger in each step, so more than one of them counts."""
    event = SelfComposed(SampledWithoutReplacement(160, 1000, Gaussian(1.0)), 140)
    added, replaced = (
        epsilon(event, delta=1e-5, neighboring_relation=relation) for relation in (ADD_OR_REMOVE, REPLACE)
    )
    assert added.lower < 56.928712597 * (1 + 1e-9)
    assert added.upper > 56.928712597 * (1 - 1e-9)
    assert replaced.lower <= added.upper < replaced.upper < 75


def test_the_two_sided_pair_is_the_larger_of_its_halves() -> None:
    pair = TwoSidedPair(sampling_prob=0.2, noise_multiplier=0.7)
    edges = np.concatenate([[-math.inf], np.linspace(-2.0, 3.0, 42), [math.inf]])
    cells = pair.masses(edges)
    assert cells.p.sum() == pytest.approx(1.0, abs=1e-12)
    assert cells.q.sum() == pytest.approx(1.0, abs=1e-12)
    mirrored = pair.masses(-edges[::-1])
    np.testing.assert_allclose(mirrored.q[::-1], cells.p, rtol=1e-9, atol=1e-15)
    for tilt in (0.3, 1.0, 4.0):

        def integrand(u: float, power: float) -> float:
            w = 0.8 + 0.2 * math.exp(u / 0.7 - 0.5 / 0.49)
            return stats.norm.pdf(u) * w**power

        above = integrate.quad(integrand, 0.5 / 0.7, 30, args=(1 + tilt,), limit=300)[0]
        below = integrate.quad(integrand, 0.5 / 0.7, 30, args=(-tilt,), limit=300)[0]
        at_zero = 1.0 - side_mass(remove_one(0.2, 0.7), 1) - side_mass(add_one(0.2, 0.7), 0)
        true = math.log(above + below + at_zero)
        assert true <= pair.log_moment(tilt) <= true + 1e-6


def side_mass(pair: SampledGaussianPair, side: int) -> float:
    return float(pair.masses(np.array([-math.inf, 0.0, math.inf])).p[side])


def truncated_batches(n: int, q: float, most: int, *, others: float) -> tuple[dict, dict]:
    """Mixtures of sums, in exact enumeration: n - 1 others of one value, with the example (1) and without."""
    with_it: dict[float, float] = {}
    without: dict[float, float] = {}
    for size, chance in enumerate(stats.binom.pmf(np.arange(n), n - 1, q)):
        kept = min(size, most) * others
        without[kept] = without.get(kept, 0.0) + chance
        with_it[kept] = with_it.get(kept, 0.0) + chance * (1 - q)
        inside = q if size < most else q * most / (size + 1)
        joined = min(size, most - 1) * others + 1.0
        with_it[joined] = with_it.get(joined, 0.0) + chance * inside
        with_it[kept] += chance * (q - inside)
    return with_it, without


@pytest.mark.parametrize("others", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize(("n", "q", "most"), [(6, 0.5, 3), (8, 0.2, 2), (5, 0.9, 4)])
def test_truncated_poisson_holds_every_enumerated_release(n: int, q: float, most: int, others: float) -> None:
    sigma = 0.9
    event = TruncatedPoissonSampled(q, most, n, Gaussian(sigma))
    with_it, without = truncated_batches(n, q, most, others=others)
    for at in (0.1, 0.8):
        bound = delta(event, epsilon=at, neighboring_relation=ADD_OR_REMOVE)
        worst = max(hockey_stick(with_it, without, sigma, at), hockey_stick(without, with_it, sigma, at))
        assert worst <= bound.upper * (1 + 1e-9)
        if others == 0:
            assert bound.lower == pytest.approx(worst, rel=1e-6)


def test_truncation_that_never_happens_costs_nothing() -> None:
    poisson = SelfComposed(PoissonSampled(0.01, Gaussian(0.8)), 10_000)
    for most, width in ((600, 3e-3), (700, 1e-4)):
        event = SelfComposed(TruncatedPoissonSampled(0.01, most, 50_000, Gaussian(0.8)), 10_000)
        bound = epsilon(event, delta=1e-5, neighboring_relation=ADD_OR_REMOVE)
        plain = epsilon(poisson, delta=1e-5, neighboring_relation=ADD_OR_REMOVE)
        assert plain.lower <= bound.upper <= plain.upper * (1 + width)
        assert epsilon(event, delta=1e-5, neighboring_relation=ZERO_OUT).upper == plain.upper


def test_a_coin_is_the_mean_of_its_parts() -> None:
    parts = ((0.25, remove_one(0.1, 0.6)), (0.75, remove_one(0.1, 1.2)))
    pair = CoinPair(parts=parts)
    edges = np.concatenate([[-math.inf], np.linspace(-0.1, 2.0, 9), [math.inf]])
    means = sum(chance * part.masses(edges).p for chance, part in parts)
    np.testing.assert_allclose(pair.masses(edges).p, means, rtol=1e-12)
    for tilt in (0.5, 3.0):
        mean = math.log(sum(chance * math.exp(part.log_moment(tilt)) for chance, part in parts))
        assert mean <= pair.log_moment(tilt) <= mean + 1e-12
        law = pair.tilted(tilt, max_frequency=20.0)
        y = np.array([0.0, 11.0])
        whole = (law.weights * np.exp(1j * y[:, None] * law.losses)).sum(axis=1) * math.exp(law.log_mgf)
        own = [part.tilted(tilt, max_frequency=20.0) for _, part in parts]
        sums = [
            chance * math.exp(one.log_mgf) * (one.weights * np.exp(1j * y[:, None] * one.losses)).sum(axis=1)
            for (chance, _), one in zip(parts, own, strict=True)
        ]
        assert np.all(np.abs(whole - sum(sums)) <= 2 * law.error(y) * math.exp(law.log_mgf))


@pytest.mark.parametrize(
    ("sigma", "batches", "published"),
    [(0.5, 10_000, 10.995), (0.6, 1000, 8.833), (0.8, 10_000, 4.94), (1.0, 1000, 3.72)],
)
def test_shuffling_is_never_the_poisson_number(sigma: float, batches: int, published: float) -> None:
    """The lower bounds of Chua et al. 2024 for one epoch at delta 1e-6, and the fixed order above."""
    bound = epsilon(Shuffled(batches, Gaussian(sigma)), delta=1e-6, neighboring_relation=ZERO_OUT)
    assert bound.lower == pytest.approx(published, abs=6e-3)
    fixed = epsilon(Gaussian(sigma), delta=1e-6, neighboring_relation=ZERO_OUT)
    assert bound.upper == pytest.approx(fixed.upper, rel=1e-6)
    assert bound.upper >= fixed.lower
    poisson = SelfComposed(PoissonSampled(1 / batches, Gaussian(sigma)), batches)
    assert epsilon(poisson, delta=1e-6, neighboring_relation=ZERO_OUT).upper < bound.lower


@pytest.mark.parametrize(("relation", "other"), [(ZERO_OUT, 1.0), (REPLACE, 0.0)])
def test_two_shuffled_batches_by_integration(relation: NeighboringRelation, other: float) -> None:
    """The adversary's pair on the plane: (2 e_J, other e_J) in units of the norm, J fair."""
    sigma, at = 1.4, 0.7
    x = np.linspace(-12, 14, 1301)
    grid = [stats.norm.pdf(x, mean, sigma) for mean in (0.0, 2.0, other)]
    p = 0.5 * (np.outer(grid[1], grid[0]) + np.outer(grid[0], grid[1]))
    q = 0.5 * (np.outer(grid[2], grid[0]) + np.outer(grid[0], grid[2]))
    cell = (x[1] - x[0]) ** 2
    worst = max(float(np.maximum(a - math.exp(at) * b, 0.0).sum() * cell) for a, b in ((p, q), (q, p)))
    bound = delta(Shuffled(2, Gaussian(sigma)), epsilon=at, neighboring_relation=relation)
    assert 0.5 * worst < bound.lower <= worst * (1 + 1e-6)
    assert worst * (1 - 1e-6) <= bound.upper


SCHEMES = [
    SampledWithoutReplacement(5, 100, Gaussian(1.0)),
    TruncatedPoissonSampled(0.05, 12, 100, Gaussian(1.0)),
    Shuffled(20, Gaussian(1.0)),
    RandomAllocation(20, Gaussian(1.0)),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)
def test_n_releases_never_cost_what_one_does(scheme: DpEvent) -> None:
    once = epsilon(scheme, delta=1e-6, neighboring_relation=ZERO_OUT)
    for ten in (SelfComposed(scheme, 10), SelfComposed(SelfComposed(scheme, 5), 2), Composed((scheme,) * 10)):
        bound = epsilon(ten, delta=1e-6, neighboring_relation=ZERO_OUT)
        assert bound.upper > 1.3 * once.upper
        assert bound.lower > once.lower


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: type(scheme).__name__)
def test_what_is_not_proven_is_refused_by_name(scheme: DpEvent) -> None:
    with pytest.raises(UnsupportedEvent, match=type(scheme).__name__):
        epsilon(PoissonSampled(0.5, scheme), delta=1e-5, neighboring_relation=ADD_OR_REMOVE)
    if isinstance(scheme, Shuffled):
        with pytest.raises(UnsupportedEvent, match="Shuffled"):
            epsilon(scheme, delta=1e-5, neighboring_relation=ADD_OR_REMOVE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampledWithoutReplacement(11, 10, Gaussian(1.0)), "batch_size=11"),
        (lambda: SampledWithoutReplacement(0, 10, Gaussian(1.0)), "batch_size=0"),
        (lambda: SampledWithoutReplacement(2.5, 10, Gaussian(1.0)), "batch_size=2.5"),
        (lambda: TruncatedPoissonSampled(1.2, 3, 10, Gaussian(1.0)), "sampling_prob=1.2"),
        (lambda: TruncatedPoissonSampled(math.nan, 3, 10, Gaussian(1.0)), "sampling_prob=nan"),
        (lambda: TruncatedPoissonSampled(0.1, 0, 10, Gaussian(1.0)), "max_batch_size=0"),
        (lambda: Shuffled(0, Gaussian(1.0)), "num_batches=0"),
        (lambda: RandomAllocation(True, Gaussian(1.0)), "num_batches=True"),
        (lambda: cyclic_poisson(Gaussian(1.0), sampling_prob=0.1, steps=-1, num_groups=2), "steps=-1"),
        (lambda: cyclic_poisson(Gaussian(1.0), sampling_prob=0.1, steps=10, num_groups=0), "num_groups=0"),
    ],
)
def test_bad_input_names_the_value(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_cyclic_poisson_counts_rounds_exactly() -> None:
    event = cyclic_poisson(Gaussian(1.0), sampling_prob=0.2, steps=101, num_groups=10)
    assert event == SelfComposed(PoissonSampled(0.2, Gaussian(1.0)), 11)


@pytest.mark.parametrize("sigma", [0.005, 0.01, 0.02])
def test_hardly_noised_shuffled_epochs_are_bounded_on_both_sides(sigma: float) -> None:
    """The largest output tells both cases apart with certainty; the lower end says so as far as it counts."""
    event = SelfComposed(Shuffled(7, Gaussian(sigma)), 20)
    bound = epsilon(event, delta=1e-5, neighboring_relation=NeighboringRelation.ZERO_OUT)
    fixed = epsilon(
        SelfComposed(Gaussian(sigma), 20), delta=1e-5, neighboring_relation=NeighboringRelation.ZERO_OUT
    )
    assert 10_000 < bound.lower <= bound.upper <= 1.001 * fixed.upper
