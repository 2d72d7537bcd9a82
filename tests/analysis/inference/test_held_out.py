"""Choosing on one half of the seeds, judging on the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.analysis.inference import cross_fitted, fitted_estimate, fitted_p_greater, p_greater, summarised
from clifftop.analysis.inference.held_out import WIDENING, halvings

STORES = 300


def tables(cells, n, *, gap=0.0, seed=0):
    rng = np.random.default_rng(seed)
    means = 0.7 - gap * np.arange(cells)
    return means[:, None] + 0.05 * rng.standard_normal((STORES, cells, n))


@pytest.mark.parametrize(("n", "ways"), [(2, 1), (3, 3), (4, 3), (5, 10), (6, 10), (7, 10), (30, 10)])
def test_halves(n, ways):
    found = halvings(n)
    assert found.shape == (ways, n)
    assert set(found.sum(axis=1)) == {n // 2}
    if n < 7:
        parts = {frozenset([tuple(row), tuple(~row)]) for row in found}
        assert len(parts) == ways, "each once"


def test_by_hand():
    table = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 1.0]])
    found = cross_fitted(table)
    assert found[0].tolist() == [1.0, 0.0, 1.0], (
        "seed 0 by the first row, best on 1 and 2; these by the second"
    )
    assert found[1].tolist() == [1.0, 0.0, 3.0], "seed 1 by the second, best on 0 and 2; these by the first"
    assert found[2].tolist() == [1.0, 2.0, 1.0], "seed 2 by the second, best on 0 and 1; these by the first"
    running = cross_fitted(table, running=True)
    assert running[:, 0].tolist() == [table[0].tolist()] * 3
    assert (running[:, -1] == found).all()


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="n=1"):
        cross_fitted(np.ones((2, 1)))


def test_one_row_is_itself():
    values = np.array([[0.3, 0.5, 0.4, 0.9]])
    found = cross_fitted(values)
    assert (found == values).all()
    plain, widened = summarised(values[0]), fitted_estimate(found)
    assert widened.mean == pytest.approx(plain.mean)
    assert widened.ci95[1] - widened.mean == pytest.approx(WIDENING * (plain.ci95[1] - plain.mean))
    assert fitted_p_greater(found) > p_greater(values[0])
    assert fitted_p_greater(found[:, :1]) == 1
    assert fitted_estimate(found[:, :1]).ci95 is None


def test_no_spread_is_no_certainty():
    assert fitted_p_greater(np.full((3, 3), 0.2)) == pytest.approx(0.125)
    assert fitted_p_greater(np.full((3, 3), -0.2)) == 1
    assert fitted_p_greater(np.full((3, 3), 0.2), num_test=50) > 1e-3


@pytest.mark.parametrize("cells", [2, 9])
@pytest.mark.parametrize("n", [3, 10])
def test_of_equal_settings_it_has_no_bias_and_keeps_its_level(cells, n):
    """300 intervals at 95%: fewer than 270 that hold the truth have a chance below one in 5,000."""
    found = [fitted_estimate(cross_fitted(table)) for table in tables(cells, n)]
    assert np.mean([f.mean for f in found]) == pytest.approx(0.7, abs=0.006)
    assert sum(f.ci95[0] <= 0.7 <= f.ci95[1] for f in found) >= 270


def test_leaving_one_out_would_not():
    """Negative control: the t-interval of leave-one-out values, the same tables."""
    covered = 0
    for table in tables(9, 10):
        others = table.sum(axis=1, keepdims=True) - table
        values = table[others.argmax(axis=0), np.arange(10)]
        low, high = summarised(values).ci95
        covered += low <= 0.7 <= high
    assert covered < 250


def test_a_clear_best_is_taken_throughout():
    table = tables(5, 6, gap=0.5)[0]
    assert (cross_fitted(table) == table[0]).all()


@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 1000))
@settings(derandomize=True, max_examples=40)
def test_values_are_of_the_table_and_never_of_a_row_that_loses_everywhere(n, cells, seed):
    table = np.random.default_rng(seed).random((cells, n))
    table = np.vstack([table, table.min(axis=0) - 1])
    for judged in cross_fitted(table):
        assert all(judged[s] in table[:-1, s] for s in range(n))
