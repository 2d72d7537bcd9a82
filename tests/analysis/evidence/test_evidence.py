"""Evidence: from a table of runs to cells, arms and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from clifftop.analysis.evidence import Arm, Evidence, EvidenceError, evidence_of

BOTH: Mapping[str, Any] = {"arm": "both", "noise_multiplier": 1.0, "clip_norm": 0.5, "epsilon": 3.0}
NEITHER: Mapping[str, Any] = {"arm": "neither", "noise_multiplier": 0.0, "clip_norm": math.inf}
CLIPPING: Mapping[str, Any] = {"arm": "clipping", "noise_multiplier": 0.0, "clip_norm": 0.5}
NOISE: Mapping[str, Any] = {
    "arm": "noise",
    "noise_multiplier": 1.0,
    "clip_norm": 0.5,
    "clipping": "unclipped",
}
ORIGINAL: Mapping[str, Any] = {**NEITHER, "arm": "original", "model": "with_batch_norm"}


def run(configuration: int, seed: int, accuracy: float | None, **own: Any) -> dict[str, Any]:
    row = {
        "id": f"{configuration}-{seed}",
        "status": "done",
        "arm": "both",
        "noise_multiplier": 1.0,
        "clip_norm": 0.5,
        "lr": 0.1,
        "seed": seed,
        "steps": 10,
        "expected_batch_size": 8.0,
        "clipping": "flat",
        "model": "mlp",
        "configuration": configuration,
        "delta": 1e-5,
        "epsilon_lower": None,
        "epsilon": None,
        "error": None,
        "accuracy": accuracy,
        "loss": 1.0,
        "mean_loss": 2.0,
    }
    row |= own
    row["epsilon_lower"] = row["epsilon"]
    return row


def evidence(*rows: dict[str, Any], **options: Any) -> Evidence:
    return evidence_of(pl.DataFrame(rows, infer_schema_length=None), name="test", **options)


@pytest.fixture(scope="module")
def five_arms() -> Evidence:
    arms = (BOTH, NEITHER, CLIPPING, NOISE, ORIGINAL)
    rows = [run(i, seed, 0.9 - 0.1 * i + 0.01 * seed, **arm) for i, arm in enumerate(arms) for seed in (2, 1)]
    rows += [run(9, seed, 0.4, **{**BOTH, "lr": 0.2}) for seed in (1, 3)]
    return evidence(*rows)


def test_runs_become_cells_with_rising_seeds(five_arms: Evidence) -> None:
    cell = five_arms.private[0]
    assert cell.seeds.tolist() == [1, 2]
    assert five_arms.values(cell).tolist() == pytest.approx([0.91, 0.92])
    assert cell.runs == ("0-1", "0-2")
    assert cell.compute == 80
    assert five_arms.axes == ("lr",)
    assert [c.index for c in five_arms.cells] == list(range(6))


@pytest.mark.parametrize("arm", list(Arm))
def test_a_private_cell_finds_its_counterpart_in_every_arm(five_arms: Evidence, arm: Arm) -> None:
    first, other = five_arms.private
    found = five_arms.counterpart(first, arm)
    assert found is not None
    assert found.arm is arm
    if arm is not Arm.BOTH:
        assert five_arms.counterpart(other, arm) is None  # nothing else ran at its learning rate


def test_differences_are_taken_on_common_seeds(five_arms: Evidence) -> None:
    first, other = five_arms.private
    assert five_arms.differences(first, other).tolist() == pytest.approx([0.51])


def test_values_that_are_not_finite_are_left_out_with_their_seed() -> None:
    found = evidence(run(0, 1, math.nan), run(0, 2, None), run(0, 3, 0.5), run(0, 4, math.inf))
    seeds, values = found.measured(found.cells[0])
    assert (seeds.tolist(), values.tolist()) == ([3], [0.5])
    assert np.isnan(found.cells[0].scores["accuracy"]).sum() == 3


def test_less_is_better_for_a_loss() -> None:
    found = evidence(run(0, 1, 0.5), metric="loss")
    assert not found.maximize
    assert found.utilities(found.cells[0]).tolist() == [-1.0]


def test_a_table_without_arms_is_told_by_its_noise_and_clip_norm() -> None:
    rows = [
        run(i, 1, 0.5, **{k: v for k, v in a.items() if k != "arm"}) for i, a in enumerate((BOTH, NEITHER))
    ]
    table = pl.DataFrame(rows, infer_schema_length=None).drop("arm")
    assert [cell.arm for cell in evidence_of(table, name="old").cells] == [Arm.BOTH, Arm.NEITHER]


def test_runs_that_have_not_finished_are_left_out() -> None:
    found = evidence(run(0, 1, 0.5), run(0, 2, 0.7, status="running"), run(0, 3, 0.1, status="diverged"))
    assert found.cells[0].seeds.tolist() == [1, 3]
    assert found.cells[0].diverged.tolist() == [False, True]


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([run(0, 1, 0.5, status="pending")], {}, "found none of 1"),
        ([run(0, 1, 0.5)], {"metric": "recall"}, "one of accuracy, loss, found metric='recall'"),
        ([run(0, 1, 0.5), run(0, 1, 0.6)], {}, "seeds of their own"),
        ([run(0, 1, 0.5, **BOTH), run(1, 1, 0.5, **BOTH, delta=1e-6)], {}, "delta=1e-06, 1e-05"),
    ],
)
def test_a_table_that_cannot_be_compared_is_refused(
    rows: list[dict[str, Any]], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(EvidenceError, match=words):
        evidence(*rows, **options)
