"""The scoreboard of a running sweep: against the tables, which take longer."""

import math

import polars as pl
import pytest

from clifftop.lab import tables
from clifftop.lab.contract import RunSetting
from clifftop.lab.reading.scoreboard import last_event, scoreboard
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SIGMAS = (1.0, 2.0, 100.0)  # the last one diverges
SPECS = [
    toy_spec(seed=seed, noise_multiplier=sigma, lr=lr)
    for sigma in SIGMAS
    for lr in (0.1, 1.0)
    for seed in (0, 1)
]
BASELINE = toy_spec(noise_multiplier=0.0, clip_norm=math.inf)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, study="toy") as opened:
        specs = [*SPECS, BASELINE]
        run_sweep(opened, specs, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        opened.add([toy_spec(seed=99)])
        yield opened


def describe(store, **more):
    store.describe(
        RunSetting(
            run_id=spec.id,
            point={"lr": spec.optimizer.lr, "seed": spec.seed} | more,
            delta=1e-5,
            epsilon_lower=0.0,
            epsilon_upper=1.0 / spec.noise_multiplier if spec.noise_multiplier else math.inf,
            neighboring_relation="zero-out",
        )
        for spec in (*SPECS, BASELINE)
    )


def means(store, sigma, metric):
    table = tables.runs(store).filter(pl.col("noise_multiplier") == sigma)
    return dict(table.group_by("lr").agg(pl.col(metric).mean()).iter_rows())


@pytest.mark.parametrize(("metric", "pick"), [("accuracy", max), ("loss", min)])
def test_the_best_at_each_epsilon(store, metric, pick):
    describe(store)
    board = scoreboard(store, metric)
    assert [best.epsilon for best in board.best] == [0.5, 1.0]
    for best, sigma in zip(board.best, (2.0, 1.0), strict=True):
        found = means(store, sigma, metric)
        lr = pick(found, key=found.get)
        assert best.setting == {"lr": lr}
        assert best.mean == pytest.approx(found[lr], rel=1e-12)
        assert best.n == 2
    assert scoreboard(store, metric, maximize=pick is max).best == board.best
    assert scoreboard(store, metric, maximize=pick is min).best != board.best
    assert board.counts == {"done": 9, "diverged": 4, "pending": 1}


def test_a_target_is_one_level(store):
    describe(store, target_epsilon=3)
    (best,) = scoreboard(store, "accuracy").best
    found = {
        lr: (means(store, 1.0, "accuracy")[lr] + means(store, 2.0, "accuracy")[lr]) / 2 for lr in (0.1, 1.0)
    }
    lr = max(found, key=found.get)
    assert (best.setting, best.n) == ({"lr": lr}, 4)
    assert best.mean == pytest.approx(found[lr], rel=1e-12)
    assert best.epsilon == 1.0  # the larger of the two


def test_without_settings_noise_multipliers_are_the_levels(store):
    board = scoreboard(store, "accuracy")
    assert [best.epsilon for best in board.best] == [None, None]
    assert [best.setting["noise_multiplier"] for best in board.best] == [1.0, 2.0]
    assert scoreboard(store, "no such metric").best == ()


def test_workers_lost_since(store):
    store.record("worker_lost", runs=3, reason="killed")
    seen = last_event(store)
    assert scoreboard(store, "accuracy").workers_lost == 1
    assert scoreboard(store, "accuracy", since=seen).workers_lost == 0
    store.record("worker_lost", runs=3, reason="killed")
    assert scoreboard(store, "accuracy", since=seen).workers_lost == 1
