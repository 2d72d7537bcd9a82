"""Fashion-MNIST to epsilon 3: Clifftop's trainer beside Opacus, accuracy and CPU time over seeds.

The 26k-parameter CNN, all 60,000 images, Poisson batches of 2048 expected examples, 20 epochs, SGD with
momentum, one learning rate for both, clip norm 1, and one noise multiplier for both: the one that
Clifftop's accountant proves enough for epsilon 3 at delta 1e-5. Each run is a process of its own on one
thread, in the interpreter named by ``--rivals-python PATH`` or ``CLIFFTOP_RIVALS_PYTHON``, and leaves a
small file in ``--folder``, so that an interrupted benchmark goes on where it stopped. The two libraries
take turns, seed by seed. Time is process CPU time of the training loop: draws of batches are in it,
loading and evaluation are not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EPSILON, DELTA = 3.0, 1e-5
NUM_EXAMPLES, BATCH_SIZE, EPOCHS = 60_000, 2048, 20
STEPS = round(EPOCHS * NUM_EXAMPLES / BATCH_SIZE)
CLIP_NORM, MOMENTUM = 1.0, 0.9
LIBRARIES = ("clifftop", "opacus")
PRIVATE_FLAG = "--run"


# ---------------------------------------------------------------- one run, in the rivals' interpreter


def run(library: str, seed: int, setting: dict[str, Any]) -> dict[str, Any]:
    """Train once; test accuracy, CPU and wall seconds."""
    import torch
    from steps.tasks import cnn, cross_entropy

    from clifftop.datasets import fashion_mnist

    torch.set_num_threads(1)
    data = fashion_mnist()
    train = tuple(map(torch.from_numpy, (data.train_inputs, data.train_targets)))
    test = tuple(map(torch.from_numpy, (data.test_inputs, data.test_targets)))
    torch.manual_seed(seed)
    model = cnn()
    optimizer = torch.optim.SGD(model.parameters(), lr=setting["lr"], momentum=MOMENTUM)
    prepare = {"clifftop": by_clifftop, "opacus": by_opacus}[library]
    work = prepare(model, cross_entropy, optimizer, train, seed, setting)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    seconds = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    model.eval()
    with torch.no_grad():
        right = (model(test[0]).argmax(1) == test[1]).double().mean()
    return {"library": library, "seed": seed, "accuracy": float(right)} | seconds


def by_clifftop(
    model: Any, criterion: Any, optimizer: Any, train: Any, seed: int, setting: dict[str, Any]
) -> Callable[[], None]:
    """`Trainer` at its defaults."""
    from clifftop import Trainer
    from clifftop.clipping import Flat
    from clifftop.events import NeighboringRelation
    from clifftop.noise import Gaussian
    from clifftop.plan import PrivacyPlan
    from clifftop.sampling import Poisson

    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=BATCH_SIZE / NUM_EXAMPLES),
        clipping=Flat(clip_norm=CLIP_NORM),
        noise=Gaussian(noise_multiplier=setting["noise_multiplier"]),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=float(BATCH_SIZE),
    )
    trainer = Trainer(
        module=model,
        criterion=criterion,
        optimizer=optimizer,
        plan=plan,
        inputs=train[:1],
        targets=train[1:],
        seed=seed,
    )
    return lambda: trainer.fit(steps=setting["steps"])


def by_opacus(
    model: Any, criterion: Any, optimizer: Any, train: Any, seed: int, setting: dict[str, Any]
) -> Callable[[], None]:
    """Opacus in one of its modes, its Poisson sampler read by tensors: cheaper than its data loader."""
    import torch
    from opacus.grad_sample import wrap_model
    from opacus.optimizers import DPOptimizer
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    warnings.simplefilter("ignore")
    draws = torch.Generator().manual_seed(seed)
    wrapped = wrap_model(model, setting["opacus_mode"], batch_first=True, loss_reduction="mean")
    private = DPOptimizer(
        optimizer,
        noise_multiplier=setting["noise_multiplier"],
        max_grad_norm=CLIP_NORM,
        expected_batch_size=BATCH_SIZE,
    )
    sampler = UniformWithReplacementSampler(
        num_samples=NUM_EXAMPLES,
        sample_rate=BATCH_SIZE / NUM_EXAMPLES,
        generator=draws,
        steps=setting["steps"],
    )

    def work() -> None:
        torch.manual_seed(seed + 1_000_000)
        for rows in sampler:
            index = torch.as_tensor(rows)
            private.zero_grad()
            criterion(wrapped(train[0][index]), train[1][index]).mean().backward()
            private.step()

    return work


# ---------------------------------------------------------------- all runs


def noise_multiplier(steps: int) -> float:
    """What Clifftop's accountant proves enough."""
    from clifftop.accounting import calibrate_noise_multiplier
    from clifftop.events import Gaussian, NeighboringRelation, PoissonSampled, SelfComposed

    return calibrate_noise_multiplier(
        lambda sigma: SelfComposed(PoissonSampled(BATCH_SIZE / NUM_EXAMPLES, Gaussian(sigma)), steps),
        target_epsilon=EPSILON,
        target_delta=DELTA,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    )


def finished(options: argparse.Namespace, setting: dict[str, Any], seed: int, library: str) -> dict[str, Any]:
    """The run's figures: from its file, if that is of the same setting, or from running it now."""
    path = options.folder / f"{library}_{seed}.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["setting"] == setting:
            return found
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "benchmarks")))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    answer = subprocess.run(
        [options.rivals_python, __file__, PRIVATE_FLAG, library, str(seed), json.dumps(setting)],
        env=os.environ | threads | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    figures = json.loads(answer.splitlines()[-1]) | {"setting": setting}
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def compared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation a library, the difference with its standard error, the ratio of times."""
    by = {name: [r for r in runs if r["library"] == name] for name in LIBRARIES}
    summary: dict[str, Any] = {}
    for name, own in by.items():
        accuracy = [r["accuracy"] for r in own]
        summary[name] = {
            "accuracy": [round(a, 4) for a in accuracy],
            "mean": round(statistics.mean(accuracy), 5),
            "sd": round(statistics.stdev(accuracy), 5),
            "cpu_seconds": [round(r["cpu_seconds"], 1) for r in own],
            "wall_seconds": [round(r["wall_seconds"], 1) for r in own],
        }
    ours, theirs = (summary[name] for name in LIBRARIES)
    error = math.sqrt(sum(s["sd"] ** 2 / len(s["accuracy"]) for s in (ours, theirs)))
    ratios = [a["cpu_seconds"] / b["cpu_seconds"] for a, b in zip(by["clifftop"], by["opacus"], strict=True)]
    summary["difference"] = round(ours["mean"] - theirs["mean"], 5)
    summary["standard_error"] = round(error, 5)
    summary["cpu_ratio"] = {
        "min": round(min(ratios), 3),
        "median": round(statistics.median(ratios), 3),
        "max": round(max(ratios), 3),
    }
    return summary


def show(summary: dict[str, Any]) -> None:
    """The figures, for a person."""
    for name in LIBRARIES:
        own = summary[name]
        seconds = statistics.median(own["cpu_seconds"])
        print(f"{name:9} accuracy {own['mean']:.4f} +- {own['sd']:.4f}, {seconds:.0f} CPU s a run")
    within = abs(summary["difference"]) <= 2 * summary["standard_error"]
    verdict = "within" if within else "NOT within"
    print(
        f"difference {summary['difference']:+.4f}, standard error {summary['standard_error']:.4f}: "
        f"{verdict} two of them"
    )
    ratio = summary["cpu_ratio"]["median"]
    print(f"clifftop over opacus, CPU time: {ratio}; at most 0.5: {'met' if ratio <= 0.5 else 'MISSED'}")


def main() -> None:
    """Run what is not there yet, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals-python", default=os.environ.get("CLIFFTOP_RIVALS_PYTHON", sys.executable))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--lr", type=float, default=2.0, help="the best of .25, .5, 1 and 2 in a look at three epochs"
    )
    parser.add_argument("--opacus-mode", default="hooks", choices=["hooks", "functorch", "ew"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "fashion-cnn-benchmark")
    parser.add_argument("--quick", action="store_true", help="two seeds of ten steps, no record")
    parser.add_argument(PRIVATE_FLAG, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        library, seed, setting = options.run
        print(json.dumps(run(library, int(seed), json.loads(setting))))
        return
    if options.quick:
        options.seeds, options.steps = 2, 10
        options.folder /= "quick"
    options.folder.mkdir(parents=True, exist_ok=True)
    setting = {
        "steps": options.steps,
        "lr": options.lr,
        "opacus_mode": options.opacus_mode,
        "noise_multiplier": noise_multiplier(options.steps),
    }
    runs = []
    for seed in range(options.seeds):
        for library in LIBRARIES if seed % 2 == 0 else LIBRARIES[::-1]:
            runs.append(finished(options, setting, seed, library))
            last = runs[-1]
            text = f"{library} seed {seed}: accuracy {last['accuracy']:.4f}, {last['cpu_seconds']:.1f} CPU s"
            print(text, file=sys.stderr, flush=True)
    summary = compared(runs)
    show(summary)
    if not options.quick:
        from common import record

        record("fashion_cnn", {"epsilon": EPSILON, "delta": DELTA, "setting": setting} | summary)


if __name__ == "__main__":
    main()
