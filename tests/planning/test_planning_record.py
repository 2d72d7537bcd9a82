"""The recorded benchmark still speaks of today's advice, which lost less than a point in every table."""

import json
from pathlib import Path

import pytest

from clifftop.planning import Compute, Question, plan_training

RECORD = Path(__file__).parents[2] / "benchmarks" / "records" / "planning.json"
JUDGED = json.loads(RECORD.read_text())["figures"]["judged"]


@pytest.mark.parametrize("judged", JUDGED, ids=lambda j: f"{j['setting']}, epsilon {j['epsilon']:g}")
def test_the_proposal_that_was_judged_is_the_one_made_today(judged):
    compute = Compute.of_epochs(judged["epochs"], num_examples=judged["num_examples"])
    question = Question(
        num_examples=judged["num_examples"],
        epsilon=judged["epsilon"],
        delta=1e-5,
        compute=compute,
        parameters=judged["parameters"],
    )
    plan = plan_training(question, batch_sizes=[row["batch_size"] for row in judged["table"]])
    assert plan.proposal.candidate.batch_size == judged["proposed"]
    proposed = next(row for row in judged["table"] if row["batch_size"] == judged["proposed"])
    assert plan.proposal.candidate.noise_multiplier == pytest.approx(proposed["noise_multiplier"], rel=1e-3)
    assert plan.proposal.lr == pytest.approx(proposed["guess"] / 0.1, rel=0.05)


def test_no_proposal_lost_a_point():
    assert all(judged["regret"] < 1 for judged in JUDGED)
    # The control: the tables do hold rows that are worse by far.
    assert all(judged["worst_regret"] > 1.5 for judged in JUDGED)
