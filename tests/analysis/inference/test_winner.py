"""The best cell and its contenders."""

import numpy as np
import pytest

from clifftop.analysis.inference import best_of, p_better, utilities
from clifftop.testing.frontiers import TestRows, crossed, level, logistic, simulated_evidence


def evidence_of_levels(seed=0, **options):
    return simulated_evidence(rng=np.random.default_rng(seed), **options)


def test_a_clear_best_stands_alone():
    evidence = evidence_of_levels(frontier=logistic(), epsilons=(0.25, 1.0, 8.0), seeds=10)
    winner = best_of(evidence)
    assert winner.best == 2
    assert winner.contenders == (2,)
    assert (winner.runner_up, winner.p_value < 0.001) == (1, True)
    assert winner.margin.mean == pytest.approx(
        winner.utility.mean - evidence.values(evidence.cells[1]).mean()
    )
    assert winner.held_out.mean == pytest.approx(winner.utility.mean)
    assert winner.held_out.ci95[0] < winner.utility.ci95[0]


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("maximize", [True, False])
def test_the_table_of_p_values_is_the_pairwise_one(missing, maximize):
    """A cell is a contender exactly where no other beats it, the p-value times the number of others."""
    evidence = evidence_of_levels(
        frontier=logistic(scale=3.0), cells=crossed({"lr": (0.1, 1.0)}), missing=missing, maximize=maximize
    )
    cells = evidence.private
    p_values = [
        min(
            1.0,
            (len(cells) - 1) * min(p_better(evidence, other, cell) for other in cells if other is not cell),
        )
        for cell in cells
    ]
    winner = best_of(evidence)
    wanted = {cell.index for cell, p in zip(cells, p_values, strict=True) if p > 0.05} | {winner.best}
    assert set(winner.contenders) == wanted
    others = [p for cell, p in zip(cells, p_values, strict=True) if cell.index != winner.best]
    assert winner.p_value == pytest.approx(max(others), abs=1e-9)
    assert 1 < len(winner.contenders) < len(cells)


def test_one_seed_excludes_nothing():
    winner = best_of(evidence_of_levels(seeds=1))
    assert len(winner.contenders) == 9
    assert (winner.p_value, winner.held_out) == (1.0, None)


def test_one_cell_and_none():
    evidence = evidence_of_levels(epsilons=(1.0,))
    winner = best_of(evidence)
    assert (winner.contenders, winner.runner_up, winner.margin, winner.p_value) == ((0,), None, None, 1.0)
    with pytest.raises(ValueError, match="found none"):
        best_of(evidence, [])


def test_equal_cells_are_all_contenders():
    evidence = evidence_of_levels(frontier=level(0.9), seed_sd=0.0, own_sd=0.0, num_test=None, seeds=5)
    winner = best_of(evidence)
    assert (winner.best, len(winner.contenders), winner.p_value) == (0, 9, 1.0)


@pytest.mark.parametrize("paired", [True, False])
def test_the_truly_best_is_seldom_lost(paired):
    """All cells equal, 200 stores, 5%: more than 22 misses have a chance below one in a thousand."""
    missed = claimed = 0
    for seed in range(200):
        evidence = evidence_of_levels(
            seed=seed,
            frontier=level(0.9),
            epsilons=(1.0, 2.0, 4.0, 8.0),
            seeds=6,
            num_test=1000,
            test_rows=TestRows.REDRAWN,
            paired=paired,
        )
        winner = best_of(evidence)
        missed += 0 not in winner.contenders
        claimed += winner.p_value <= 0.05
    assert missed <= 22
    assert claimed <= missed + 22


def test_order_of_cells_changes_nothing():
    evidence = evidence_of_levels(frontier=logistic(scale=3.0), seeds=6)
    forward, backward = best_of(evidence), best_of(evidence, evidence.private[::-1])
    assert forward.best == backward.best
    assert sorted(forward.contenders) == sorted(backward.contenders)
    assert forward.p_value == pytest.approx(backward.p_value)


def test_utilities_line_up_by_seed():
    evidence = evidence_of_levels(missing=0.4, epsilons=(1.0, 2.0), seeds=8)
    table = utilities(evidence, evidence.private)
    first, second = evidence.private
    assert np.nansum(table[0]) == pytest.approx(evidence.values(first).sum())
    both = np.isfinite(table).all(axis=0)
    assert (table[0] - table[1])[both] == pytest.approx(evidence.differences(first, second))
