"""Training fits, baselines' ways and gradients' diagnostics, read from a store."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from clifftop.lab import tables
from clifftop.lab.reading.curves import MOST_POINTS, Curves, open_curves
from clifftop.lab.spec import RunSpec
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyBlock, ToyTrainer, toy_spec


def train(folder: Path, specs: list[RunSpec], *, block_steps: int = 4) -> None:
    with Store.open(folder, study="toy") as store:
        store.add(specs)
        for spec in specs:
            for block in ToyTrainer(block_steps=block_steps)([spec]):
                store.commit([spec.id], block)


def baseline(seed: int = 0, steps: int = 10) -> RunSpec:
    return toy_spec(seed=seed, noise_multiplier=0.0, clip_norm=math.inf, steps=steps)


def near(losses: np.ndarray, step: int, *, half: int = 1) -> float:
    """Half an epoch of two steps on each side, as toy runs are evaluated every second step."""
    return float(losses[max(step - half, 0) : step + half].astype(np.float64).mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("store")
    train(where, [baseline(0), toy_spec(seed=0, steps=10), baseline(1), toy_spec(seed=1, steps=6)])
    return where


def test_fits_and_ways_are_those_of_the_trace(folder: Path) -> None:
    curves = open_curves(folder, metric="accuracy")
    specs = [baseline(0), toy_spec(seed=0, steps=10), baseline(1), toy_spec(seed=1, steps=6)]
    assert list(curves.fit) == [spec.id for spec in specs]
    assert set(curves.baselines) == {specs[0].id, specs[2].id}
    with Store.read(folder) as store:
        for spec in specs:
            losses = tables.trace(store, spec.id)["loss"].to_numpy()
            assert curves.fit[spec.id] == pytest.approx(near(losses, spec.steps), rel=1e-12)
        for spec in (specs[0], specs[2]):
            losses = tables.trace(store, spec.id)["loss"].to_numpy()
            scores = tables.metrics(store, run_id=spec.id)
            way = curves.baselines[spec.id]
            assert way.steps.tolist() == [2, 4, 6, 8, 10]
            assert way.fit.tolist() == pytest.approx([near(losses, step) for step in way.steps], rel=1e-12)
            accuracies = scores.filter(scores["name"] == "accuracy")["value"].to_list()
            assert way.scores.tolist() == accuracies
    assert curves.traces == ()


def test_a_baseline_ends_with_the_fit_that_is_compared(folder: Path) -> None:
    """So that a private run like its baseline is found to be no less trained."""
    curves = open_curves(folder, metric="accuracy")
    for run, way in curves.baselines.items():
        assert way.fit[-1] == curves.fit[run]


def test_runs_that_have_not_finished_have_no_fit(tmp_path: Path) -> None:
    specs = [baseline(0), toy_spec(seed=0, noise_multiplier=100.0, steps=10), toy_spec(seed=3, steps=10)]
    train(tmp_path, specs[:2])
    with Store.open(tmp_path, study="toy") as store:
        store.add(specs)
        store.commit([specs[2].id], next(iter(ToyTrainer()([specs[2]]))))
    assert list(open_curves(tmp_path, metric="accuracy").fit) == [specs[0].id]


def test_an_empty_store_has_no_curves(tmp_path: Path) -> None:
    with Store.open(tmp_path, study="toy"):
        pass
    curves = open_curves(tmp_path, metric="accuracy", cells={0: []})
    assert (curves.fit, curves.baselines, curves.traces) == ({}, {}, ())


STEPS = 150


def diagnostics(folder: Path, **traces: np.ndarray) -> Curves:
    """Two runs of one cell that recorded these ``(2, STEPS)`` diagnostics."""
    specs = [toy_spec(seed=seed, steps=STEPS) for seed in (0, 1)]
    ids = [spec.id for spec in specs]
    names = {name.replace("__", ":"): values.astype(np.float32) for name, values in traces.items()}
    with Store.open(folder, study="toy") as store:
        store.add(specs)
        for first, last in ((0, 40), (40, STEPS)):
            block = ToyBlock(
                step=last,
                metrics={"accuracy": (np.array([last]), np.zeros((2, 1)))},
                trace={name: values[:, first:last] for name, values in names.items()},
                state=b"" if last < STEPS else None,
                finished=last == STEPS,
                diverged=np.zeros(2, dtype=np.bool_),
                trained=np.ones(2, dtype=np.bool_),
            )
            store.commit(ids, block)
    return open_curves(folder, metric="accuracy", cells={7: ids})


def test_diagnostics_are_means_over_runs_thinned_over_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clipped, signal, noise = rng.random((3, 2, STEPS)) + 0.5
    curves = diagnostics(
        tmp_path, fraction_clipped=clipped, signal_norm=signal, noise_norm=noise, other=noise
    )
    found = {trace.name: trace for trace in curves.traces}
    assert list(found) == ["fraction_clipped", "noise_norm", "noise_to_signal", "signal_norm"]
    trace = found["fraction_clipped"]
    assert (trace.cell, trace.layer, trace.runs) == (7, None, 2)
    assert trace.steps.size <= MOST_POINTS
    edges = [0, *trace.steps.tolist()]
    expected = [clipped.astype(np.float32)[:, start:end].mean() for start, end in itertools.pairwise(edges)]
    assert trace.values.tolist() == pytest.approx(expected, rel=1e-6)
    assert edges[-1] == STEPS
    ratio = found["noise_norm"].values / found["signal_norm"].values
    assert found["noise_to_signal"].values.tolist() == ratio.tolist()


def test_layers_stand_by_themselves_and_missing_names_are_left_out(tmp_path: Path) -> None:
    ones = np.ones((2, STEPS))
    curves = diagnostics(
        tmp_path,
        noise_norm__conv=2 * ones,
        signal_norm__conv=ones,
        noise_norm__head=3 * ones,
        clipping_bias=ones,
        norm_q10__conv=ones,
    )
    kinds = [(trace.layer, trace.name, float(trace.values[0])) for trace in curves.traces]
    assert kinds == [
        (None, "clipping_bias", 1.0),
        ("conv", "noise_norm", 2.0),
        ("conv", "noise_to_signal", 2.0),
        ("conv", "signal_norm", 1.0),
        ("head", "noise_norm", 3.0),
    ]


def test_what_is_not_finite_is_left_out_of_means_and_is_null_in_columns(tmp_path: Path) -> None:
    values = np.ones((2, STEPS))
    values[0, 60:] = math.nan
    values[:, 120:] = math.inf
    curves = diagnostics(tmp_path, bias_cosine=values)
    columns = curves.columns()
    assert columns["cell"][0] == 7
    known = dict(zip(columns["step"], columns["value"], strict=True))
    assert known[STEPS] is None
    assert {value for step, value in known.items() if step <= 120} == {1.0}
