"""Ladders: utility by level of privacy, tuned without looking."""

import dataclasses
import math

import numpy as np
import pytest

from clifftop.analysis.cliffs.ladder import MOST_LEVELS, ladder_of
from clifftop.analysis.evidence import Arm, Epsilon
from clifftop.testing.frontiers import Parts, crossed, level, logistic, simulated_evidence


def evidence_of(seed=0, **options):
    return simulated_evidence(rng=np.random.default_rng(seed), **options)


def with_cells(evidence, change):
    cells = tuple(change(cell) for cell in evidence.cells)
    return dataclasses.replace(evidence, cells=cells)


def test_cells_that_differ_in_noise_alone_are_levels():
    evidence = evidence_of(seeds=4)
    ladder = ladder_of(evidence, evidence.private[::-1])
    assert not ladder.tuned
    assert ladder.epsilons.tolist() == [cell.epsilon.upper for cell in evidence.private]
    assert ladder.utility.shape == (1, 9, 4)
    assert (ladder.utility[0, 3] == evidence.values(evidence.private[3])).all()
    assert (ladder.baseline[0] == evidence.values(evidence.of(Arm.NEITHER)[0])).all()
    assert (ladder.num_test, ladder.worst, ladder.left_out) == (1000, 0.0, 0)


def test_less_is_better_changes_signs_only():
    more, less = evidence_of(), evidence_of(maximize=False)
    a, b = ladder_of(more, more.private), ladder_of(less, less.private)
    assert b.utility + 1 == pytest.approx(a.utility)
    assert b.baseline + 1 == pytest.approx(a.baseline)
    assert (a.worst, b.worst) == (0.0, -1.0)


def test_a_tuned_level_is_the_best_setting_up_to_it():
    """The second learning rate is better, and the last level has it worse than the level before."""

    def parts(setting, epsilon):
        good = 0.9 if epsilon < 8 else 0.5
        return Parts(original=0.95, noise=0.95 - (good if setting["lr"] == 1.0 else 0.3))

    evidence = evidence_of(
        parts=parts, cells=crossed({"lr": (0.1, 1.0)}), epsilons=(1.0, 2.0, 8.0), seeds=6, num_test=None
    )
    ladder = ladder_of(evidence, evidence.private)
    assert ladder.tuned
    assert ladder.utility.mean(axis=(0, 2)) == pytest.approx([0.9] * 3, abs=0.03)
    assert ladder.utility.shape == (10, 3, 6)
    assert ladder.baseline.shape == (10, 6)


def test_what_is_chosen_is_not_optimistic():
    evidence = [
        evidence_of(
            seed, frontier=level(0.7), cells=crossed({"lr": range(8)}), seed_sd=0.0, own_sd=0.05, seeds=6
        )
        for seed in range(40)
    ]
    tops = [ladder_of(found, found.private).utility[:, -1].mean() for found in evidence]
    assert np.mean(tops) == pytest.approx(0.7, abs=0.012)
    best = [max(found.values(cell).mean() for cell in found.private) for found in evidence]
    assert np.mean(best) > 0.74


def test_levels_within_a_hundredth_are_one():
    evidence = evidence_of(epsilons=(1.0, 1.005, 2.0))
    ladder = ladder_of(evidence, evidence.private)
    assert ladder.tuned
    assert ladder.epsilons.tolist() == [1.005, 2.0]


def test_many_levels_are_thinned_over_the_whole_range():
    evidence = evidence_of(epsilons=np.geomspace(0.1, 100, 60), seeds=3)
    ladder = ladder_of(evidence, evidence.private)
    assert ladder.epsilons.size <= MOST_LEVELS
    assert ladder.epsilons[[0, -1]] == pytest.approx([0.1, 100])
    assert (ladder.epsilons[1:] / ladder.epsilons[:-1]).max() < 1.6


def test_cells_without_epsilon_or_scores_are_no_levels():
    evidence = evidence_of(epsilons=(1.0, 2.0, 4.0), missing=0.0)

    def spoil(cell):
        if cell.index == 0:
            return dataclasses.replace(cell, epsilon=Epsilon(lower=1.0, upper=math.inf))
        if cell.index == 1:
            return dataclasses.replace(cell, scores={"accuracy": np.full(cell.seeds.size, np.nan)})
        return cell

    spoilt = with_cells(evidence, spoil)
    assert ladder_of(spoilt, spoilt.private).epsilons.tolist() == [4.0]
    assert ladder_of(spoilt, []).epsilons.size == 0


def test_a_cell_that_lacks_a_common_seed_is_left_out():
    evidence = evidence_of(epsilons=(1.0, 2.0, 4.0), seeds=5)

    def shorten(cell):
        if cell.index != 1:
            return cell
        scores = cell.scores["accuracy"].copy()
        scores[0] = np.nan
        return dataclasses.replace(cell, scores={"accuracy": scores})

    short = with_cells(evidence, shorten)
    ladder = ladder_of(short, short.private)
    assert ladder.epsilons.tolist() == [1.0, 4.0]
    assert (ladder.left_out, ladder.utility.shape) == (1, (1, 2, 5))


def test_one_seed_gives_a_ladder_all_the_same():
    evidence = evidence_of(frontier=logistic(), cells=crossed({"lr": (0.1, 1.0)}), seeds=1)
    assert ladder_of(evidence, evidence.private).utility.shape == (1, 9, 1)
