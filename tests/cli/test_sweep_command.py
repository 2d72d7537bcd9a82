"""`clifftop sweep`: from a file to a store and tables, in this process and in one of its own."""

import json
import os
import subprocess
import sys

import pytest

from clifftop.lab import Store
from clifftop.lab.sweep import load_sweep

SWEEP = """
name = "tiny"
baselines = true
{top}
[model]
factory = "clifftop.studies.no_cliff.model:mlp"
[data]
factory = "clifftop.datasets:gaussian_clusters"
seed = 1
normalise = false
[privacy]
delta = 1e-5
{privacy}
[training]
expected_batch_size = 64
steps = 3
[axes]
target_epsilon = [1, 8]
clip_norm = [1.0]
lr = [0.1, 1.0]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP.format(top="", privacy=""))
    return path


def test_train_then_resume(run, file, tmp_path):
    out = tmp_path / "out"
    ran = run("sweep", file, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert "tiny: highest accuracy at each level of privacy" in ran.out
    assert "no privacy" in ran.out
    assert "This is not the cost of the search" in ran.out
    assert "share their noise" in ran.out
    assert "`clifftop tune`" in ran.out
    assert "set secret_seeds = true" in ran.out
    assert "6 runs, 6 of them trained now, in" in ran.out
    assert ran.out.rstrip().endswith(str(out))
    assert "6 runs, 0 of them trained now" in run("sweep", file, "--out", out).out
    with Store.read(out) as store:
        assert len(store.settings()) == 6


def test_the_folder_is_out_and_the_name_by_default(run, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("sweep", file).code == 0
    assert (tmp_path / "out" / "tiny" / "store.sqlite").exists()


def test_one_document(run, file, tmp_path):
    ran = run("sweep", file, "--out", tmp_path / "out", "--json")
    document = json.loads(ran.out)
    assert (document["sweep"], document["runs"], document["trained_now"]) == ("tiny", 6, 6)
    assert (document["objective"], document["maximize"], document["num_examples"]) == ("accuracy", True, 400)
    assert [cell["point"].get("target_epsilon") for cell in document["best"]] == [1.0, 8.0, None]
    assert document["best"][0]["epsilon"] <= 1.0
    assert document["cost"]["composition"]["epsilon_upper"] == "inf"
    assert document["cost"]["baselines_excluded"] == 2


def test_a_public_sweep_says_that_nothing_costs(run, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP.format(top="", privacy="public = true"))
    out = run("sweep", path, "--out", tmp_path / "out").out
    assert "declared public" in out
    assert "secret_seeds" not in out


def test_a_dry_run_writes_nothing(run, file, tmp_path):
    before = sorted(tmp_path.iterdir())
    ran = run("sweep", file, "--out", tmp_path / "out", "--dry-run")
    assert ran.code == 0
    assert "6 runs, 18 steps in all, on 400 rows" in ran.out
    assert "nothing was trained" in ran.out
    assert sorted(tmp_path.iterdir()) == before
    (group,) = json.loads(run("sweep", file, "--dry-run", "--json").out)["groups"]
    assert (group["runs"], group["baselines"], group["cohorts"], group["steps"]) == (6, 2, 1, 3)
    assert 7.999 < group["greatest_epsilon"] <= 8


def test_the_template_is_a_sweep(run, tmp_path):
    path = tmp_path / "first.toml"
    assert f"clifftop sweep {path}" in run("sweep", "--init", path).out
    sweep = load_sweep(path)
    assert len(sweep.points()) == 3 * 2 * 5 * 3
    assert "105 runs" in run("sweep", path, "--dry-run").out
    assert "must name a new file" in run("sweep", "--init", path).complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "clifftop sweep --init"),
        (["absent.toml"], "absent.toml: must be a sweep file, found no such file"),
        (["FILE", "--init", "x.toml"], "--init must stand without a sweep file"),
        (["FILE", "--workers", "0"], "--workers must be at least 1, found 0"),
        (
            ["FILE", "--device", "cudda", "--out", "OUT"],
            "device must be one of torch's, found device='cudda'",
        ),
        (["FILE", "--executor", "rays", "--out", "OUT"], "executor must be one of in-process, pool, ray"),
        (["FILE", "--executor", "in-process", "--workers", "3", "--out", "OUT"], "has one worker"),
    ],
)
def test_bad_calls_end_in_one_line(run, file, tmp_path, arguments, words):
    out = tmp_path / "out"
    places = {"FILE": file, "OUT": out}
    assert words in run("sweep", *(places.get(argument, argument) for argument in arguments)).complaint
    assert not out.exists()


def real(folder, *arguments, **environment):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "clifftop", "sweep", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps = 3", "stepps = 3", "training.stepps: must be a key that there is"),
        ("steps = 3", "steps == 3", "(at line 16, column 8)"),
        (
            "clifftop.datasets:gaussian_clusters",
            "own:rows",
            "data.factory: data must load, found target='own:rows'",
        ),
    ],
)
def test_a_malformed_file_ends_the_process_with_2(tmp_path, old, new, words):
    (tmp_path / "own.py").write_text("def rows(**options):\n    raise RuntimeError('no disk')\n")
    file = tmp_path / "sweep.toml"
    file.write_text(SWEEP.format(top="", privacy="").replace(old, new))
    before = {path.name for path in tmp_path.iterdir()}
    ran = real(tmp_path, file, PYTHONDONTWRITEBYTECODE="1")
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1), ran.stderr
    assert ran.stderr.startswith(f"clifftop: {file}: ")
    assert words in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == before


def test_more_examples_a_batch_than_there_are_is_one_line(run, tmp_path):
    file = tmp_path / "sweep.toml"
    text = SWEEP.format(top="", privacy="")
    file.write_text(text.replace("expected_batch_size = 64", "expected_batch_size = 640"))
    ran = run("sweep", str(file), "--out", str(tmp_path / "out"))
    assert "training.expected_batch_size: must be at most" in ran.complaint
    assert not (tmp_path / "out").exists()


def test_factories_beside_the_file_are_found_by_the_workers_of_a_pool(tmp_path):
    (tmp_path / "beside.py").write_text(
        "from clifftop.datasets import gaussian_clusters\n"
        "from clifftop.studies.no_cliff.model import mlp\n"
        "def net(*, hidden=8):\n    return mlp(hidden=hidden)\n"
        "def rows():\n    return gaussian_clusters(3)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = tmp_path / "sweep.toml"
    text = SWEEP.format(top="", privacy="").replace("clifftop.studies.no_cliff.model:mlp", "beside:net")
    text = text.replace("clifftop.datasets:gaussian_clusters", "beside:rows")
    file.write_text(
        text.replace("seed = 1\nnormalise = false\n", "").replace("[axes]", "[axes]\nmodel.hidden = [4, 8]")
    )
    ran = real(elsewhere, file, "--executor", "pool", "--workers", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["trained_now"] == 12
    assert (elsewhere / "out" / "tiny" / "store.sqlite").exists()
