"""Conclusions: what is planted is found, and where nothing is planted nothing is claimed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.frontier import find_frontier
from clifftop.analysis.inference import Claim
from clifftop.analysis.uncertainty import Estimate, estimate
from clifftop.report.conclusions import Conclusion, Kind, conclude
from clifftop.report.conclusions.drafts import Draft, above, corrected, decided, p_above
from clifftop.testing.frontiers import Parts, TestRows, crossed, level, simulated_evidence

ARMS = (Arm.BOTH, Arm.NEITHER, Arm.CLIPPING, Arm.NOISE)
EPSILONS = (0.5, 2.0, 8.0, 32.0)
CELLS = crossed({"lr": (0.1, 1.0), "clip_norm": (0.1, 1.0)})
NO_EFFECT = ("No cliff",)
"""Titles of claims that are true where nothing has an effect."""


def concluded(evidence: Evidence) -> tuple[Conclusion, ...]:
    return conclude(
        evidence,
        frontier=find_frontier(evidence, draws=50),
        decomposition=decompose(evidence),
        cliffs=cliffs_by_rule(evidence),
    )


def claims_of(found: tuple[Conclusion, ...]) -> list[str]:
    return [one.title for one in found if one.kind is Kind.CLAIM and not one.title.startswith(NO_EFFECT)]


def test_reports_on_nothing_claim_something_at_most_once_in_twenty():
    """80 stores without any effect; more than 9 with a claim has probability 0.01 at a true rate of 5%.

    ``benchmarks/false_claims.py`` does the same for 1,000.
    """
    wrong = 0
    for number in range(80):
        evidence = simulated_evidence(
            rng=np.random.default_rng(number),
            frontier=level(0.8),
            cells=CELLS,
            epsilons=EPSILONS,
            arms=ARMS,
            seeds=(3, 5, 10, 20)[number % 4],
            num_test=(100, 1000)[number // 4 % 2],
            test_rows=list(TestRows)[number // 8 % 3],
        )
        wrong += bool(claims_of(concluded(evidence)))
    assert wrong <= 9


def learning_rate_matters(setting, epsilon):
    """Clipping at C = 0.1 costs 20 points at learning rate 0.1 and nothing at 1; noise costs by epsilon."""
    slow = setting["lr"] == 0.1 and setting["clip_norm"] == 0.1
    return Parts(original=0.95, clipping=0.2 if slow else 0.0, noise=0.1 / epsilon)


def planted(parts, **options):
    return simulated_evidence(
        rng=np.random.default_rng(7), cells=CELLS, epsilons=EPSILONS, arms=ARMS, parts=parts, **options
    )


def at_slow_rate(evidence):
    return conclude(evidence, frontier=None, decomposition=decompose(evidence), cliffs={}, reference_lr=0.1)[
        0
    ]


def test_a_loss_that_the_learning_rate_explains_is_put_down_to_it():
    # Two baselines tie without privacy: the report is told which learning rate to start from.
    first = at_slow_rate(planted(learning_rate_matters, seeds=20, own_sd=0.003, num_test=None))
    assert (first.kind, first.title) == (
        Kind.CLAIM,
        "What looks like the cost of clipping is the learning rate",
    )
    # With so few test rows that a point cannot be told from nothing, less is said.
    first = at_slow_rate(planted(learning_rate_matters, seeds=20, num_test=100))
    assert first.title == "The learning rate explains part of what clipping seems to cost"
    first = at_slow_rate(planted(lambda _, __: Parts(original=0.95, clipping=0.2), seeds=20))
    assert (
        first.title
        == "Clipping at C\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.1 costs utility at its best learning rate too"
    )
    assert "At learning rate 0.1, clipping alone (C\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.1)" in first.text


@pytest.mark.parametrize(
    ("parts", "title"),
    [
        (Parts(original=0.95, noise=0.2, clipping=0.02), "At the strictest level the noise costs most"),
        (Parts(original=0.95, noise=0.02, clipping=0.2), "At the strictest level the clipping costs most"),
        (Parts(original=0.95, interaction=0.2), "At the strictest level noise and clipping cost together"),
    ],
)
def test_what_costs_most_is_named(parts, title):
    found = concluded(planted(lambda _, __: parts, seeds=20))
    assert [one.kind for one in found if one.title.startswith(title)] == [Kind.CLAIM]


def test_one_learning_rate_is_a_caution_and_one_seed_claims_nothing():
    parts = Parts(original=0.95, clipping=0.2, noise=0.1)
    one_lr = simulated_evidence(
        rng=np.random.default_rng(3), epsilons=EPSILONS, arms=ARMS, parts=lambda _, __: parts, seeds=10
    )
    titles = [one.title for one in concluded(one_lr)]
    assert titles[0] == "One learning rate cannot tell clipping from slow training"
    one_seed = concluded(planted(lambda _, __: parts, seeds=1))
    assert claims_of(one_seed) == []
    assert "One seed a setting" in [one.title for one in one_seed]


def test_order_of_seeds_changes_nothing():
    evidence = planted(learning_rate_matters, seeds=6)
    turned = Evidence(
        **{
            name: getattr(evidence, name)
            for name in ("name", "metric", "maximize", "num_test", "paired", "axes", "delta")
        },
        cells=tuple(_renamed(cell) for cell in evidence.cells),
    )
    assert [one.title for one in concluded(turned)] == [one.title for one in concluded(evidence)]


def _renamed(cell):
    order = np.arange(cell.seeds.size)[::-1]
    return replace(
        cell,
        scores={name: values[order] for name, values in cell.scores.items()},
        diverged=cell.diverged[order],
    )


def test_every_claim_of_a_draft_must_hold_and_all_drafts_are_one_family():
    def claim(p):
        return Claim(kind="k", subject=(), estimate=estimate([1.0, 1.1]), p_value=p)

    said, unsaid = (Conclusion(title=t, text="", kind=Kind.CLAIM) for t in ("said", "unsaid"))
    other = Conclusion(title="other", text="", kind=Kind.MEASURE)
    drafts = [
        Draft(conclusion=said, claims=(claim(0.001),)),
        Draft(conclusion=unsaid, claims=(claim(0.001), claim(0.04)), otherwise=other),
        Draft(conclusion=unsaid, claims=(claim(0.03),)),
    ]
    # Holm over four: the third smallest counts twice, and the largest is no smaller than it.
    assert [one.title for one in decided(drafts)] == ["said", "other"]


def test_p_values_follow_the_interval():
    found = Estimate(mean=0.2, std=0.1, n=5, ci95=(0.1, 0.3))
    at_edge = Estimate(mean=0.1, std=0.1, n=5, ci95=(0.0, 0.2))
    assert p_above(at_edge, 0.0) == pytest.approx(0.025)
    assert p_above(found, 0.2) == pytest.approx(0.5)
    up = above("k", (), found, than=0.15)
    assert up is not None
    # Half an interval's half width above the bound, in units of its standard error, on 4 degrees of freedom.
    assert up.p_value == pytest.approx(float(student.sf(student.ppf(0.975, 4) / 2, 4)))
    assert corrected(up, 100).p_value == 1.0
    assert above("k", (), Estimate(mean=1.0, std=0.0, n=1, ci95=None)) is None
