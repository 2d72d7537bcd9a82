"""Many claims at once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.inference import (
    Claim,
    best_of,
    difference_of,
    holm,
    p_better,
    stated,
)
from clifftop.analysis.uncertainty import Estimate
from clifftop.testing.frontiers import TestRows, crossed, level, simulated_evidence

NUMBER = Estimate(mean=0.1, std=0.0, n=3, ci95=None)


def claims(*p_values):
    return [Claim(kind="gain", subject=(i,), estimate=NUMBER, p_value=p) for i, p in enumerate(p_values)]


def test_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx((0.04, 0.06, 0.06, 0.5))
    assert holm([]) == ()
    assert holm([math.nan, 0.01]) == pytest.approx((1.0, 0.02))


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match="found p="):
        holm([0.5, wrong])


@given(st.lists(st.floats(0, 1), max_size=30))
@settings(derandomize=True, max_examples=60)
def test_between_no_correction_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, raised in zip(p_values, adjusted, strict=True):
        assert p <= raised <= min(1.0, len(p_values) * p + 1e-15)
    assert sorted(range(len(p_values)), key=lambda i: p_values[i]) == sorted(
        range(len(p_values)), key=lambda i: (adjusted[i], p_values[i])
    )


def test_stated_keeps_order_and_counts_all_that_were_considered():
    family = claims(0.03, 0.001, 0.9, 0.012)
    assert [claim.subject[0] for claim in stated(family)] == [1, 3]
    assert [claim.subject[0] for claim in stated(family, alpha=0.01)] == [1]
    assert [claim.subject[0] for claim in stated([family[0]])] == [0]


def considered(evidence):
    """What a small report would like to say: every pair, the best cell, every cliff."""
    cells = evidence.private
    pairs = [(a, b) for a in cells for b in cells if a is not b]
    found = [
        Claim(
            kind="better",
            subject=(a.index, b.index),
            estimate=difference_of(evidence, a, b),
            p_value=p_better(evidence, a, b),
        )
        for a, b in pairs
    ]
    winner = best_of(evidence)
    found.append(Claim(kind="best", subject=(winner.best,), estimate=NUMBER, p_value=winner.p_value))
    for rule, cliff in cliffs_by_rule(evidence).items():
        found.append(Claim(kind="cliff", subject=(rule,), estimate=NUMBER, p_value=cliff.p_value))
    return found


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_report_on_nothing_says_nothing(seeds):
    """60 stores without effect: 9 or more with a claim have a chance below one in 300 if 5% is kept."""
    wrong = 0
    for store in range(60):
        evidence = simulated_evidence(
            rng=np.random.default_rng(store),
            frontier=level(0.9),
            epsilons=(1.0, 2.0, 4.0),
            cells=crossed({"clip_norm": (0.1, 1.0)}),
            seeds=seeds,
            num_test=500,
            test_rows=TestRows.REDRAWN,
        )
        wrong += bool(stated(considered(evidence)))
    assert stats.binom.sf(8, 60, 0.05) < 1 / 300
    assert wrong <= 8


def test_without_the_correction_it_would_talk():
    """Negative control of the test above."""
    evidence = [
        simulated_evidence(
            rng=np.random.default_rng(store), frontier=level(0.9), epsilons=(1.0, 2.0, 4.0), num_test=None
        )
        for store in range(60)
    ]
    talked = [any(claim.p_value <= 0.05 for claim in considered(found)) for found in evidence]
    assert sum(talked) > 8
