"""One worker against two: the same sweep in this process, in a pool, and on a local Ray cluster.

Every measurement is a process of its own, so that its wall time holds all that a user waits for: imports,
workers' start, Ray's start and end, the store. CPU seconds are those of every process of its session, Ray's
servers included, read from the kernel. Three controls say where a missing factor goes:

- ``first_block``: seconds until the first block was committed, which more workers do not shorten;
- ``training``: seconds in the trainer, summed over workers. If two workers need more than one for the same
  cohorts, they share something: memory bandwidth, a cache, a core's units, or cores with other programs;
- ``ceiling``: the same cohorts by processes that know nothing of each other, with no store and no executor.

``writer`` is what the one process that commits can take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import record

from clifftop.lab import Block, RunSpec, Store, run_sweep, train_cohort
from clifftop.lab.executors import executor_named
from clifftop.studies import get

COHORT = 128
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
KINDS = (("in-process", 1), ("pool", 1), ("pool", 2), ("ray", 1), ("ray", 2))


def main() -> None:
    """Measure, or (with ``--child``) be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4096, help="about a minute's worth for one worker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("EXECUTOR", "WORKERS"), help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        train_alone(sweep(options.runs))
    elif options.child:
        train(options.child[0], int(options.child[1]), sweep(options.runs))
    else:
        measure(options.runs, options.rounds)


def sweep(runs: int) -> list[RunSpec]:
    """So many runs of the study's MLP, 140 steps each, over noise, clip norm and seed."""
    study = get("no-cliff-sound")
    cells = [study.plan(sigma, clip) for sigma in (0.5, 1.0, 2.0, 4.0) for clip in (0.1, 1.0)]
    return [replace(study.template, plan=cells[i % 8], seed=i // 8) for i in range(runs)]


def train(name: str, workers: int, specs: list[RunSpec]) -> None:
    """The sweep, with what it did as JSON on standard output."""
    started, first = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder, Store.open(folder, study="scaling") as store:
        result = run_sweep(
            store,
            specs,
            executor=executor_named(name, workers=workers),
            cohort_size=lambda _: COHORT,
            progress=lambda _: first or first.append(time.perf_counter() - started),
        )
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    print(json.dumps({"first_block": first[0], "training": result.training_seconds, "store_bytes": size}))


def train_alone(specs: list[RunSpec]) -> None:
    """The same cohorts, one after another, with no store and no executor; waits for a line to start."""
    cohorts = [specs[first : first + COHORT] for first in range(0, len(specs), COHORT)]
    list(train_cohort(cohorts[0][:8]))
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    for cohort in cohorts:
        list(train_cohort(cohort))
    print(time.perf_counter() - started)


def measure(runs: int, rounds: int) -> None:
    """Every kind in turn, round by round, then the controls."""
    times: dict[str, list[dict[str, float]]] = {f"{name} {workers}": [] for name, workers in KINDS}
    ceilings = []
    for _ in range(rounds):
        for name, workers in KINDS:
            times[f"{name} {workers}"].append(measured(name, workers, runs))
        ceilings.append(ceiling(runs // 4))
    figures: dict[str, Any] = {
        "runs": runs,
        "steps_a_run": sweep(1)[0].steps,
        "cohort": COHORT,
        "kinds": {kind: medians(found) for kind, found in times.items()},
        "speedup_1_to_2": {
            name: spread(
                [a["wall"] / b["wall"] for a, b in zip(times[f"{name} 1"], times[f"{name} 2"], strict=True)]
            )
            for name in ("pool", "ray")
        },
        "ceiling_1_to_2": spread(ceilings),
        "writer": writer(),
    }
    record("lab_scaling", figures)


def measured(name: str, workers: int, runs: int) -> dict[str, float]:
    """Wall and CPU seconds of one sweep in a process of its own, and what it said of itself."""
    command = [sys.executable, __file__, "--runs", str(runs), "--child", name, str(workers)]
    started, used = time.perf_counter(), {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        while child.poll() is None:
            used.update(cpu_seconds(child.pid))
            time.sleep(0.1)
        wall = time.perf_counter() - started
        assert child.stdout is not None
        said = json.loads(child.stdout.read().splitlines()[-1])
    found = {"wall": wall, "cpu": sum(used.values()), **said}
    print(f"{name} {workers}: " + ", ".join(f"{key} {value:.1f}" for key, value in found.items()))
    return found


def cpu_seconds(session: int) -> dict[int, float]:
    """CPU seconds so far of every process of a session; of one that has ended, what was last seen holds."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(session):
            found[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    return found


def ceiling(runs: int) -> float:
    """How much more two unrelated processes train at a time than one."""
    return 2 * max(together(1, runs)) / max(together(2, runs))


def together(count: int, runs: int) -> list[float]:
    """Seconds that each of ``count`` processes needs for ``runs`` runs, all started at once."""
    command = [sys.executable, __file__, "--runs", str(runs), "--alone"]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return [float(child.communicate()[0]) for child in children]


def writer() -> dict[str, float]:
    """What one process commits a second: blocks of one step, rows of large blocks, megabytes of states."""
    small = [block(1, step, 1, 1024) for step in range(1, 401)]
    wide = [block(256, 140 * part, 140, 1024) for part in range(1, 9)]
    heavy = [block(1, step, 1, 32 << 20) for step in range(1, 9)]
    rows = sum(len(steps) * 256 for found in wide for steps, _ in found.metrics.values())
    rows += sum(256 * len(found.trace) for found in wide)
    megabytes = sum(len(found.state or b"") for found in heavy) / 1e6
    return {
        "small_blocks_a_second": round(len(small) / committing(small, 1)),
        "rows_a_second": round(rows / committing(wide, 256)),
        "runs_of_140_steps_and_20_evaluations_a_second": round(8 * 256 / committing(wide, 256)),
        "state_megabytes_a_second": round(megabytes / committing(heavy, 1)),
    }


def block(runs: int, last: int, steps: int, state: int) -> Block:
    """A block with the traces and metrics of the lab's own, of random numbers."""
    rng = np.random.default_rng(last)
    due = np.arange(last - steps + 1, last + 1)[6::7] if steps > 1 else np.array([last])
    names = ("clip_bias", "clipped_fraction", "noise_norm", "norm_max", "norm_median", "sum_norm")
    return Block(
        step=last,
        metrics={name: (due, rng.random((runs, len(due)))) for name in ("loss", "accuracy")},
        trace={name: rng.random((runs, steps), dtype=np.float32) for name in names},
        state=rng.bytes(state),
        finished=False,
        diverged=np.zeros(runs, bool),
        trained=np.ones(runs, bool),
    )


def committing(blocks: list[Block], runs: int) -> float:
    """Seconds to commit blocks of one cohort, one after another."""
    specs = [replace(spec, steps=10_000) for spec in sweep(runs)]
    with tempfile.TemporaryDirectory() as folder, Store.open(folder, study="scaling") as store:
        store.add(specs)
        run_ids = [spec.id for spec in specs]
        started = time.perf_counter()
        for found in blocks:
            store.commit(run_ids, found, seconds=1.0)
        return time.perf_counter() - started


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {key: round(statistics.median(times[key] for times in found), 2) for key in found[0]}


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and largest."""
    return {
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }


if __name__ == "__main__":
    main()
