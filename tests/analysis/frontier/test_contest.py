"""The best of some against the best of others: bounds that hold whichever these are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.analysis.frontier.contest import (
    best_between,
    contest,
    p_of_largest,
    quantile_of_largest,
    rivals,
)
from clifftop.analysis.frontier.held_out import held_out, running_choice
from clifftop.analysis.frontier.table import SeedTable


def table(utilities, *, aligned=True):
    utilities = np.asarray(utilities, dtype=float)
    some = np.arange(len(utilities))
    return SeedTable(
        cells=some,
        epsilons=1.0 + some,
        levels=1.0 + some,
        compute=1.0 + some,
        utilities=utilities,
        aligned=aligned,
    )


def test_the_quantile_is_that_of_the_largest_of_independent_normals():
    rng = np.random.default_rng(0)
    for count, dof in ((1, 4), (5, 9), (30, 20)):
        draws = rng.standard_normal((40_000, count)).max(axis=1) / np.sqrt(rng.chisquare(dof, 40_000) / dof)
        assert np.mean(draws > quantile_of_largest(count, dof)) == pytest.approx(0.025, abs=0.004)


def test_one_cell_is_judged_by_students_t():
    from scipy.stats import t

    for dof in (1, 2, 9, 100):
        assert quantile_of_largest(1, dof) == pytest.approx(t.ppf(0.975, dof), rel=1e-3)
        for value in (0.5, 2.0, 5.0):
            assert p_of_largest(value, 1, dof) == pytest.approx(t.sf(value, dof), rel=1e-3)


def test_more_cells_need_more_evidence():
    chances = [p_of_largest(3.0, count, 9) for count in (1, 5, 50, 5000)]
    assert chances == sorted(chances)
    assert p_of_largest(-1.0, 3, 9) > 0.99


def unequal(rng, cells, seeds):
    """One cell spreads four times as far as the others, so that it is the luckiest more often than not."""
    return np.where(np.arange(cells)[:, None] == 0, 4, 1) * rng.standard_normal((cells, seeds))


def grouped(rng, cells, seeds):
    """Seeds do to each third of the cells what they do to no other, twice as much as to single cells."""
    return rng.standard_normal((cells, seeds)) + 2 * rng.standard_normal((3, seeds))[np.arange(cells) % 3]


def of_a_method(rng, cells, seeds):
    """Seeds do to this side what they do not do to the other."""
    return rng.standard_normal((cells, seeds)) + 2 * rng.standard_normal(seeds)


def heavy_tailed(rng, cells, seeds):
    return rng.standard_t(3, (cells, seeds))


@pytest.mark.parametrize("law", [unequal, grouped, of_a_method, heavy_tailed])
@pytest.mark.parametrize(("mine", "theirs"), [(10, 2), (3, 3)])
def test_equal_sides_are_rarely_told_apart_whatever_their_spreads(law, mine, theirs):
    """Three seeds, the hardest case, 100 times; 12 or more have a chance below 0.5% if the rate is 5%."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(100):
        both = np.vstack([law(rng, mine, 3), law(rng, theirs, 3)]) + rng.standard_normal(3)
        found = contest(table(both), np.arange(mine), np.arange(mine, mine + theirs))
        wrong += not found.low <= 0 <= found.high
    assert wrong < 12


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, 10])
def test_equal_sides_are_told_apart_in_at_most_one_case_of_twenty(seeds, paired):
    """Ten equal cells against three, 200 times; 21 or more have a chance below 0.5% if the rate is 5%."""
    rng = np.random.default_rng(seeds)
    wrong = missed = 0
    for _ in range(200):
        common = rng.standard_normal(seeds) if paired else 0.0
        found = contest(
            table(rng.standard_normal((13, seeds)) + common, aligned=paired), np.arange(10), np.arange(10, 13)
        )
        wrong += min(found.p_more, found.p_less) <= 0.025
        missed += not found.low <= 0 <= found.high
    assert max(wrong, missed) < 21


def test_choosing_on_other_seeds_and_a_t_test_would_not_do():
    """Why there is a contest at all: the plain test on held-out values errs far more often than 5%."""
    from clifftop.analysis import estimate

    rng, wrong = np.random.default_rng(1), 0
    for _ in range(100):
        values = rng.standard_normal((20, 20))
        sides = (held_out(side, np.array([10]))[0] for side in (values[:10], values[10:]))
        low, high = estimate(np.subtract(*sides)).ci95
        wrong += not low <= 0 <= high
    assert wrong > 15


def test_a_planted_lead_is_found_and_covered():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((8, 12)) + 2 * rng.standard_normal(12)
    values[3] += 3
    found = contest(table(values), np.arange(4), np.arange(4, 8))
    assert found.low > 0
    assert found.low < 3 < found.high
    assert found.p_more < 0.001 < found.p_less
    turned = contest(table(values), np.arange(4, 8), np.arange(4))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert (turned.p_more, turned.p_less) == (found.p_less, found.p_more)


def test_nothing_is_known_of_one_seed():
    found = contest(table([[0.9], [0.1]]), np.array([0]), np.array([1]))
    assert (found.low, found.high, found.p_more, found.p_less) == (None, None, 1.0, 1.0)
    assert best_between(table([[0.9], [0.1]]), np.arange(2)).low is None


def test_equal_differences_prove_no_more_than_a_sign_test():
    values = [[0.9, 0.9, 0.9], [0.8, 0.8, 0.8]]
    found = contest(table(values), np.array([0]), np.array([1]))
    assert found.p_more == pytest.approx(0.125, rel=0.01)
    assert found.low < 0 < found.high
    with_rows = contest(table(values), np.array([0]), np.array([1]), num_test=1000)
    assert 0.001 < with_rows.p_more < 0.025
    assert with_rows.low > 0
    assert contest(table([[0.9] * 3] * 2), np.array([0]), np.array([1])).p_more == pytest.approx(
        0.5, rel=1e-3
    )


def test_cells_that_are_far_behind_are_no_rivals():
    rng = np.random.default_rng(3)
    values = rng.normal([[0.0], [0.1], [-50.0]], 1.0, (3, 30))
    assert set(rivals(table(values), np.arange(3))) == {0, 1}
    alone = np.full((1, 30), np.nan)
    alone[0, 0] = 50.0
    assert set(rivals(table(np.vstack([values, alone])), np.arange(4))) == {0, 1}


def test_seeds_that_only_some_cells_have():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((4, 10))
    values[0, 5:] = np.nan
    values[1, :5] = np.nan
    found = contest(table(values), np.array([0]), np.array([1, 2, 3]))
    assert found.low < 0 < found.high


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_held_out_choices_are_those_of_the_definition(cells, seeds, draw):
    rng = np.random.default_rng(draw)
    values = rng.integers(0, 5, (cells, seeds)).astype(float)
    values[rng.random(values.shape) < 0.2] = np.nan
    found = held_out(values, np.arange(1, cells + 1))
    for end in range(1, cells + 1):
        for seed in range(seeds):
            others = {
                row: np.nanmean(np.delete(values[row], seed))
                for row in range(end)
                if np.isfinite(values[row, seed]) and np.isfinite(np.delete(values[row], seed)).any()
            }
            chosen = max(others, key=lambda row: (round(others[row], 12), -row)) if others else None
            expected = np.nan if chosen is None else values[chosen, seed]
            assert found[end - 1, seed] == pytest.approx(expected, nan_ok=True)


def test_running_choices_skip_what_cannot_be_chosen():
    scores = np.array([[-np.inf], [1.0], [0.5], [1.0], [2.0]])
    assert running_choice(scores).ravel().tolist() == [-1, 1, 1, 1, 4]
