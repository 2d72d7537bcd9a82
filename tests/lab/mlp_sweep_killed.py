"""A sweep of the paper's network that is killed at random and started again until it ends.

``test_sweep_killed.py`` runs a short form. The long one, each start a process of its own from scratch::

    python tests/lab/mlp_sweep_killed.py 50

prints one line of figures, and fails if a run is lost, doubled or different from an undisturbed sweep's.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from clifftop.lab.cohort import train_cohort
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.studies import Axes, get

MOST_STARTS = 300


def specs(seeds):
    """3 runs a seed of 140 steps, in cohorts of 3, and one with so large a learning rate that it diverges."""
    study = get("no-cliff")
    grid = study.grid(Axes(noise_multipliers=(0.5, 1.0), clip_norms=(1.0,), seeds=range(seeds)))
    runs = [replace(spec, evaluate_every=20) for spec in study.specs(grid)]
    lost = next(spec for spec in runs if spec.noise_multiplier == 1.0)
    lost = replace(lost, optimizer=replace(lost.optimizer, lr=1e40))  # its first step is beyond float32
    return [runs[0], lost, *runs[1:]]


def sweep(folder, seeds, *, checkpoint_seconds, told=None):
    """Train what is left; after each block write a byte to the descriptor ``told``."""

    def trainer(specs, *, state=None):
        return train_cohort(specs, state=state, checkpoint_seconds=checkpoint_seconds)

    def progress(_):
        if told is not None:
            os.write(told, b".")

    with Store.open(folder, study="no-cliff") as store:
        return run_sweep(store, specs(seeds), trainer=trainer, cohort_size=lambda spec: 3, progress=progress)


def forked(folder, seeds):
    """A start in a fork of this process, which has imported everything: (process id, its progress)."""
    progress, told = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sweep(folder, seeds, checkpoint_seconds=0.0, told=told)
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    return child, progress


def from_scratch(folder, seeds):
    """A start as a new Python process."""
    progress, told = os.pipe()
    command = [sys.executable, __file__, "child", str(folder), str(seeds), str(told)]
    child = subprocess.Popen(command, pass_fds=(told,)).pid
    os.close(told)
    return child, progress


def killed(folder, seeds, start, rng, *, kills, seconds):
    """Start and kill until ``kills`` starts were killed, then let it end; (kills, starts, blocks)."""
    counts = {"kills": 0, "starts": 0, "blocks": 0}
    while True:
        counts["starts"] += 1
        assert counts["starts"] <= MOST_STARTS
        child, progress = start(folder, seeds)
        if counts["kills"] < kills:
            if rng.random() < 0.8:  # from the first block on; else at any time, also before it
                counts["blocks"] += len(os.read(progress, 1))
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
        while read := os.read(progress, 4096):
            counts["blocks"] += len(read)
        os.close(progress)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return counts
        counts["kills"] += 1


def contents(folder):
    """Every number of a settled store; the pieces that a trace came in do not matter."""
    with Store.read(folder) as store:
        store.check()
        assert store.checkpoints() == []
        trace = {}
        for run_id, name, first, values in store.query(
            "SELECT id, name, first_step, vals FROM trace JOIN run ON run = run.key ORDER BY 1, 2, 3"
        ):
            part = trace.setdefault((run_id, name), [])
            assert first == 1 + sum(map(len, part))  # no step is missing, none is there twice
            part.append(np.frombuffer(values, dtype="<f4"))
        return (
            store.query("SELECT id, status, step, diverged, error FROM run ORDER BY id"),
            store.query(
                "SELECT id, name, metric.step, value FROM metric JOIN run ON run = key ORDER BY 1, 2, 3"
            ),
            {key: np.concatenate(parts).tobytes() for key, parts in trace.items()},
        )


def check(folder, seeds, start, *, seed, kills, seconds):
    """One killed sweep against an undisturbed one; return the counts."""
    sweep(folder / "undisturbed", seeds, checkpoint_seconds=1e9)
    counts = killed(folder / "killed", seeds, start, random.Random(seed), kills=kills, seconds=seconds)
    assert counts["kills"] == kills  # else the sweep ended before it was tried
    expected, found = contents(folder / "undisturbed"), contents(folder / "killed")
    assert [row[0] for row in found[0]] == sorted(spec.id for spec in specs(seeds))
    assert sorted(row[1] for row in found[0]) == ["diverged", *["done"] * (len(specs(seeds)) - 1)]
    (lost,) = [row for row in found[0] if row[1] == "diverged"]
    assert lost[2] < 140  # it ended early
    assert found == expected  # bit for bit
    return counts


def main():
    if sys.argv[1] == "child":
        sweep(sys.argv[2], int(sys.argv[3]), checkpoint_seconds=0.0, told=int(sys.argv[4]))
        return
    since = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = check(Path(folder), 3, from_scratch, seed=2024, kills=int(sys.argv[1]), seconds=0.12)
    print({**counts, "seconds": round(time.perf_counter() - since, 1)})


if __name__ == "__main__":
    main()
