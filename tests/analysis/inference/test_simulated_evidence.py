"""Planted evidence has what was planted."""

import math
import time

import numpy as np
import pytest

from clifftop.analysis.evidence import Arm
from clifftop.testing.frontiers import (
    Parts,
    TestRows,
    crossed,
    level,
    logistic,
    simulated_evidence,
    step,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def planted(setting, epsilon):
    return Parts(
        original=0.95,
        architecture=0.05,
        clipping=0.1 if setting["clip_norm"] == 0.1 else 0.02,
        noise=0.2 / epsilon,
        interaction=-0.01,
    )


@pytest.mark.parametrize("rows", list(TestRows))
def test_means_of_all_arms_are_the_planted_ones(rows):
    evidence = simulated_evidence(
        rng=rng(),
        parts=planted,
        epsilons=(1.0, 4.0),
        cells=crossed({"clip_norm": (0.1, 1.0)}),
        arms=tuple(Arm),
        seeds=400,
        num_test=4000,
        test_rows=rows,
    )
    assert len(evidence.private) == 4
    for cell in evidence.private:
        parts = planted(cell.setting, cell.epsilon.upper)
        for arm in Arm:
            found = evidence.values(evidence.counterpart(cell, arm)).mean()
            assert found == pytest.approx(parts.utility(arm), abs=0.02)


def test_arms_add_up():
    parts = planted({"clip_norm": 0.1}, 2.0)
    lost = parts.architecture + parts.clipping + parts.noise + parts.interaction
    assert parts.original - parts.utility(Arm.BOTH) == pytest.approx(lost)


def test_counterparts_that_disagree_are_refused():
    with pytest.raises(ValueError, match="must agree on its mean"):
        simulated_evidence(
            rng=rng(), arms=(Arm.BOTH, Arm.CLIPPING), parts=lambda _, epsilon: Parts(clipping=0.1 / epsilon)
        )


def test_evidence_without_private_cells_is_refused():
    with pytest.raises(ValueError, match=r"Arm\.BOTH"):
        simulated_evidence(rng=rng(), arms=(Arm.NEITHER,))


def test_the_seed_effect_is_shared_where_paired_and_only_there():
    def correlation(*, paired):
        evidence = simulated_evidence(
            rng=rng(), frontier=level(0.7), epsilons=(1.0, 2.0), seeds=300, num_test=None, paired=paired
        )
        return np.corrcoef(*(evidence.values(cell) for cell in evidence.private))[0, 1]

    assert correlation(paired=True) > 0.7
    assert abs(correlation(paired=False)) < 0.2


def test_fixed_rows_leave_an_error_that_no_seed_shows():
    """The mean over many seeds misses the planted one by about the binomial error of one test set."""

    def errors(rows):
        means = [
            simulated_evidence(
                rng=rng(seed), frontier=level(0.8), epsilons=(1.0,), seeds=60, num_test=100, test_rows=rows
            )
            for seed in range(60)
        ]
        return np.std([evidence.values(evidence.private[0]).mean() for evidence in means])

    binomial = math.sqrt(0.8 * 0.2 / 100)
    assert errors(TestRows.FIXED) == pytest.approx(binomial, rel=0.35)
    assert errors(TestRows.REDRAWN) < 0.35 * binomial


def test_shapes():
    smooth = logistic(low=0.1, high=0.9, middle=2.0, scale=1.0)
    assert smooth(4.0) == pytest.approx(0.1 + 0.8 / (1 + math.exp(-1)))
    assert (step(at=2.0)(1.99), step(at=2.0)(2.0)) == (0.2, 0.9)


def test_error_is_what_accuracy_leaves_and_runs_may_be_missing():
    evidence = simulated_evidence(rng=rng(), maximize=False, missing=0.5, seeds=40)
    cell = evidence.private[0]
    assert evidence.metric == "error"
    assert 5 < evidence.values(cell).size < 35
    known = cell.scores["accuracy"] + cell.scores["error"]
    assert np.nanmax(np.abs(known - 1)) < 1e-12


def test_a_thousand_take_seconds():
    begun = time.process_time()
    for seed in range(20):
        simulated_evidence(rng=rng(seed), cells=crossed({"clip_norm": (0.1, 1.0, 10.0)}), arms=tuple(Arm))
    assert time.process_time() - begun < 1.0
