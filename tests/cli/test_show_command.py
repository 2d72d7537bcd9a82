"""`clifftop show`: one run, and the Python that trains it again."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from clifftop.cli.run_page import spelled
from clifftop.lab.contract import RunSetting
from clifftop.lab.runner import run_sweep
from clifftop.lab.spec import OptimizerSpec
from clifftop.lab.store import Store
from clifftop.studies.no_cliff import NO_CLIFF
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

SECRET = 2**222 + 13
PRIVATE = replace(toy_spec(seed=5), noise_seed=SECRET)
BASELINE = toy_spec(noise_multiplier=0.0, clip_norm=math.inf)
UNKNOWN = toy_spec(seed=6)
DIVERGED = toy_spec(seed=7, noise_multiplier=100.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    specs = [PRIVATE, BASELINE, UNKNOWN, DIVERGED]
    with Store.open(folder, study="toy") as store:
        run_sweep(store, specs, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        store.describe(
            RunSetting(
                run_id=spec.id,
                point={"model.width": 8},
                delta=1e-5,
                epsilon_lower=lower,
                epsilon_upper=upper,
                neighboring_relation="zero-out",
            )
            for spec, lower, upper in ((PRIVATE, 1.23456, 1.23457), (BASELINE, math.inf, math.inf))
        )
    return folder


def test_a_run_is_told_whole(run, folder):
    ran = run("show", folder, PRIVATE.id[:8])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{PRIVATE.id}  toy  done  step 6 of 6\n")
    for text in (
        "model.width 8",
        "epsilon <= 1.235 at delta = 1e-5 (zero-out), of this run alone",
        "at least 1.234;",
        "its own: no other run",
        "clifftop.testing.stores:ToyPlan",
        "ToyNoise(noise_multiplier=1)",
        "metric, 3 evaluations",
        "diagnostic, 6 steps",
        "noise_norm",
        "sweep started",
        "to train it again",
    ):
        assert text in " ".join(ran.out.split())
    assert str(SECRET) not in ran.out


def test_epsilon_is_not_made_up(run, folder):
    assert "infinite, a run without privacy" in run("show", folder, BASELINE.id).out
    assert "epsilon: not in this folder" in run("show", folder, UNKNOWN.id).out


def test_a_diverged_run_has_gaps_in_its_curves(run, folder):
    ran = run("show", folder, DIVERGED.id)
    assert "diverged" in ran.out.splitlines()[0]
    assert "·" in ran.out


def test_json(run, folder):
    document = json.loads(run("show", folder, PRIVATE.id, "--json").out)
    assert document["epsilon"] == {
        "of": "this run alone",
        "lower": 1.23456,
        "upper": 1.23457,
        "delta": 1e-5,
        "neighboring_relation": "zero-out",
    }
    assert document["run"]["id"] == PRIVATE.id
    assert document["spec"]["seed"] == 5
    assert document["metrics"]["accuracy"]["step"] == [2, 4, 6]
    assert set(document["diagnostics"]["loss"]) == {"mean", "first", "last"}
    assert document["timeline"][0]["kind"] == "sweep_started"
    assert str(SECRET) not in json.dumps(document)
    assert json.loads(run("show", folder, UNKNOWN.id, "--json").out)["epsilon"] is None


def test_a_run_without_numbers(run, tmp_path):
    with Store.open(tmp_path, study="toy") as store:
        store.add([toy_spec()])
    ran = run("show", tmp_path, toy_spec().id[:4])
    assert ran.code == 0
    assert "pending" in ran.out
    assert "metric," not in ran.out


def test_no_such_run(run, folder):
    assert "found none with 'zz'" in run("show", folder, "zz").complaint
    assert "found none with ''" in run("show", folder, "").complaint


@pytest.mark.slow
def test_the_python_trains_the_same_run_again(run, tmp_path):
    """With a real model: the numbers of the second training are those of the first."""
    plan = NO_CLIFF.plan(1.0, 1.0)
    spec = replace(NO_CLIFF.template, plan=plan, seed=3, steps=14, optimizer=OptimizerSpec(lr=0.1))
    with Store.open(tmp_path / "first", study="no-cliff") as store:
        run_sweep(store, [replace(spec, seed=4), spec])
    python = json.loads(run("show", tmp_path / "first", spec.id, "--json").out)["again"]
    assert python in run("show", tmp_path / "first", spec.id).out.replace("\n    ", "\n")
    subprocess.run([sys.executable, "-c", python], cwd=tmp_path, check=True)
    first, again = (
        json.loads(run("show", tmp_path / name, spec.id, "--json").out)
        for name in ("first", f"again-{spec.id[:6]}")
    )
    assert again["metrics"]["accuracy"] == first["metrics"]["accuracy"]
    assert again["metrics"]["loss"]["value"] == pytest.approx(first["metrics"]["loss"]["value"], rel=1e-6)


def test_specs_are_spelled_like_python():
    assert spelled({"$enum": "a:B", "name": "ZERO_OUT"}) == "ZERO_OUT"
    assert spelled([1, "a", None, True]) == "[1, 'a', None, True]"
    assert spelled({"$float": "inf"}) == "inf"
    assert spelled({"a": 1e-5}) == "{a: 1e-5}"
