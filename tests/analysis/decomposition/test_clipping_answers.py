"""What clipping costs at each learning rate and at the best, as claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clifftop.analysis.decomposition import (
    COST_AT_BEST_LR,
    COST_AT_LR,
    COST_BELOW,
    COST_RECOVERED,
    ClippingAnswer,
    clipping_answers,
    decompose,
)
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.inference import stated
from clifftop.testing.frontiers import Parts, crossed, simulated_evidence

CLIPPING: dict[tuple[object, object], float] = {
    (0.1, 0.1): 0.186,
    (0.1, 1.0): 0.002,
    (10.0, 0.1): 0.0,
    (10.0, 1.0): 0.0,
}


def papers_study(
    seeds: int = 20, arms: tuple[Arm, ...] = tuple(Arm), lrs: tuple[float, ...] = (0.1, 1.0)
) -> Evidence:
    """Two clip norms, at their cost in the published study and with the learning rate tuned."""
    return simulated_evidence(
        rng=np.random.default_rng(5),
        parts=lambda setting, _: Parts(clipping=CLIPPING[setting["clip_norm"], setting["lr"]], noise=0.01),
        epsilons=(1.0, 8.0),
        cells=crossed({"clip_norm": (0.1, 10.0), "lr": lrs}),
        arms=arms,
        seeds=seeds,
        own_sd=0.003,
        num_test=10_000,
    )


def first(answers: tuple[ClippingAnswer, ...]) -> ClippingAnswer:
    assert [answer.clip_norm for answer in answers] == [0.1, 10.0]
    return answers[0]


def test_the_papers_question_is_answered() -> None:
    answer = first(clipping_answers(papers_study()))
    small, large = answer.at_lr
    assert (small.kind, small.subject) == (COST_AT_LR, (0.1, 0.1))
    assert small.estimate.mean == pytest.approx(0.186, abs=0.006)
    assert large.subject == (0.1, 1.0)
    assert answer.at_best_lr is not None
    assert answer.at_best_lr.kind == COST_AT_BEST_LR
    assert answer.at_best_lr.subject[:2] == (0.1, 1.0)
    assert answer.below is not None
    assert (answer.below.kind, answer.below.subject) == (COST_BELOW, (0.1, 0.01))
    assert answer.below.estimate == answer.at_best_lr.estimate
    assert answer.recovered[0].kind == COST_RECOVERED
    assert answer.recovered[0].estimate.mean == pytest.approx(
        small.estimate.mean - answer.at_best_lr.estimate.mean, abs=1e-9
    )
    assert len(answer.claims) == 6
    kinds = {claim.kind for claim in stated(answer.claims) if 1.0 not in claim.subject[1:2]}
    assert kinds >= {COST_AT_LR, COST_BELOW, COST_RECOVERED}


@pytest.mark.parametrize("below", [0.0005, 0.002, 0.004, 0.01])
def test_a_claim_at_one_in_twenty_has_an_interval_on_its_side(below: float) -> None:
    for answer in clipping_answers(papers_study(seeds=6), below=below):
        for claim in answer.claims:
            assert claim.estimate.ci95 is not None
            low, high = claim.estimate.ci95
            beyond = high < below if claim.kind == COST_BELOW else low > 0
            assert (claim.p_value <= 0.05) == beyond


def test_costs_are_the_clipping_parts_of_the_decomposition() -> None:
    found = papers_study()
    answer, split = first(clipping_answers(found)), decompose(found)
    loss = split.fixed[0]
    assert (loss.setting["clip_norm"], loss.setting["lr"]) == (0.1, 0.1)
    assert loss.clipping is not None
    assert answer.at_lr[0].estimate.mean == pytest.approx(loss.clipping.mean, abs=1e-12)
    assert answer.at_lr[0].estimate.ci95 == pytest.approx(loss.clipping.ci95, abs=1e-12)
    tuned = split.tuned_for(loss.cell)
    assert tuned is not None
    assert tuned.clipping is not None
    assert answer.at_best_lr is not None
    assert answer.at_best_lr.estimate.ci95 == pytest.approx(tuned.clipping.ci95, abs=1e-12)


def test_without_the_clipping_arm_there_is_no_answer() -> None:
    assert clipping_answers(papers_study(arms=(Arm.BOTH, Arm.NEITHER, Arm.NOISE))) == ()


def test_one_learning_rate_leaves_the_cost_at_it() -> None:
    answer = first(clipping_answers(papers_study(lrs=(0.1,))))
    assert answer.at_best_lr is answer.below is None
    assert answer.recovered == ()
    assert answer.why_not_tuned is not None
    assert "one learning rate" in answer.why_not_tuned
    assert [claim.kind for claim in answer.claims] == [COST_AT_LR]


def test_one_seed_claims_nothing() -> None:
    found = papers_study(seeds=1)
    assert stated([claim for answer in clipping_answers(found) for claim in answer.claims]) == ()


def test_no_private_cell_is_needed() -> None:
    found = papers_study()
    kept = [cell for cell in found.cells if cell.arm in (Arm.NEITHER, Arm.CLIPPING)]
    alone = replace(found, cells=tuple(replace(cell, index=i) for i, cell in enumerate(kept)))
    assert [answer.claims for answer in clipping_answers(alone)] == [
        answer.claims for answer in clipping_answers(found)
    ]
