"""`clifftop compare`: two folders, two conditions, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clifftop.lab.contract import RunSetting
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key

EPSILONS = {1.0: 4.0, 2.0: 1.0}


def stored(folder, *, lrs=(0.1, 1.0), delta=1e-5, relation="zero_out", seeds=4, scale=1.0):
    """A store of toy runs; a toy run's accuracy follows from its spec."""
    specs = [
        toy_spec(seed=seed, noise_multiplier=sigma, lr=lr)
        for sigma in EPSILONS
        for lr in lrs
        for seed in range(seeds)
    ]
    with Store.open(folder, study=folder.name) as store:
        run_sweep(store, specs, trainer=ToyTrainer(), static_key=toy_static_key, cohort_size=toy_cohort_size)
        store.describe(
            RunSetting(
                run_id=spec.id,
                point={"lr": spec.optimizer.lr},
                delta=delta,
                epsilon_lower=0.9 * scale * EPSILONS[spec.noise_multiplier],
                epsilon_upper=scale * EPSILONS[spec.noise_multiplier],
                neighboring_relation=relation,
            )
            for spec in specs
        )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("two")
    return stored(home / "first"), stored(home / "second", lrs=(0.3, 3.0))


def test_two_folders(run, folders):
    ran = run("compare", *folders)
    assert (ran.code, ran.err) == (0, "")
    assert "accuracy at matched epsilon: A is first, B is second" in ran.out
    assert "at delta = 1e-05 (zero_out)" in ran.out
    verdict = next(line for line in ran.out.splitlines() if line.startswith(("first", "second")))
    assert "cannot be told apart at epsilon 1 and 4" in verdict or " is better than " in verdict
    assert "best at epsilon 1: first " in ran.out
    assert "(best of 2)" in ran.out


def test_json_says_the_same(run, folders):
    document = json.loads(run("compare", *folders, "--json").out)
    assert (document["first"], document["second"], document["metric"]) == ("first", "second", "accuracy")
    assert [match["epsilon"] for match in document["matches"]] == [1.0, 4.0]
    for match in document["matches"]:
        low, high = match["difference"]["ci95"]
        assert low <= match["difference"]["mean"] <= high
        assert match["p_value"] <= match["p_adjusted"]
        assert match["paired"] is True
    assert document["verdict"] in run("compare", *folders).out
    assert document["neighboring_relation"] == "zero_out"
    assert document["notes"] == ["see that the two were trained on the same data: their folders do not say"]


def test_two_conditions_within_one_folder(run, folders):
    ran = run("compare", folders[0], "--where", "lr < 0.5", "--against", "lr > 0.5", "--json")
    document = json.loads(ran.out)
    assert (document["first"], document["second"]) == ("lr < 0.5", "lr > 0.5")
    assert {match["first"]["setting"]["lr"] for match in document["matches"]} == {0.1}
    assert {match["second"]["setting"]["lr"] for match in document["matches"]} == {1.0}


def test_a_condition_on_two_folders_holds_for_both(run, folders):
    document = json.loads(run("compare", *folders, "--where", "lr < 0.5 and epsilon < 2", "--json").out)
    (match,) = document["matches"]
    assert (match["first"]["candidates"], match["second"]["candidates"]) == (1, 1)


def test_another_metric(run, folders):
    assert "loss at matched epsilon" in run("compare", *folders, "--metric", "loss").out


def test_what_is_refused_is_refused_in_one_line(run, folders, tmp_path):
    first, _ = folders
    assert "two folders, or --where and --against" in run("compare", first).complaint
    assert "must differ, found" in run("compare", first, first).complaint
    assert "--against needs a single folder" in run("compare", *folders, "--against", "lr > 1").complaint
    same = run("compare", first, "--where", "lr < 5", "--against", "lr > 0.5").complaint
    assert "must share no run, found 8 that satisfy both" in same
    assert "runs that have finished, found none" in run("compare", *folders, "--where", "lr > 9").complaint
    assert "did you mean lr" in run("compare", *folders, "--where", "lrr > 9").complaint
    assert "metric must be one of accuracy, loss" in run("compare", *folders, "--metric", "f1").complaint
    assert "tolerance must lie in [0, 1)" in run("compare", *folders, "--tolerance", "-1").complaint
    assert "must hold store.sqlite" in run("compare", first, tmp_path / "none").complaint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delta": 1e-6}, "found delta=1e-05 and delta=1e-06"),
        ({"relation": "replace_one"}, "found neighboring_relation=zero_out and replace_one"),
        ({"scale": 1.5}, "found 1, 4 in first and 1.5, 6 in third; train both at one target_epsilon"),
    ],
)
def test_epsilons_that_mean_something_else_are_refused(run, folders, tmp_path, options, words):
    assert words in run("compare", folders[0], stored(tmp_path / "third", seeds=2, **options)).complaint


def test_the_first_side_that_is_better_is_named(run, folders, monkeypatch):
    """A planted lead comes out in the table and in the sentence."""
    from clifftop.report.material import source

    loaded = source.load_source

    def lifted(folder):
        found = loaded(folder)
        if found.name != "first":
            return found
        spread = np.linspace(0, 0.001, found.runs.height)
        return replace(found, runs=found.runs.with_columns(accuracy=3.0 + spread))

    monkeypatch.setattr(source, "load_source", lifted)
    out = run("compare", *folders).out
    assert "first is better than second at 2 of 2 matched epsilons" in out
    rows = [line.split() for line in out.splitlines() if line.split()[-1:] == ["A"]]
    assert [row[0] for row in rows] == ["1", "4"]
