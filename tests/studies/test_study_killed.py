"""The real command killed with SIGKILL, and started again: same numbers, nothing trained twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from clifftop.analysis.jsonio import read_document
from clifftop.lab import Store, tables
from clifftop.studies import Axes, run_study

COMMAND = [sys.executable, "-m", "clifftop", "study", "no-cliff", "--seeds", "0:12", "--lr", "0.1"]
COMMAND += ["--formats", "none"]
RUNS = 12 * 22  # two cohorts
STEPS = 140


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, "--out", str(folder), "--workers", "1", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def finished_runs(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'store.sqlite'}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM run WHERE status = 'done'").fetchone()[0]
    except sqlite3.Error:
        return 0


def kill_when(folder: Path, ready) -> None:
    process = start(folder)
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None:
        assert time.monotonic() < deadline, "the study made no progress"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def finish(folder: Path) -> list[dict]:
    assert start(folder).wait(timeout=240) == 0
    return read_document(folder / "results.json")[0]["dp_runs"]


def undisturbed(folder: Path) -> list[dict]:
    """The same study in this process, without its report."""
    run_study("no-cliff", out=folder, axes=Axes(seeds=tuple(range(12)), lrs=(0.1,)), workers=1)
    return read_document(folder / "results.json")[0]["dp_runs"]


def test_a_killed_study_ends_with_the_same_numbers(tmp_path):
    killed = tmp_path / "killed"
    wanted = undisturbed(tmp_path / "whole")
    kill_when(killed, (killed / "store.sqlite").exists)  # before anything is trained
    kill_when(killed, lambda: finished_runs(killed) > 0)  # between two cohorts
    kept = finished_runs(killed)
    assert 0 < kept < RUNS
    assert finish(killed) == wanted
    with Store.read(killed) as store:
        events = tables.timeline(store).to_dicts()
    blocks = [json.loads(event["detail"]) for event in events if event["kind"] == "block"]
    # On a busy machine a cohort may take several blocks; only its last ends at the last step.
    assert sum(block["runs"] for block in blocks if block["step"] == STEPS) == RUNS
