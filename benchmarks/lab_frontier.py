"""The frontier of a CNN in 64 cells: the lab's one sweep beside separate Opacus runs, CPU time and accuracy.

Noise multiplier by clip norm by learning rate, four of each, for the 26k-parameter CNN on 10,000 rows of
Fashion-MNIST: Poisson batches of 512 expected examples, 10 epochs, SGD with momentum. The lab trains all
64 cells as it trains any sweep; Opacus trains each by itself, from a seed of its own, in the interpreter
named by ``--rivals-python PATH`` or ``CLIFFTOP_RIVALS_PYTHON``. Every thread count is one. Time is process
CPU time: for Opacus that of the training loop and one evaluation, for the lab that of everything from
specifications to the last row in the store; imports and data come to that 64 times and once, and are
measured apart. A run's time hardly depends on its cell, so fewer Opacus cells
(``--opacus-cells``, taken in a fixed random order) give the same ratio; the record says how many there were.
More seeds of the lab say how much a cell's accuracy varies by itself, which is what differences are
measured in. Results are kept a run in ``--folder``; what is there is not run again.
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
NOISE_MULTIPLIERS = (0.6, 1.0, 2.0, 4.0)
CLIP_NORMS = (0.25, 0.5, 1.0, 2.0)
LRS = (0.0625, 0.125, 0.25, 0.5)
NUM_TRAIN, NUM_TEST, BATCH_SIZE, EPOCHS = 10_000, 10_000, 512, 10
STEPS = round(EPOCHS * NUM_TRAIN / BATCH_SIZE)
MOMENTUM = 0.9
CELLS = tuple(itertools.product(NOISE_MULTIPLIERS, CLIP_NORMS, LRS))
OPACUS_FLAG, LAB_FLAG = "--opacus-worker", "--lab-worker"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

LAB_STARTUP = """
from clifftop.datasets import fashion_mnist
from clifftop.lab import Store, run_sweep, train_cohort
fashion_mnist(num_train=10_000, num_test=10_000, seed=0)
"""

Cell = tuple[float, float, float]


# ---------------------------------------------------------------- Opacus, in the rivals' interpreter


def train_by_opacus(cells: Sequence[int], path: Path, *, steps: int, mode: str) -> None:
    """Train cells one after another, each from its own seed, and write every result at once."""
    import torch
    from opacus import PrivacyEngine
    from steps.tasks import cnn

    from clifftop.datasets import fashion_mnist

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    assert PrivacyEngine is not None  # loaded before time counts
    data = fashion_mnist(num_train=NUM_TRAIN, num_test=NUM_TEST, seed=0)
    train = tuple(map(torch.from_numpy, (data.train_inputs, data.train_targets)))
    test = tuple(map(torch.from_numpy, (data.test_inputs, data.test_targets)))
    for cell in cells:
        torch.manual_seed(1 + cell)
        found = {"cell": cell, "steps": steps, "mode": mode} | _one_opacus_run(
            cnn(), train, test, CELLS[cell], seed=1 + cell, steps=steps, mode=mode
        )
        results = [r for r in read(path) if r["cell"] != cell]
        path.write_text(json.dumps([*results, found], indent=1) + "\n", encoding="utf-8")
        text = f"opacus cell {cell}: accuracy {found['accuracy']:.4f}, {found['cpu_seconds']:.1f} CPU s"
        print(text, file=sys.stderr, flush=True)


def _one_opacus_run(
    model: Any, train: Any, test: Any, cell: Cell, *, seed: int, steps: int, mode: str
) -> dict[str, Any]:
    """Opacus with its own Poisson sampler read by tensors: cheaper than its data loader."""
    import torch
    from opacus.grad_sample import wrap_model
    from opacus.optimizers import DPOptimizer
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    noise_multiplier, clip_norm, lr = cell
    rate = BATCH_SIZE / NUM_TRAIN
    wrapped = wrap_model(model, mode, batch_first=True, loss_reduction="mean")
    private = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM),
        noise_multiplier=noise_multiplier,
        max_grad_norm=clip_norm,
        expected_batch_size=BATCH_SIZE,
    )
    draws = torch.Generator().manual_seed(seed)
    sampler = UniformWithReplacementSampler(
        num_samples=NUM_TRAIN, sample_rate=rate, generator=draws, steps=steps
    )
    torch.manual_seed(seed + 1_000_000)
    wall, cpu = time.perf_counter(), time.process_time()
    for picked in sampler:
        index = torch.as_tensor(picked)
        private.zero_grad()
        torch.nn.functional.cross_entropy(wrapped(train[0][index]), train[1][index]).backward()
        private.step()
    training = time.process_time() - cpu
    model.eval()
    with torch.no_grad():
        right = (model(test[0]).argmax(1) == test[1]).double().mean()
    return {
        "accuracy": float(right),
        "training_seconds": training,
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


# ---------------------------------------------------------------- the lab


def train_by_lab(seed: int, steps: int) -> dict[str, Any]:
    """One sweep of all cells from one seed; accuracies in the cells' order, and CPU seconds."""
    import torch

    from clifftop.lab import Store, run_sweep, train_cohort

    torch.set_num_threads(1)
    assert callable(train_cohort)  # loaded before time counts
    wall, cpu = time.perf_counter(), time.process_time()
    asked = [_spec(cell, seed, steps) for cell in CELLS]
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder), study="frontier") as store:
        result = run_sweep(store, asked)
        rows = store.query(
            "SELECT run.id, value FROM metric JOIN run ON run.key = metric.run "
            "WHERE name = 'accuracy' AND metric.step = run.steps"
        )
    assert result.trained == len(CELLS)
    accuracy = dict(rows)
    return {
        "seed": seed,
        "accuracy": [accuracy[spec.id] for spec in asked],
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
    }


def _spec(cell: Cell, seed: int, steps: int) -> Any:
    from dataclasses import replace

    from clifftop.clipping import Flat
    from clifftop.lab import OptimizerSpec
    from clifftop.noise import Gaussian
    from clifftop.studies import get

    noise_multiplier, clip_norm, lr = cell
    template = get("fashion-cnn").template
    plan = replace(
        template.plan,
        clipping=Flat(clip_norm=clip_norm),
        noise=Gaussian(noise_multiplier=noise_multiplier),
    )
    return replace(
        template,
        data=replace(template.data, options={"num_train": NUM_TRAIN, "num_test": NUM_TEST}),
        plan=plan,
        optimizer=OptimizerSpec(name="sgd", lr=lr, options={"momentum": MOMENTUM}),
        steps=steps,
        evaluate_every=steps,
        seed=seed,
    )


# ---------------------------------------------------------------- all runs


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file; none if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def opacus_results(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each chosen cell's figures: from the file, or from running the cell now."""
    order = random.Random(0).sample(range(len(CELLS)), len(CELLS))[: options.opacus_cells]
    path = options.folder / "opacus.json"
    setting = {"steps": options.steps, "mode": options.opacus_mode}

    def known() -> list[dict[str, Any]]:
        return [r for r in read(path) if r["cell"] in order and setting.items() <= r.items()]

    missing = [cell for cell in order if cell not in {r["cell"] for r in known()}]
    if missing:
        paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "benchmarks")))
        subprocess.run(
            [
                options.rivals_python, __file__, OPACUS_FLAG, str(path), json.dumps(missing),
                "--steps", str(options.steps), "--opacus-mode", options.opacus_mode,
            ],
            env=os.environ | ONE_THREAD | {"PYTHONPATH": paths},
            check=True,
        )  # fmt: skip
    return sorted(known(), key=lambda r: r["cell"])


def lab_results(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each seed's figures: from its file, or from a sweep in a process of its own."""
    found: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        path = options.folder / f"lab_{seed}.json"
        if not (path.exists() and json.loads(path.read_text(encoding="utf-8"))["steps"] == options.steps):
            answer = subprocess.run(
                [sys.executable, __file__, LAB_FLAG, str(seed), "--steps", str(options.steps)],
                env=os.environ | ONE_THREAD,
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            figures = json.loads(answer.splitlines()[-1]) | {"steps": options.steps}
            path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            print(f"lab seed {seed}: {figures['cpu_seconds']:.1f} CPU s", file=sys.stderr, flush=True)
        found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def startup_seconds(options: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of a process that imports each library and loads the data, and trains nothing."""
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "benchmarks")))
    commands = {
        "opacus": [options.rivals_python, __file__, OPACUS_FLAG, os.devnull, "[]"],
        "lab": [sys.executable, "-c", LAB_STARTUP],
    }
    found: dict[str, float] = {}
    for name, command in commands.items():
        before = _children_seconds()
        subprocess.run(command, env=os.environ | ONE_THREAD | {"PYTHONPATH": paths}, check=True)
        found[name] = _children_seconds() - before
    return found


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compared(
    opacus: Sequence[dict[str, Any]], lab: Sequence[dict[str, Any]], startup: dict[str, float]
) -> dict[str, Any]:
    """CPU time, and accuracies cell by cell, with what a cell's accuracy varies by from seed to seed."""
    seeds = len(lab)
    cells: list[dict[str, Any]] = []
    for one in opacus:
        own = [sweep["accuracy"][one["cell"]] for sweep in lab]
        noise_multiplier, clip_norm, lr = CELLS[one["cell"]]
        cells.append(
            {
                "noise_multiplier": noise_multiplier,
                "clip_norm": clip_norm,
                "lr": lr,
                "opacus": round(one["accuracy"], 4),
                "lab": round(statistics.mean(own), 4),
                "lab_sd": round(statistics.stdev(own), 4),
                "difference": round(statistics.mean(own) - one["accuracy"], 4),
            }
        )
    differences = [c["difference"] for c in cells]
    # One Opacus run a cell against a mean of the lab's, both of the same distribution if all is well.
    expected = math.sqrt(statistics.mean(c["lab_sd"] ** 2 for c in cells) * (1 + 1 / seeds))
    rms = math.sqrt(statistics.mean(d**2 for d in differences))
    # The lab's runs of one seed share their batches and noise, so their mean varies from seed to seed.
    chosen = [one["cell"] for one in opacus]
    means = [statistics.mean(sweep["accuracy"][c] for c in chosen) for sweep in lab]
    error = math.sqrt(
        statistics.mean(c["lab_sd"] ** 2 for c in cells) / len(cells) + statistics.variance(means) / seeds
    )
    seconds = [one["cpu_seconds"] for one in opacus]
    sweeps = [sweep["cpu_seconds"] for sweep in lab]
    theirs = len(CELLS) * statistics.median(seconds)
    return {
        "opacus_cells_run": len(opacus),
        "opacus_cpu_seconds_a_run": {
            "min": round(min(seconds), 2),
            "median": round(statistics.median(seconds), 2),
            "max": round(max(seconds), 2),
        },
        "opacus_cpu_seconds_64_runs": round(theirs, 1),
        "lab_cpu_seconds_a_sweep": [round(s, 1) for s in sweeps],
        "lab_microseconds_an_example": [
            round(s / len(CELLS) / one_run_examples(lab) * 1e6, 1) for s in sweeps
        ],
        "cpu_ratio": round(statistics.median(sweeps) / theirs, 4),
        "startup_cpu_seconds": {name: round(value, 2) for name, value in startup.items()},
        "cpu_ratio_of_whole_processes": round(
            (statistics.median(sweeps) + startup["lab"]) / (theirs + len(CELLS) * startup["opacus"]), 4
        ),
        "cpu_ratio_best_to_best": round(min(sweeps) / (len(CELLS) * min(seconds)), 4),
        "mean_difference": round(statistics.mean(differences), 5),
        "mean_difference_standard_error": round(error, 5),
        "rms_difference": round(rms, 5),
        "rms_expected_of_seeds_alone": round(expected, 5),
        "cells": cells,
    }


def one_run_examples(lab: Sequence[dict[str, Any]]) -> int:
    """Expected examples of one run's training."""
    return BATCH_SIZE * lab[0]["steps"]


def show(summary: dict[str, Any]) -> None:
    """The figures, for a person."""
    print("sigma     C     lr  opacus     lab  lab sd  difference")
    for c in summary["cells"]:
        print(
            f"{c['noise_multiplier']:5} {c['clip_norm']:5} {c['lr']:6}  {c['opacus']:.4f}  {c['lab']:.4f}  "
            f"{c['lab_sd']:.4f}  {c['difference']:+.4f}"
        )
    print(
        f"mean difference {summary['mean_difference']:+.4f}, standard error "
        f"{summary['mean_difference_standard_error']:.4f}; root mean square {summary['rms_difference']:.4f}, "
        f"{summary['rms_expected_of_seeds_alone']:.4f} from seeds alone"
    )
    met = "met" if summary["cpu_ratio"] <= 0.2 else "MISSED"
    print(f"with imports and data, 64 times and once: {summary['cpu_ratio_of_whole_processes']}")
    print(
        f"lab {statistics.median(summary['lab_cpu_seconds_a_sweep']):.0f} CPU s, 64 Opacus runs "
        f"{summary['opacus_cpu_seconds_64_runs']:.0f}: ratio {summary['cpu_ratio']}; at most 0.2: {met}"
    )


def main() -> None:
    """Run what is not there yet, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals-python", default=os.environ.get("CLIFFTOP_RIVALS_PYTHON", sys.executable))
    parser.add_argument("--seeds", type=int, default=4, help="of the lab, at least 2")
    parser.add_argument("--opacus-cells", type=int, default=len(CELLS))
    parser.add_argument("--opacus-mode", default="hooks", choices=["hooks", "functorch", "ew"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "lab-frontier-benchmark")
    parser.add_argument("--quick", action="store_true", help="four steps, two Opacus cells, no record")
    parser.add_argument(OPACUS_FLAG, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument(LAB_FLAG, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.opacus_worker:
        path, cells = options.opacus_worker
        train_by_opacus(json.loads(cells), Path(path), steps=options.steps, mode=options.opacus_mode)
        return
    if options.lab_worker is not None:
        print(json.dumps(train_by_lab(options.lab_worker, options.steps)))
        return
    if options.quick:
        options.seeds, options.opacus_cells, options.steps = 2, 2, 4
        options.folder /= "quick"
    options.folder.mkdir(parents=True, exist_ok=True)
    summary = compared(opacus_results(options), lab_results(options), startup_seconds(options))
    show(summary)
    if not options.quick:
        from common import record

        setting = {"steps": options.steps, "opacus_mode": options.opacus_mode, "seeds": options.seeds}
        record("lab_frontier", {"setting": setting} | summary)


if __name__ == "__main__":
    main()
