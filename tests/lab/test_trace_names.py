"""Which diagnostics a run's trace holds: the same from its first step to its last, whoever resumes it."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clifftop.lab import Store, tables, train_cohort
from clifftop.lab.cohort.block import FIRST_TRACE_FIELDS, TRACE_FIELDS
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import STORE_FILE
from clifftop.private_gradient import LAYER_FIELDS
from clifftop.studies import Axes, get

FORMAT_1 = Path(__file__).parent / "stores" / "format_1.sqlite"
LAYERED = {f"{name}:{layer}" for name in LAYER_FIELDS for layer in ("0", "2")}


@pytest.fixture(scope="module")
def specs():
    study = get("no-cliff")
    grid = study.grid(Axes(noise_multipliers=(1.0,), clip_norms=(0.1,), seeds=(1,)))
    return [replace(spec, steps=6, evaluate_every=3) for spec in study.specs(grid)]


def blocks(specs, **more):
    return list(train_cohort(specs, checkpoint_seconds=0, **more))


def test_the_first_names_are_those_of_the_first_checkpoints():
    assert FIRST_TRACE_FIELDS == (
        "loss", "fraction_clipped", "norm_q10", "norm_median", "norm_q90", "clipping_bias", "noise_norm",
        "num_nonfinite",
    )  # fmt: skip
    assert TRACE_FIELDS[len(FIRST_TRACE_FIELDS) :] == ("bias_cosine", "signal_norm")


def test_a_checkpoint_from_before_there_were_more_keeps_to_its_own(specs):
    whole = blocks(specs)
    saved = torch.load(io.BytesIO(whole[2].state), weights_only=True)
    assert tuple(saved.pop("trace")) == TRACE_FIELDS
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    for rest in (
        blocks(specs, state=buffer.getvalue()),
        blocks(specs, state=buffer.getvalue(), per_layer=True),
    ):
        for block, wanted in zip(rest, whole[3:], strict=True):
            assert tuple(block.trace) == FIRST_TRACE_FIELDS
            for name, values in block.trace.items():
                assert np.array_equal(values, wanted.trace[name])
        # A second resume, from a block of the first.
        assert tuple(blocks(specs, state=rest[0].state)[-1].trace) == FIRST_TRACE_FIELDS


@pytest.mark.parametrize("began", [False, True])
def test_layers_are_recorded_to_the_end_or_not_at_all(specs, began):
    whole = blocks(specs, per_layer=began)
    rest = blocks(specs, state=whole[2].state, per_layer=not began)
    for block, wanted in zip(rest, whole[3:], strict=True):
        assert set(block.trace) - set(TRACE_FIELDS) == (LAYERED if began else set())
        for name, values in block.trace.items():
            assert np.array_equal(values, wanted.trace[name], equal_nan=True)


def test_layers_change_nothing_else_and_add_up(specs):
    plain, layered = blocks(specs)[-1], blocks(specs, per_layer=True)[-1]
    for name, values in plain.trace.items():
        assert np.array_equal(values, layered.trace[name], equal_nan=True)
    for name in ("signal_norm", "noise_norm", "clipping_bias"):
        parts = [layered.trace[f"{name}:{layer}"] for layer in ("0", "2")]
        np.testing.assert_allclose(np.sqrt(sum(p**2 for p in parts)), layered.trace[name], rtol=1e-5)


def test_a_store_of_the_first_format_goes_on_whole(tmp_path):
    study = get("no-cliff")
    specs = list(study.specs(study.grid(Axes(noise_multipliers=(1.0,), clip_norms=(1.0,), seeds=(1, 2)))))
    shutil.copy(FORMAT_1, tmp_path / STORE_FILE)
    with Store.open(tmp_path, study="no-cliff") as store:
        assert run_sweep(store, specs).trained == 2
        for spec in specs:
            trace = tables.trace(store, spec.id)
            assert trace.columns[0] == "step"
            assert set(trace.columns[1:]) == set(FIRST_TRACE_FIELDS)
            assert trace.height == 140
        assert "mean_signal_norm" not in tables.runs(store).columns


def test_a_sweep_records_layers_where_it_is_asked_to(tmp_path):
    from clifftop.lab.sweep import Sweep, train_sweep

    sweep = Sweep(
        name="layers",
        model="clifftop.studies.no_cliff.model:mlp",
        data="clifftop.datasets:gaussian_clusters",
        delta=1e-5,
        expected_batch_size=64,
        steps=3,
        clip_norm=1.0,
        lr=0.5,
        per_layer=True,
        axes={"noise_multiplier": [1.0]},
    )
    train_sweep(sweep, tmp_path)
    with Store.read(tmp_path) as store:
        (run,) = tables.runs(store)["id"]
        assert set(tables.trace(store, run).columns) == {"step", *TRACE_FIELDS, *LAYERED}
    (spec,) = sweep.specs(400)
    assert replace(sweep, per_layer=False).specs(400) == [spec]  # it is no part of what a run is
