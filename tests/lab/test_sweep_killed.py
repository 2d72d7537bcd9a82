"""SIGKILL: started again until it ends, a sweep has an undisturbed one's numbers and trains no run twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clifftop.lab.executors import InProcess
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_static_key

SCRIPT = Path(__file__).with_name("sweep_script.py")
MOST_STARTS = 60


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import sweep_script

    return sweep_script.study()


def contents(folder):
    """Every number of a store, and the order of nothing."""
    with Store.read(folder) as store:
        store.check()
        assert store.checkpoints() == []
        return {
            "runs": sorted(store.query("SELECT id, spec, status, step, diverged, error FROM run")),
            "metrics": store.query(
                "SELECT id, name, metric.step, value FROM metric JOIN run ON run = key ORDER BY 1, 2, 3"
            ),
            "trace": store.query(
                "SELECT id, name, first_step, vals, total FROM trace JOIN run ON run = run.key "
                "ORDER BY 1, 2, 3"
            ),
        }


@pytest.fixture
def undisturbed(study, tmp_path):
    with Store.open(tmp_path / "undisturbed", study="toy") as store:
        run_sweep(
            store,
            study,
            executor=InProcess(),
            trainer=ToyTrainer(log=tmp_path / "undisturbed.log"),
            static_key=toy_static_key,
            cohort_size=toy_cohort_size,
        )
    return contents(tmp_path / "undisturbed"), blocks(tmp_path / "undisturbed.log")


def blocks(log):
    """Every block that was begun: (step before it, run ids)."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(int(step), tuple(ids.split(","))) for _, step, ids in lines]


def finished(folder):
    with Store.open(folder, study="toy") as store:
        return {run_id for run_id, status in store.statuses().items() if status in ("done", "diverged")}


class Sweep:
    """A sweep in its own process, started again and again."""

    def __init__(self, folder, log, executor):
        self.folder, self.log, self.executor, self.starts = folder, log, executor, 0
        log.touch()

    def start(self, *, pause=0.0, kill_after=None, from_first_block=True, fault=()):
        """One start; return whether the sweep ended by itself. No finished run may be given to a trainer.

        Args:
            pause: seconds before each block.
            kill_after: seconds from the first block of this start, or from the start itself.
            from_first_block: which of the two.
            fault: more arguments of the script.
        """
        done, before = finished(self.folder), len(blocks(self.log))
        command = [sys.executable, SCRIPT, self.folder, self.log, self.executor, pause, *fault]
        self.starts += 1
        assert self.starts <= MOST_STARTS
        with subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            if kill_after is not None:
                while from_first_block and len(blocks(self.log)) == before and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(kill_after)
                process.kill()
            _, errors = process.communicate(timeout=60)
        given = {run_id for _, ids in blocks(self.log)[before:] for run_id in ids}
        assert given.isdisjoint(done)
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        return process.returncode == 0


@pytest.mark.parametrize("executor", ["in_process", "pool"])
def test_killed_at_random_times(executor, undisturbed, tmp_path):
    rng = random.Random(1302)
    sweep = Sweep(tmp_path / "results", tmp_path / "log", executor)
    kills = 0
    while not sweep.start(pause=0.05, kill_after=rng.uniform(0, 0.2), from_first_block=kills >= 3):
        kills += 1
    expected, needed = undisturbed
    assert contents(sweep.folder) == expected
    assert kills >= 5  # else the times are too long for this machine to test anything
    workers = 1 if executor == "in_process" else 2
    # a kill may lose the block under way, one already in a pipe, and one being committed, of each worker
    assert len(blocks(sweep.log)) <= len(needed) + kills * workers * (1 if workers == 1 else 3)


@pytest.mark.parametrize("when", ["kill_before_block", "kill_in_commit"])
def test_killed_at_every_block(when, undisturbed, tmp_path):
    """Every start dies at its second block or commit: one block is gained a start, and never lost again."""
    expected, needed = undisturbed
    sweep = Sweep(tmp_path / "results", tmp_path / "log", "in_process")
    while not sweep.start(fault=(when, 2)):
        pass
    assert contents(sweep.folder) == expected
    assert sweep.starts == len(needed)
    assert len(blocks(sweep.log)) == 2 * len(needed) - 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts are forks")
def test_the_papers_network_killed_at_random_times(tmp_path):
    """In a process of its own, whose forks are the sweeps: they need not import torch again."""
    code = (
        "import sys, mlp_sweep_killed as m; from pathlib import Path; "
        "print(m.check(Path(sys.argv[1]), 1, m.forked, seed=5, kills=8, seconds=0.05))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "'kills': 8" in ran.stdout
