"""A slice of the study through the real command line: run, run again, validate, damage, report."""

import json
import shutil
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "clifftop"]
GRID = ["--seeds", "1,2", "--sigma", "1,5", "--clip"]
SLICE = [*GRID, "0.5"]
NO_CHARTS = ["--formats", "none"]


def clifftop(*arguments):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "results"
    return folder, clifftop("study", "no-cliff", *SLICE, "--out", folder, "--json")


@pytest.fixture
def folder(first, tmp_path):
    shutil.copytree(first[0], tmp_path / "copy")
    return tmp_path / "copy"


def contents(folder):
    """What people wrote there: a lock and SQLite's own side files come and go with every reader."""
    ours = (path for path in folder.iterdir() if not path.name.endswith((".lock", "-shm", "-wal")))
    return {path.name: path.read_bytes() for path in ours}


@pytest.fixture(autouse=True)
def no_debug(monkeypatch):
    monkeypatch.delenv("CLIFFTOP_DEBUG", raising=False)


def test_json_on_standard_output_and_nothing_else(first):
    folder, ran = first
    assert ran.returncode == 0
    assert all(line.startswith("training: ") for line in ran.stderr.splitlines())
    document = json.loads(ran.stdout)
    assert document["runs"] == document["trained_now"] == 6
    assert document["summary"] == json.loads((folder / "summary.json").read_text())
    assert (folder / "report.html").stat().st_size > 10_000


def test_again_trains_nothing_and_tells_a_person(run, folder):
    ran = run("study", "no-cliff", *SLICE, "--out", folder, *NO_CHARTS)
    assert ran.code == 0
    assert "6 runs, 0 of them trained now" in ran.out
    assert "…" not in ran.out, "a table was cut"
    assert ran.out.splitlines()[-1].startswith("report: ")


def test_a_wider_grid_trains_what_is_new(run, folder):
    document = json.loads(run("study", "no-cliff", *GRID, "0.5,2", "--out", folder, *NO_CHARTS, "--json").out)
    assert (document["runs"], document["trained_now"]) == (10, 4)


def test_the_folder_is_valid(run, folder):
    assert run("validate", folder).code == 0


def test_a_changed_accuracy_is_found(run, folder):
    path = folder / "results.json"
    document = json.loads(path.read_text())
    document["dp_runs"][0]["accuracy"] = 1.5
    path.write_text(json.dumps(document))
    ran = run("validate", folder)
    assert ran.code == 1
    assert "accuracy" in ran.out


def test_a_truncated_file_is_bad_input(run, folder):
    path = folder / "results.json"
    path.write_bytes(path.read_bytes()[:-100])
    assert "results.json" in run("validate", folder).complaint
    assert "results.json" in run("report", folder).complaint


def test_an_absent_folder_is_bad_input(run, tmp_path):
    assert str(tmp_path / "none") in run("validate", tmp_path / "none").complaint


def test_another_studys_folder_is_refused_and_left_alone(run, folder):
    before = contents(folder)
    assert "no-cliff" in run("study", "no-cliff-sound", "--out", folder).complaint
    after = contents(folder)
    assert after == before


def test_the_report_can_be_built_again(run, folder):
    (folder / "report.html").unlink()
    assert run("report", folder, *NO_CHARTS).code == 0
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-clif"], "no-cliff"),
        (["no-cliff", "--sigma", "-1"], "noise_multiplier"),
        (["no-cliff", "--clip", "0"], "clip_norm"),
        (["no-cliff", "--clip", "-2"], "clip_norm"),
        (["no-cliff", "--lr", "0"], "lr"),
        (["no-cliff", "--seeds", "-1"], "seed"),
        (["no-cliff", "--sigma", "1", "--epsilon", "1"], "target epsilons"),
        (["no-cliff-sound", "--epsilon", "-1"], "epsilon"),
    ],
)
def test_what_the_library_refuses_leaves_nothing(run, tmp_path, arguments, message):
    out = tmp_path / "results"
    assert message in run("study", *arguments, "--out", out).complaint
    assert not out.exists() or not any(out.iterdir())


def test_an_output_folder_that_is_a_file(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in run("study", "no-cliff", *SLICE, "--out", tmp_path / "file").complaint
