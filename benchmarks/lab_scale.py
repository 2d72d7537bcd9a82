"""Ten thousand runs of the paper's network: what the lab's one sweep costs beside runs one by one.

100 cells (ten noise multipliers, five clip norms, two learning rates) by 100 seeds of the ``no-cliff`` study,
140 steps each, trained by a pool of two processes into a results folder: everything counts, from importing
the package to the last row on the disk. The same for 1,000 runs says whether a run's cost grows with their
number. A sample of the same runs, in a fixed random order, is trained one by one with this package's own
``Trainer`` and with Opacus, in the interpreter named by ``--rivals-python PATH`` or
``CLIFFTOP_RIVALS_PYTHON``; of these only the training loop and one evaluation count. Every process uses one
thread. The Trainer draws the sweep's own noise, so its accuracies must be the sweep's; Opacus draws other
noise, so its differ by what noise does. Memory is the largest sum, over all processes of a sweep, of their
resident bytes, looked at ten times a second; pages that processes share are counted in each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOISE_MULTIPLIERS = (0.1, 0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
CLIP_NORMS = (0.1, 0.3, 1.0, 3.0, 10.0)
LRS = (0.1, 0.3)
CELLS = tuple(itertools.product(NOISE_MULTIPLIERS, CLIP_NORMS, LRS))
BATCH_SIZE, STEPS = 64, 140
SECONDS, GIB, GROWTH = 180.0, 4.0, 1.3
SWEEP_FLAG, SAMPLE_FLAG = "--sweep", "--sample-of"

Run = tuple[int, int]
"""A cell's number and a seed."""


def runs(count: int) -> list[Run]:
    """``count`` runs, seed by seed, as a study lists them."""
    return [(cell, seed) for seed in range(count // len(CELLS)) for cell in range(len(CELLS))]


def sample(count: int, size: int) -> list[Run]:
    """Some of the runs, the same on every machine."""
    return random.Random(0).sample(runs(count), size)


# ---------------------------------------------------------------- the lab


def specs(listed: Sequence[Run]) -> list[Any]:
    """The runs as the lab takes them."""
    from dataclasses import replace

    from clifftop.studies import get

    study = get("no-cliff")
    optimizers = {lr: replace(study.template.optimizer, lr=lr) for lr in LRS}
    plans = {cell: study.plan(cell[0], cell[1]) for cell in CELLS}
    return [
        replace(study.template, plan=plans[CELLS[c]], optimizer=optimizers[CELLS[c][2]], seed=seed)
        for c, seed in listed
    ]


def sweep(count: int, workers: int, folder: Path) -> dict[str, Any]:
    """One sweep into ``folder``; seconds of its parts, and the accuracies of the sample."""
    from clifftop.lab import InProcess, ProcessPool, Store, run_sweep

    started = time.perf_counter()
    asked = specs(runs(count))
    identified = [spec.id for spec in asked]
    named = time.perf_counter()
    with Store.open(folder, study="no-cliff") as store:
        executor = ProcessPool(workers=workers) if workers > 1 else InProcess()
        before = time.process_time()
        result = run_sweep(store, asked, executor=executor)
        own = time.process_time() - before
        ended = time.perf_counter()
        rows = store.query(
            "SELECT run.id, value FROM metric JOIN run ON run.key = metric.run "
            "WHERE name = 'accuracy' AND metric.step = run.steps"
        )
        size = sum(path.stat().st_size for path in folder.iterdir())
    assert result.trained == count == len(set(identified))
    accuracy = dict(rows)
    return {
        "runs": count,
        "specify_seconds": named - started,
        "sweep_seconds": ended - named,
        "training_seconds": result.training_seconds,
        "cpu_seconds_beside_training": own if workers > 1 else own - result.training_seconds,
        "diverged": result.diverged,
        "store_bytes": size,
        "accuracy": [accuracy[run_id] for run_id in identified],
    }


# ---------------------------------------------------------------- one by one


def one_by_one(library: str, listed: Sequence[Run]) -> list[dict[str, Any]]:
    """Train runs one after another, in this process; accuracy and CPU seconds of each."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    train = {"clifftop": by_trainer, "opacus": by_opacus}[library]
    train(*listed[0])  # warms up: what is loaded at a first run is no cost of a run
    return [train(*run) for run in listed]


def by_trainer(cell: int, seed: int) -> dict[str, Any]:
    """`Trainer` on the sweep's own batches and noise, without checks: 140 steps are few to pay for them."""
    import torch

    from clifftop.checks import NoChecks
    from clifftop.criteria import cross_entropy
    from clifftop.datasets import gaussian_clusters
    from clifftop.training import Trainer

    (spec,) = specs([(cell, seed)])
    data = gaussian_clusters(seed)
    wall, cpu = time.perf_counter(), time.process_time()
    torch.manual_seed(seed)
    model = spec.model.resolve()()
    trainer = Trainer(
        module=model,
        criterion=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=spec.optimizer.lr),
        plan=spec.plan,
        inputs=(torch.from_numpy(data.train_inputs),),
        targets=(torch.from_numpy(data.train_targets),),
        seed=seed,
        streams=spec.streams,
        checks=NoChecks(),
    )
    trainer.fit(steps=STEPS)
    return {"accuracy": tested(model, data)} | spent(wall, cpu)


def by_opacus(cell: int, seed: int) -> dict[str, Any]:
    """Opacus with hooks, its cheapest form for this network, on the study's batches in their fixed order."""
    import torch
    from opacus.grad_sample import wrap_model
    from opacus.optimizers import DPOptimizer

    from clifftop.datasets import gaussian_clusters

    noise_multiplier, clip_norm, lr = CELLS[cell]
    data = gaussian_clusters(seed)
    inputs, targets = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_targets)
    wall, cpu = time.perf_counter(), time.process_time()
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5))
    wrapped = wrap_model(model, "hooks", batch_first=True, loss_reduction="mean")
    private = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=lr),
        noise_multiplier=noise_multiplier,
        max_grad_norm=clip_norm,
        expected_batch_size=BATCH_SIZE,
    )
    torch.manual_seed(seed + 1_000_000)
    batches = list(zip(inputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True))
    for step in range(STEPS):
        x, y = batches[step % len(batches)]
        private.expected_batch_size = len(x)  # the study divides by the realised size
        private.zero_grad()
        torch.nn.functional.cross_entropy(wrapped(x), y).backward()
        private.step()
    return {"accuracy": tested(model, data)} | spent(wall, cpu)


def tested(model: Any, data: Any) -> float:
    """Accuracy on the test rows."""
    import torch

    with torch.no_grad():
        found = model.eval()(torch.from_numpy(data.test_inputs)).argmax(1)
    return float((found == torch.from_numpy(data.test_targets)).double().mean())


def spent(wall: float, cpu: float) -> dict[str, float]:
    """Seconds since."""
    return {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


# ---------------------------------------------------------------- processes and their memory


def asked(python: str, arguments: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """This file in a process of its own: its answer, and what it and its children took."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    paths = {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "benchmarks")))}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(
        [python, __file__, *arguments], env=os.environ | threads | paths, stdout=subprocess.PIPE, text=True
    ) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(resident, tree(process.pid))))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        answer = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with code {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(answer.splitlines()[-1]), {
        "wall_seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": peak,
    }


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, path.read_text(encoding="ascii").split())
            except OSError:  # it has just ended
                continue
    return found


def resident(pid: int) -> int:
    """A process's resident bytes; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


# ---------------------------------------------------------------- figures


def compared(
    ours: Sequence[float], theirs: Sequence[dict[str, Any]], listed: Sequence[Run]
) -> dict[str, Any]:
    """Cost of a run one by one, and how its accuracy differs from the sweep's, run by run."""
    differences = [
        one["accuracy"] - ours[seed * len(CELLS) + cell]
        for one, (cell, seed) in zip(theirs, listed, strict=True)
    ]
    spread = statistics.stdev(differences) if len(differences) > 1 else math.nan
    return {
        "runs": len(listed),
        "cpu_seconds_a_run": {
            name: round(pick([one["cpu_seconds"] for one in theirs]), 4)
            for name, pick in (("min", min), ("median", statistics.median), ("max", max))
        },
        "accuracy": round(statistics.mean(one["accuracy"] for one in theirs), 4),
        "accuracy_difference": round(statistics.mean(differences), 5),
        "standard_error": round(spread / math.sqrt(len(differences)), 5),
        "largest_difference": round(max(map(abs, differences)), 4),
    }


def measured_sweep(options: argparse.Namespace, count: int) -> dict[str, Any]:
    """A sweep in a process of its own, into a folder that is then removed."""
    with tempfile.TemporaryDirectory() as folder:
        answer, took = asked(sys.executable, [SWEEP_FLAG, str(count), str(options.workers), folder])
    figures = answer | took
    figures["cpu_seconds_a_run"] = took["cpu_seconds"] / count
    figures["wall_seconds_a_run"] = took["wall_seconds"] / count
    text = f"{count} runs: {took['wall_seconds']:.1f} s, {took['cpu_seconds']:.1f} CPU s"
    print(f"{text}, {took['peak_bytes'] / 2**30:.2f} GiB", file=sys.stderr, flush=True)
    return figures


def summary(
    sweeps: Sequence[dict[str, Any]], alone: dict[str, list[dict[str, Any]]], listed: Sequence[Run]
) -> dict[str, Any]:
    """The record."""
    small, large = sweeps[0], sweeps[-1]
    figures: dict[str, Any] = {
        "sweeps": [{key: value for key, value in one.items() if key != "accuracy"} for one in sweeps],
        "cost_of_a_run": {
            kind: round(large[f"{kind}_seconds_a_run"] / small[f"{kind}_seconds_a_run"], 3)
            for kind in ("cpu", "wall")
        },
        "one_by_one": {name: compared(large["accuracy"], found, listed) for name, found in alone.items()},
    }
    figures["cpu_ratio"] = {
        name: round(one["cpu_seconds_a_run"]["median"] / large["cpu_seconds_a_run"], 1)
        for name, one in figures["one_by_one"].items()
    }
    figures["targets"] = [
        told(f"wall seconds of {large['runs']} runs", large["wall_seconds"], SECONDS),
        told("GiB of memory", large["peak_bytes"] / 2**30, GIB),
        *(
            told(f"{kind} time of a run, beside one among {small['runs']}", ratio, GROWTH)
            for kind, ratio in figures["cost_of_a_run"].items()
        ),
    ]
    return figures


def told(what: str, found: float, most: float) -> str:
    """One target."""
    return f"{what}: {found:.3g}, at most {most:g}: {'met' if found <= most else 'MISSED'}"


def main() -> None:
    """Run all, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals-python", default=os.environ.get("CLIFFTOP_RIVALS_PYTHON", sys.executable))
    parser.add_argument(
        "--runs", type=int, nargs=2, default=[1_000, 10_000], help="a small and a large sweep"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=40, help="runs that are trained one by one")
    parser.add_argument("--quick", action="store_true", help="100 and 200 runs, a sample of 5, no record")
    parser.add_argument(SWEEP_FLAG, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument(SAMPLE_FLAG, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sweep:
        count, workers, folder = options.sweep
        print(json.dumps(sweep(int(count), int(workers), Path(folder))))
        return
    if options.sample_of:
        library, count, size = options.sample_of
        print(json.dumps({"found": one_by_one(library, sample(int(count), int(size)))}))
        return
    if options.quick:
        options.runs, options.sample = [100, 200], 5
    sweeps = [measured_sweep(options, count) for count in options.runs]
    largest = options.runs[-1]
    alone: dict[str, list[dict[str, Any]]] = {}
    for library, python in (("clifftop", sys.executable), ("opacus", options.rivals_python)):
        answer, _ = asked(python, [SAMPLE_FLAG, library, str(largest), str(options.sample)])
        alone[library] = answer["found"]
    figures = summary(sweeps, alone, sample(largest, options.sample))
    for line in figures["targets"]:
        print(line)
    if options.quick:
        print(json.dumps(figures, indent=1))
        return
    from common import record

    record("lab_scale", figures)


if __name__ == "__main__":
    main()
