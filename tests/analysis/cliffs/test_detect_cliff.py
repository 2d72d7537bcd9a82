"""Cliffs found, cliffs denied, and neither where the data cannot say."""

import collections
import math

import numpy as np
import pytest
from scipy import stats

from clifftop.analysis.cliffs import Verdict, cliffs_by_rule, detect_cliff
from clifftop.analysis.cliffs.contrasts import Window, windows
from clifftop.testing.frontiers import (
    Parts,
    TestRows,
    crossed,
    level,
    logistic,
    simulated_evidence,
    step,
)

STORES = 40
SMOOTH = [logistic(low=0.2, high=0.95, middle=1.5, scale=scale) for scale in (0.75, 1.0, 2.0, 4.0)] + [
    level(0.9),
    lambda epsilon: 0.2 + 0.7 * (1 - math.exp(-epsilon / 3)),
]
COARSE = (0.1, 0.2, 0.4, 10.0, 20.0, 40.0)


def verdicts(stores=STORES, *, chance=None, **options):
    return collections.Counter(
        detect_cliff(simulated_evidence(rng=np.random.default_rng(i), **options), chance=chance).verdict
        for i in range(stores)
    )


@pytest.mark.parametrize("seeds", [3, 10, 20])
def test_smooth_frontiers_are_called_cliffs_in_at_most_one_of_twenty(seeds):
    """Six smooth frontiers, two levels of noise, 10 stores each: 120 in all.

    At 5%, 15 or more have a chance below one in a thousand. Measured over 1,000 stores a case: 0.
    """
    found = collections.Counter()
    for frontier in SMOOTH:
        for own_sd in (0.01, 0.08):
            found += verdicts(
                10,
                frontier=frontier,
                seeds=seeds,
                own_sd=own_sd,
                num_test=100,
                test_rows=TestRows.REDRAWN,
            )
    assert found.total() == 120
    assert stats.binom.sf(14, 120, 0.05) < 1e-3
    assert found[Verdict.CLIFF] <= 14


def stairs(epsilon):
    """Two falls of exactly half the range each, the edge of the definition."""
    return 0.95 if epsilon >= 10 else 0.575 if epsilon >= 0.7 else 0.2


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("cells", [({},), crossed({"lr": range(6)})], ids=["fixed", "tuned"])
@pytest.mark.parametrize("chance", [None, 0.2])
def test_the_edge_of_the_definition_is_neither_affirmed_nor_denied(seeds, cells, chance):
    """At 5% each way, 7 or more of 40 have a chance below one in 200."""
    found = verdicts(
        frontier=stairs, seeds=seeds, cells=cells, chance=chance, seed_sd=0.0, own_sd=0.03, num_test=None
    )
    assert found[Verdict.CLIFF] <= 6
    assert found[Verdict.NONE] <= 6


@pytest.mark.parametrize(("seeds", "own_sd", "power"), [(3, 0.01, 0.8), (5, 0.03, 0.95), (10, 0.1, 0.9)])
def test_steps_are_found(seeds, own_sd, power):
    """From 0.2 to 0.95 at once, on 100 test rows, with the stated power, at the right place."""
    found = verdicts(
        frontier=step(low=0.2, high=0.95, at=1.5),
        seeds=seeds,
        own_sd=own_sd,
        num_test=100,
        test_rows=TestRows.REDRAWN,
    )
    assert found[Verdict.CLIFF] >= power * STORES
    assert found[Verdict.NONE] == 0


def test_where_it_lies():
    places = [
        detect_cliff(
            simulated_evidence(rng=np.random.default_rng(i), frontier=step(at=1.5), own_sd=0.05)
        ).where
        for i in range(STORES)
    ]
    held = [place[0] <= 1 and place[1] >= 2 for place in places if place is not None]
    assert len(held) > 30
    assert all(held)
    assert np.mean([place == (1.0, 2.0) for place in places]) > 0.7


def test_a_step_in_a_wide_gap_is_not_called_a_cliff():
    found = verdicts(frontier=step(at=1.5), epsilons=COARSE)
    assert found == {Verdict.TOO_COARSE: STORES}
    example = detect_cliff(
        simulated_evidence(rng=np.random.default_rng(0), frontier=step(at=1.5), epsilons=COARSE)
    )
    assert example.gaps == ((0.4, 10.0),)
    assert example.p_value > 0.05


def test_a_wide_gap_that_utility_does_not_fall_over_hides_nothing():
    found = verdicts(frontier=level(0.9), epsilons=COARSE)
    assert found[Verdict.NONE] > 0.9 * STORES


def test_smooth_frontiers_are_acquitted():
    found = verdicts(frontier=logistic(low=0.2, high=0.95, middle=1.5, scale=1.5), seeds=5)
    assert found[Verdict.NONE] > 0.9 * STORES


def test_a_fall_of_a_fraction_of_a_point_is_no_cliff():
    """All of the measured range, but not a tenth of the best."""
    frontier = step(low=0.94, high=0.95, at=1.5)
    found = verdicts(frontier=frontier, seeds=20, num_test=None, seed_sd=0.005, own_sd=0.001)
    assert found == {Verdict.NONE: STORES}


def test_a_dip_that_less_epsilon_makes_good_is_no_cliff():
    def dip(epsilon):
        return 0.2 if 0.9 < epsilon < 1.1 else 0.9

    assert verdicts(frontier=dip)[Verdict.CLIFF] == 0


def test_chance_makes_the_range_longer():
    """From 0.95 to 0.6 is all that was measured, but less than half of the way to chance."""
    options = {"frontier": step(low=0.6, high=0.95, at=1.5), "own_sd": 0.01}
    assert verdicts(**options)[Verdict.CLIFF] == STORES
    assert verdicts(chance=0.2, **options)[Verdict.CLIFF] == 0


def test_one_seed_or_one_level_cannot_tell():
    for options in ({"seeds": 1}, {"epsilons": (1.0,)}):
        found = detect_cliff(
            simulated_evidence(rng=np.random.default_rng(0), frontier=step(at=1.5), **options)
        )
        assert (found.verdict, found.p_value, found.p_none) == (Verdict.UNDECIDED, 1.0, 1.0)
        assert found.where is None
    nothing = detect_cliff(simulated_evidence(rng=np.random.default_rng(0)), cells=[])
    assert (nothing.verdict, nothing.steepest, nothing.seeds) == (Verdict.UNDECIDED, None, 0)


def test_error_rates_read_as_accuracies():
    for frontier in (step(at=1.5), logistic()):
        more, less = (
            detect_cliff(
                simulated_evidence(rng=np.random.default_rng(0), frontier=frontier, maximize=maximize),
                chance=0.2 if maximize else 0.8,
            )
            for maximize in (True, False)
        )
        assert less.verdict is more.verdict
        assert less.p_value == pytest.approx(more.p_value)
        assert less.p_none == pytest.approx(more.p_none)


def test_unpaired_seeds_find_it_too():
    assert verdicts(frontier=step(at=1.5), paired=False, own_sd=0.03)[Verdict.CLIFF] == STORES


def test_the_steepest_drop():
    found = detect_cliff(simulated_evidence(rng=np.random.default_rng(0), frontier=step(at=1.5), own_sd=0.0))
    drop = found.steepest
    assert (drop.epsilon_low, drop.epsilon_high) == (1.0, 2.0)
    assert drop.per_doubling == drop.drop.mean == pytest.approx(0.7, abs=0.02)
    assert drop.lower < drop.drop.ci95[0] < drop.drop.mean


def test_the_lower_bound_heeds_the_search():
    """Equal levels: the interval of the largest of 13 drops is often above 0, the bound seldom."""
    levels = [2.0**power for power in range(-4, 10)]
    found = [
        detect_cliff(
            simulated_evidence(
                rng=np.random.default_rng(i), frontier=level(0.7), epsilons=levels, num_test=None, own_sd=0.03
            )
        ).steepest
        for i in range(100)
    ]
    assert sum(drop.drop.ci95[0] > 0 for drop in found) > 15
    assert sum(drop.lower > 0 for drop in found) <= 12


@pytest.mark.parametrize("factor", [0.5, 1.0, math.nan])
def test_a_factor_must_be_one(factor):
    with pytest.raises(ValueError, match="above 1"):
        detect_cliff(simulated_evidence(rng=np.random.default_rng(0)), within=factor)


def test_which_logistic_is_at_the_edge():
    """The middle eight tenths of its fall lie within a factor of nine: half of it then within three."""
    edge = logistic(low=0.0, high=1.0, middle=1.0, scale=math.log2(9) / (2 * math.log(9)))
    assert edge(3.0) - edge(1 / 3.0) == pytest.approx(0.8)
    assert edge(math.sqrt(3.0)) - edge(1 / math.sqrt(3.0)) == pytest.approx(0.5)


def test_windows_by_hand():
    near, gaps = windows(np.array([1.0, 2.0, 4.0, 5.0, 100.0, 300.0]), 3.0)
    assert near == (Window(low=0, high=1), Window(low=1, high=3), Window(low=4, high=5))
    assert gaps == (Window(low=3, high=4),)
    assert windows(np.array([1.0]), 3.0) == ((), ())


def test_each_rule_and_clip_norm_has_its_own():
    """Flat clipping at 0.1 falls, the rest does not; tuned, flat clipping does not."""

    def parts(setting, epsilon):
        falls = setting["clipping"] == "flat" and setting["clip_norm"] == 0.1
        return Parts(original=0.95, noise=0.95 - (step(at=1.5) if falls else level(0.85))(epsilon))

    cells = (*crossed({"clip_norm": (0.1, 1.0), "lr": (0.1, 1.0)}), {"clipping": "automatic"})
    found = cliffs_by_rule(
        simulated_evidence(rng=np.random.default_rng(0), parts=parts, cells=cells, seeds=8)
    )
    assert {name: test.verdict.value for name, test in found.items()} == {
        "flat": "no cliff",
        "flat, clip norm 0.1": "cliff",
        "flat, clip norm 1": "no cliff",
        "automatic": "no cliff",
    }
    assert [test.tuned for test in found.values()] == [True, True, True, False]
