"""Standard errors from all cells that compete: exact where theory is, sane elsewhere."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from clifftop.analysis.frontier.spreads import (
    _inverse_trigamma,
    errors_of_differences,
    errors_of_means,
    moderated,
    own_spread,
)
from clifftop.analysis.frontier.table import SeedTable


def table(utilities, *, aligned=True):
    utilities = np.asarray(utilities, dtype=float)
    some = np.arange(len(utilities))
    ones = np.ones(len(some))
    return SeedTable(
        cells=some, epsilons=ones, levels=ones, compute=ones, utilities=utilities, aligned=aligned
    )


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 8)) + 3 * rng.standard_normal(8)


def test_one_cell_a_side_is_the_paired_t_test(values):
    found = errors_of_differences(table(values), np.array([0]), np.array([1]))
    assert found.errors[0] == pytest.approx(stats.sem(values[0] - values[1]))
    assert found.dofs.tolist() == [7]


def test_one_cell_a_side_without_common_seeds_is_welchs_test(values):
    found = errors_of_differences(table(values, aligned=False), np.array([0]), np.array([1]))
    expected = stats.ttest_ind(values[0], values[1], equal_var=False)
    assert found.errors[0] == pytest.approx(np.hypot(stats.sem(values[0]), stats.sem(values[1])))
    assert expected.df - 2 < found.dofs[0] <= expected.df


def test_one_mean_has_its_own_standard_error(values):
    found = errors_of_means(table(values), np.array([2]))
    assert found.errors[0] == pytest.approx(stats.sem(values[2]))
    assert found.dofs.tolist() == [7]


def test_many_cells_know_more_than_one():
    """With equal spreads the errors come near the truth, though there are three seeds."""
    rng = np.random.default_rng(1)
    errors = [
        errors_of_differences(table(rng.standard_normal((40, 3))), np.arange(20), np.arange(20, 40))
        for _ in range(50)
    ]
    found = np.concatenate([each.errors for each in errors])
    assert np.mean(found) == pytest.approx(np.sqrt(2 / 3), rel=0.05)
    assert np.std(found) < 0.15
    assert np.median([each.dofs.min() for each in errors]) > 10


def test_what_a_seed_does_to_one_side_keeps_the_freedom_of_the_seeds():
    rng = np.random.default_rng(2)
    values = 0.01 * rng.standard_normal((20, 4))
    values[:10] += rng.standard_normal(4)
    found = errors_of_differences(table(values), np.arange(10), np.arange(10, 20))
    assert set(found.dofs) == {3}
    assert found.errors == pytest.approx(stats.sem(values[0] - values[15]), rel=0.1)


def test_what_all_cells_have_in_common_adds_nothing(values):
    moved = errors_of_differences(table(values + 100 * np.arange(8)), np.arange(3), np.arange(3, 6))
    assert moved.errors == pytest.approx(
        errors_of_differences(table(values), np.arange(3), np.arange(3, 6)).errors
    )


def test_variances_that_differ_are_hardly_drawn_together():
    rng = np.random.default_rng(3)
    truth = np.repeat([1.0, 10_000.0], 50)
    drawn, dof = moderated(truth * rng.chisquare(4, 100) / 4, 4)
    assert 4 < dof < 5.5
    assert np.median(drawn[:50]) < 5
    assert np.median(drawn[50:]) > 2000
    equal, more = moderated(rng.chisquare(4, 300) / 4, 4)
    assert more > 30
    assert equal == pytest.approx(1, rel=0.3)


def test_cells_without_spread_keep_theirs():
    drawn, dof = moderated(np.zeros(5), 3)
    assert (drawn.tolist(), dof) == ([0.0] * 5, 3.0)
    assert own_spread(np.full((4, 3), 0.9)).variances.tolist() == [0.0] * 4


def test_gaps_are_taken_out():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((4, 10))
    gapped = values.copy()
    gapped[0, 0] = gapped[3, 1] = np.nan
    whole = errors_of_differences(table(values[:, 2:]), np.array([0, 1]), np.array([2, 3]))
    assert errors_of_differences(table(gapped), np.array([0, 1]), np.array([2, 3])).errors == pytest.approx(
        whole.errors
    )
    gapped[0, 5:] = np.nan
    gapped[3, :5] = np.nan
    assert errors_of_differences(table(gapped), np.array([0, 1]), np.array([2, 3])).n == 4


def test_the_inverse_of_trigamma():
    for x in (0.3, 1.0, 7.5, 400.0):
        assert _inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x)
