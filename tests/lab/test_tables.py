"""Tables: every number of the store where it is looked for, NaN and missing told apart."""

import datetime as dt
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from clifftop.lab import tables
from clifftop.lab.contract import StoreError
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SPECS = [
    toy_spec(seed=3, noise_multiplier=0.0, clip_norm=math.inf, lr=0.5),
    toy_spec(seed=1, noise_multiplier=100.0),
    toy_spec(seed=2, steps=5),
]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, study="toy") as opened:
        run_sweep(opened, SPECS, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        opened.add([toy_spec(seed=9)])
        yield opened


def blocks(spec):
    return list(ToyTrainer()([spec]))


def test_runs_hold_axes_status_last_metrics_and_mean_diagnostics(store):
    table = tables.runs(store)
    assert table["id"].to_list() == [spec.id for spec in (*SPECS, toy_spec(seed=9))]
    assert table["status"].to_list() == ["done", "diverged", "done", "pending"]
    for column, values in {
        "noise_multiplier": [0.0, 100.0, 1.0, 1.0],
        "clip_norm": [math.inf, 1.0, 1.0, 1.0],
        "lr": [0.5, 0.1, 0.1, 0.1],
        "seed": [3, 1, 2, 9],
        "steps": [6, 6, 5, 6],
        "step": [6, 6, 5, 0],
        "error": [None] * 4,
    }.items():
        assert table[column].to_list() == values
    for row, spec in zip(table.to_dicts(), SPECS, strict=False):
        assert row["accuracy"] == blocks(spec)[-1].metrics["accuracy"][1][0, -1]
        norms = np.concatenate([block.trace["noise_norm"][0] for block in blocks(spec)])
        assert row["mean_noise_norm"] == pytest.approx(norms.mean(dtype=np.float64), rel=1e-12)
    assert [value is None or math.isnan(value) for value in table["loss"]] == [False, True, False, True]
    assert table["loss"].is_null().to_list() == [False, False, False, True]  # not measured is not NaN
    assert table["mean_loss"].is_nan().to_list() == [False, True, False, None]
    assert set(table.columns) == {
        "id", "status", "noise_multiplier", "clip_norm", "lr", "seed", "steps", "step", "error",
        "accuracy", "loss", "mean_loss", "mean_noise_norm",
    }  # fmt: skip


def test_metrics_are_long(store):
    table = tables.metrics(store)
    assert table.columns == ["id", "name", "step", "value"]
    assert table.height == 2 * (3 + 3 + 3)
    one = table.filter(pl.col("id") == SPECS[2].id, pl.col("name") == "accuracy")
    assert one["step"].to_list() == [2, 4, 5]
    expected = np.concatenate([block.metrics["accuracy"][1][0] for block in blocks(SPECS[2])])
    assert one["value"].to_list() == expected.tolist()
    assert table.filter(pl.col("value").is_nan())["id"].unique().to_list() == [SPECS[1].id]
    assert table["value"].null_count() == 0


def test_a_trace_is_one_row_a_step(store):
    table = tables.trace(store, SPECS[2].id)
    assert table["step"].to_list() == [1, 2, 3, 4, 5]
    assert table["noise_norm"].dtype == pl.Float32
    for name in ("loss", "noise_norm"):
        expected = np.concatenate([block.trace[name][0] for block in blocks(SPECS[2])])
        assert table[name].to_list() == expected.tolist()
    assert tables.trace(store, toy_spec(seed=9).id).height == 0
    with pytest.raises(StoreError, match="run_id='nobody'"):
        tables.trace(store, "nobody")


def test_an_empty_store_has_empty_tables(tmp_path):
    with Store.open(tmp_path / "empty", study="toy") as store:
        assert tables.runs(store).shape == (0, 9)
        assert tables.metrics(store).shape == (0, 4)


def test_the_timeline_has_times(store):
    table = tables.timeline(store)
    assert table["kind"][0] == "sweep_started"
    assert table["kind"][-1] == "sweep_ended"
    assert table["at"].is_sorted()
    assert abs(table["at"][-1] - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)


def test_reading_needs_no_torch(tmp_path):

    script = (
        "import sys; from clifftop.lab import Store, run_sweep, tables, ProcessPool;"
        "import clifftop.testing.stores;"
        "assert 'torch' not in sys.modules; from clifftop import lab; assert 'Store' in lab.__all__;"
        "assert all(hasattr(lab, name) for name in lab.__all__)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
