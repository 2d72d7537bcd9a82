"""`clifftop card`."""

import json

import pytest

from clifftop.lab.sweep import Factory, Sweep, train_sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("card")
    sweep = Sweep(
        name="small",
        model=Factory(target="clifftop.studies.no_cliff.model:mlp"),
        data=Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 1}),
        delta=1e-5,
        expected_batch_size=64,
        steps=3,
        clip_norm=1.0,
        lr=0.1,
        noise_multiplier=4.0,
        sampler="fixed-order",
        secret_seeds=True,
        baselines=True,
    )
    train_sweep(sweep, found)
    return found


def test_markdown_json_and_a_file(run, folder, tmp_path):
    shown = run("card", folder)
    assert shown.code == 0
    assert shown.out.startswith("# Privacy card: small, run ")
    document = json.loads(run("card", folder, "--json").out)
    assert document["verdict"]["release"] == "this run alone"
    written = run("card", folder, "--out", tmp_path / "card.md")
    assert written.out.endswith("may be released: this run alone\n")
    assert (tmp_path / "card.md").read_text() == shown.out
    run("card", folder, "--json", "--out", tmp_path / "card.json")
    assert json.loads((tmp_path / "card.json").read_text()) == document


def test_errors_are_one_line(run, folder, tmp_path):
    assert "found 0 runs with 'zz'" in run("card", folder, "--run", "zz").complaint
    assert "store.sqlite" in run("card", tmp_path).complaint
    (tmp_path / "run.pt").write_bytes(b"no checkpoint")
    assert "give --delta" in run("card", tmp_path / "run.pt").complaint
    assert "must be a whole checkpoint" in run("card", tmp_path / "run.pt", "--delta", "1e-6").complaint
    assert (
        "a checkpoint is of one training"
        in run("card", tmp_path / "run.pt", "--delta", 1, "--run", 1).complaint
    )
    assert "belongs to a checkpoint" in run("card", folder, "--ledger", tmp_path / "x").complaint
    (tmp_path / "tuned.json").write_text("{")
    assert "found it damaged" in run("card", tmp_path).complaint
    assert "leave out --run and --delta" in run("card", tmp_path, "--run", "a").complaint


def test_a_baseline_has_no_card(run, folder):
    runs = json.loads(run("runs", folder, "--json").out)["runs"]
    baseline = next(one["id"] for one in runs if one["noise_multiplier"] == 0)
    assert "neither clipping nor noise" in run("card", folder, "--run", baseline).complaint
