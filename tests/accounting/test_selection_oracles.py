"""The cost of a selection beside another library's (`tests/oracles/make_selection.py`)."""

import json
from pathlib import Path

import pytest

from clifftop.accounting import epsilon
from clifftop.events import Gaussian, NeighboringRelation, PoissonSampled, RepeatAndSelect, SelfComposed
from clifftop.lab.tuning.laws import law_named

ROWS = json.loads((Path(__file__).parent.parent / "oracles" / "selection.json").read_text())
RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


def name(row) -> str:
    return f"{row['law'][0]}-{row['law'][1]:g}-sigma-{row['sigma']:g}-q-{row['q']:g}"


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_a_tuning_costs_less_than_the_published_theorem_says_and_no_less_than_one_run(row):
    run = SelfComposed(PoissonSampled(row["q"], Gaussian(row["sigma"])), row["steps"])
    event = RepeatAndSelect(run, law_named(*row["law"]))
    bound = epsilon(event, delta=row["delta"], neighboring_relation=RELATION)
    assert bound.upper <= row["renyi"]
    assert bound.upper >= row["one_run"] * (1 - 1e-3)  # that accountant rounds up too
    assert bound.lower == pytest.approx(row["one_run"], rel=1e-2)


def test_a_bound_that_forgets_the_selection_would_be_seen():
    """The negative control: one run's epsilon, sold as the tuning's, is far below every published value."""
    assert all(row["one_run"] < 0.9 * row["renyi"] for row in ROWS)
