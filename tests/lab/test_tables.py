"""Tables: every number of the store where it is looked for, NaN and missing told apart."""

import datetime as dt
import math
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from clifftop.clipping import Automatic, Flat, PerLayer
from clifftop.events import NeighboringRelation
from clifftop.lab import tables
from clifftop.lab.contract import RunSetting, StoreError
from clifftop.lab.reading.columns import FIXED
from clifftop.lab.runner import run_sweep
from clifftop.lab.spec import OptimizerSpec
from clifftop.lab.store import Store
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SPECS = [
    toy_spec(seed=3, noise_multiplier=0.0, clip_norm=math.inf, lr=0.5),
    toy_spec(seed=1, noise_multiplier=100.0),
    toy_spec(seed=2, steps=5),
]


def poisson(clipping):
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.1),
        clipping=clipping,
        noise=Gaussian(noise_multiplier=1.0),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=32.0,
    )


def fixed_order():
    return PrivacyPlan(
        sampler=FixedOrder(batch_size=16),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=1.0),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
    )


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
        assert row["mean_noise_norm"] == pytest.approx(norms.mean(dtype=np.float64), rel=1e-9)
    assert [value is None or math.isnan(value) for value in table["loss"]] == [False, True, False, True]
    assert table["loss"].is_null().to_list() == [False, False, False, True]  # not measured is not NaN
    assert table["mean_loss"].is_nan().to_list() == [False, True, False, None]
    assert table.columns[:-4] == list(FIXED)
    assert set(table.columns[-4:]) == {"accuracy", "loss", "mean_loss", "mean_noise_norm"}


def test_the_spec_is_read_without_decoding_it(store):
    table = tables.runs(store)
    assert table["optimizer"].to_list() == ["sgd"] * 4
    assert table["clipping"].to_list() == ["toy-clipping"] * 4
    assert table["model"].to_list() == ["ToyPlan"] * 4
    assert table["expected_batch_size"].to_list() == [None] * 4  # the toy's plan has no sampler
    assert table["configuration"].to_list() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("plan", "size", "rule"),
    [
        (poisson(PerLayer(clip_norm=1.0)), 32.0, "per-layer"),
        (poisson(Automatic(clip_norm=1.0)), 32.0, "automatic"),
        (fixed_order(), 16.0, "flat"),
    ],
)
def test_real_plans_tell_their_batch_and_rule(tmp_path, plan, size, rule):
    spec = replace(toy_spec(), plan=plan, optimizer=OptimizerSpec(name="adam", lr=0.1))
    with Store.open(tmp_path, study="toy") as store:
        store.add([spec])
        (row,) = tables.runs(store).to_dicts()
    assert (row["expected_batch_size"], row["clipping"], row["optimizer"]) == (size, rule, "adam")


def test_runs_that_differ_in_seeds_only_share_a_configuration(tmp_path):
    specs = [toy_spec(seed=1), toy_spec(seed=2), toy_spec(seed=1, lr=0.2), replace(toy_spec(), noise_seed=7)]
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        assert tables.runs(store)["configuration"].to_list() == [0, 0, 1, 0]


def test_noise_is_shared_where_its_key_is_and_its_seed_is_not_told(tmp_path):
    secret = 2**255 + 12345678901234567890
    specs = [
        toy_spec(seed=1),
        toy_spec(seed=1, lr=0.2),  # the same seed: the same noise
        toy_spec(seed=2),
        replace(toy_spec(seed=1), noise_seed=secret),
        replace(toy_spec(seed=1), noise_seed=secret + 1),  # not the same, though it is as a float
        toy_spec(seed=1, noise_multiplier=0.0, clip_norm=math.inf),  # no noise to share
    ]
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        table = tables.runs(store)
    assert table["noise"].to_list() == ["shared", "shared", "own", "own", "own", None]
    assert str(secret) not in table.write_json()


def test_axes_are_typed_columns_and_unknown_ones_null(store):
    points = [
        {
            "noise_multiplier": 9.0,
            "model.width": 8,
            "target_epsilon": math.inf,
            "data.kind": "a",
            "flag": True,
        },
        {"model.width": 16, "target_epsilon": 3, "data.kind": 1, "flag": None},
        {"id": "mine", "huge": 2**70},
    ]
    store.describe(
        RunSetting(
            run_id=spec.id,
            point=point,
            delta=1e-5,
            epsilon_lower=1.0,
            epsilon_upper=1.5,
            neighboring_relation="zero-out",
        )
        for spec, point in zip(SPECS, points, strict=True)
    )
    table = tables.runs(store)
    assert table["noise_multiplier"].to_list() == [0.0, 100.0, 1.0, 1.0]  # of the spec, which is what was run
    assert table["model.width"].to_list() == [8, 16, None, None]
    assert table["model.width"].dtype == pl.Int64
    assert table["target_epsilon"].to_list() == [math.inf, 3.0, None, None]
    assert table["data.kind"].to_list() == ["a", "1", None, None]
    assert table["flag"].to_list() == [True, None, None, None]
    assert table["flag"].dtype == pl.Boolean
    assert table["huge"].to_list() == [None, None, str(2**70), None]
    assert table["id_axis"].to_list() == [None, None, "mine", None]
    assert table["epsilon"].to_list() == [1.5, 1.5, 1.5, None]
    assert table["epsilon_lower"].to_list() == [1.0, 1.0, 1.0, None]
    assert table["delta"].to_list() == [1e-5, 1e-5, 1e-5, None]


def test_means_do_not_depend_on_where_blocks_end(tmp_path):
    """Sums in two orders differ in their last bits where sizes do; blocks end when the clock says so."""
    spec, wide = toy_spec(steps=6), np.float32([1e10, 7e-7, 7e-7, 7e-7, 7e-7, 7e-7])
    sums, means = [], []
    for block_steps in (6, 1, 2, 4):
        with Store.open(tmp_path / str(block_steps), study="toy") as store, store.training():
            store.add([spec])
            store.claim([spec.id])
            before = 0
            for block in ToyTrainer(block_steps=block_steps)([spec]):
                store.commit([spec.id], replace(block, trace={"wide": wide[None, before : block.step]}))
                before = block.step
            sums += store.query("SELECT total(total) FROM trace")
            means += tables.runs(store)["mean_wide"].to_list()
    assert len(set(sums)) > 1  # else this shows nothing
    assert len(set(means)) == 1
    assert means[0] == pytest.approx(np.mean(wide, dtype=np.float64), rel=1e-9)


def test_some_runs_alone(store):
    every = tables.runs(store)
    wanted = [SPECS[2].id, SPECS[0].id]
    some = tables.runs(store, ids=wanted)
    assert some.to_dicts() == every.filter(pl.col("id").is_in(wanted)).select(some.columns).to_dicts()
    assert tables.runs(store, ids=[]).height == 0
    one = tables.metrics(store, run_id=SPECS[2].id)
    assert one.to_dicts() == tables.metrics(store).filter(pl.col("id") == SPECS[2].id).to_dicts()


def test_no_column_collides(tmp_path):
    """Metrics and diagnostics may have any name, those of columns included."""
    clashing = ("seed", "lr", "mean_loss", "seed_metric", "epochs")
    spec = toy_spec(steps=2)
    (block,) = ToyTrainer()([spec])
    steps, values = block.metrics["loss"]
    metrics = {name: (steps, values + at) for at, name in enumerate(clashing)}
    with Store.open(tmp_path, study="toy") as store:
        store.add([spec])
        store.describe(
            [
                RunSetting(
                    run_id=spec.id,
                    point={"epochs": 5},
                    delta=0.1,
                    epsilon_lower=1.0,
                    epsilon_upper=1.0,
                    neighboring_relation="zero-out",
                )
            ]
        )
        with store.training():
            store.claim([spec.id])
            store.commit([spec.id], replace(block, metrics=metrics))
        (row,) = tables.runs(store).to_dicts()
    last = values[0, -1]
    assert (row["seed"], row["lr"], row["epochs"]) == (0, 0.1, 5)
    assert row["mean_loss_trace"] == pytest.approx(np.mean(block.trace["loss"], dtype=np.float64))
    found = sorted(row[name] - last for name in row if row[name] is not None and "metric" in name)
    assert found == pytest.approx([0, 1, 3, 4])
    assert row["mean_loss"] == last + 2


def test_ten_thousand_runs_load_in_a_second(tmp_path):
    """A twentieth of the evaluations of the study, all of its traces; time of this process, not of others."""
    runs, spec = 10_000, toy_spec().canonical
    with Store.open(tmp_path, study="toy") as store:
        path = store.path
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(
            "INSERT INTO run (key, id, spec, status, noise_multiplier, clip_norm, lr, seed, steps, step) "
            "VALUES (?, ?, ?, 'done', 1.0, 1.0, 0.1, ?, 140, 140)",
            [(at, f"{at:016x}", spec, at) for at in range(runs)],
        )
        db.executemany(
            "INSERT INTO setting VALUES (?, '{\"epochs\":20,\"seed\":1}', 1e-5, 1.0, 1.5, 'zero-out')",
            [(at,) for at in range(runs)],
        )
        for name in ("accuracy", "loss"):
            db.executemany(
                "INSERT INTO metric VALUES (?, ?, ?, 0.5)",
                [(at, name, step) for at in range(runs) for step in (70, 140)],
            )
        vals = bytes(4 * 140)
        for name in "abcdefgh":
            db.executemany(
                "INSERT INTO trace VALUES (?, 1, ?, 140, 7.0, ?)", [(at, name, vals) for at in range(runs)]
            )
    with Store.read(tmp_path) as store:
        began = time.process_time()
        table = tables.runs(store)
        spent = time.process_time() - began
    assert table.shape == (runs, len(FIXED) + 1 + 2 + 8)
    assert spent < 1.0


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
        assert tables.runs(store).shape == (0, len(FIXED))
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
