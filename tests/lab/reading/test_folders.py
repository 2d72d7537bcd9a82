"""A folder as a table, and the best configuration at each epsilon."""

import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from clifftop.lab import tables
from clifftop.lab.contract import RunSetting, StoreError
from clifftop.lab.reading.folders import frontier, open_runs
from clifftop.lab.reading.where import ConditionError
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

EPSILONS = {4.0: 1.0, 2.0: 2.0, 1.0: 4.0}
SPECS = [
    toy_spec(seed=seed, noise_multiplier=sigma, lr=lr)
    for sigma in EPSILONS
    for lr in (0.1, 1.0)
    for seed in range(3)
]


def setting(spec, **changes):
    epsilon = EPSILONS.get(spec.noise_multiplier, math.inf)
    fields = {
        "run_id": spec.id,
        "point": {"lr": spec.optimizer.lr, "seed": spec.seed},
        "delta": 1e-5,
        "epsilon_lower": epsilon * 0.99,
        "epsilon_upper": epsilon,
        "neighboring_relation": "add-or-remove-one",
    }
    return RunSetting(**fields | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    with Store.open(folder, study="toy") as store:
        run_sweep(store, SPECS, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        store.describe([setting(spec) for spec in SPECS])
    return folder


def test_a_folder_is_its_table(folder):
    with Store.read(folder) as store:
        assert open_runs(folder).equals(tables.runs(store))
    assert open_runs(str(folder)).height == len(SPECS)


def test_pandas_has_the_same(folder):
    pytest.importorskip("pandas")
    table = open_runs(folder)
    frame = table.to_pandas()
    assert list(frame.columns) == table.columns
    assert frame["accuracy"].tolist() == table["accuracy"].to_list()
    assert frame.groupby("configuration")["accuracy"].count().tolist() == [3] * 6


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"store.sqlite"):
        open_runs(tmp_path)


def test_the_frontier_is_the_best_mean_at_each_epsilon(folder):
    table, best = open_runs(folder), frontier(folder)
    assert best["epsilon"].to_list() == [1.0, 2.0, 4.0]
    assert best["n"].to_list() == [3, 3, 3]
    assert best["delta"].to_list() == [1e-5] * 3
    for row in best.to_dicts():
        cells = {
            lr: table.filter(pl.col("epsilon") == row["epsilon"], pl.col("lr") == lr)["accuracy"].to_numpy()
            for lr in (0.1, 1.0)
        }
        lr = max(cells, key=lambda lr: cells[lr].mean())
        assert row["lr"] == lr
        assert row["mean"] == pytest.approx(cells[lr].mean(), rel=1e-12)
        assert row["sd"] == pytest.approx(cells[lr].std(ddof=1), rel=1e-12)
    worst = frontier(table, smaller_is_best=True)
    assert (worst["mean"] <= best["mean"]).all()
    assert worst["lr"].to_list() != best["lr"].to_list()


def test_small_losses_are_the_best(folder):
    table = open_runs(folder)
    assert frontier(table, "loss").equals(frontier(table, "loss", smaller_is_best=True))
    assert not frontier(table, "loss").equals(frontier(table, "loss", smaller_is_best=False))


def table_of(rows):
    """Runs of one configuration each: (epsilon, accuracy, status)."""
    return pl.DataFrame(
        {
            "id": [str(at) for at in range(len(rows))],
            "status": [status for _, _, status in rows],
            "lr": [0.1 * (at + 1) for at in range(len(rows))],
            "seed": [0] * len(rows),
            "configuration": list(range(len(rows))),
            "delta": [1e-5] * len(rows),
            "epsilon_lower": [epsilon for epsilon, _, _ in rows],
            "epsilon": [epsilon for epsilon, _, _ in rows],
            "error": pl.Series([None] * len(rows), dtype=pl.String),
            "accuracy": pl.Series([value for _, value, _ in rows], dtype=pl.Float64),
        }
    )


def test_what_a_smaller_epsilon_reaches_dominates():
    table = table_of([(1.0, 0.5, "done"), (2.0, 0.4, "done"), (3.0, 0.6, "done"), (4.0, 0.6, "done")])
    assert frontier(table)["dominated"].to_list() == [False, True, False, True]


def test_runs_count_when_they_have_finished_with_a_value():
    rows = [
        (1.0, 0.9, "running"),
        (1.0, 0.3, "done"),
        (1.0, math.nan, "done"),
        (2.0, 0.5, "diverged"),
        (3.0, None, "failed"),
        (None, 0.9, "done"),
        (4.0, math.nan, "diverged"),
        (math.inf, 0.7, "done"),
    ]
    best = frontier(table_of(rows))
    assert best["epsilon"].to_list() == [1.0, 2.0, 4.0, math.inf]
    assert best["mean"].fill_nan(-1).to_list() == [0.3, 0.5, -1, 0.7]
    assert best["diverged"].to_list() == [0, 1, 1, 0]
    assert best["dominated"].to_list() == [False, False, True, False]
    assert best["sd"].to_list() == [None] * 4


def test_runs_of_one_target_are_one_level():
    """Calibrated noise meets its target from below, so batch sizes differ in their last digits."""
    table = table_of([(2.9999, 0.5, "done"), (2.9998, 0.6, "done"), (math.inf, 0.7, "done")])
    table = table.insert_column(4, pl.Series("target_epsilon", [3.0, 3.0, None]))
    best = frontier(table)
    assert best["epsilon"].to_list() == [2.9998, math.inf]
    assert best["mean"].to_list() == [0.6, 0.7]


def test_what_has_no_frontier_says_why(folder):
    table = open_runs(folder)
    with pytest.raises(ConditionError, match="did you mean accuracy"):
        frontier(table, "acuracy")
    with pytest.raises(StoreError, match="none of 0"):
        frontier(table.clear())
    with pytest.raises(StoreError, match="finished runs with an epsilon"):
        frontier(table.with_columns(epsilon=pl.lit(None, pl.Float64)))
    two = table.with_columns(delta=pl.Series(np.where(np.arange(table.height) < 4, 1e-5, 1e-6)))
    with pytest.raises(StoreError, match=r"found delta=1e-06, 1e-05"):
        frontier(two)


def test_reading_needs_no_torch(folder):
    script = (
        "import sys; from clifftop.lab.reading.folders import frontier, open_runs;"
        f"frontier(open_runs({str(folder)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
