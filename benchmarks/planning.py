"""Does a plan's proposal train as well as the other rows of its table? On Fashion-MNIST, which is public.

Every row of the table (batch size, steps, calibrated noise) is trained at the learning rates that a plan
would search, with several seeds, on parts of Fashion-MNIST, mostly at 14 x 14 pixels. A row is judged by
its best learning rate. The proposal's regret is the best row's mean test accuracy minus its own; the
standard error is that of the difference of two such means. The best of eight rows is favoured by chance, so
a regret within two standard errors says that the proposal cannot be told from the best. The constants of
the advice were chosen on the settings that are marked so.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record
from torch import nn

from clifftop.clipping import Flat
from clifftop.datasets import ArrayDataset, fashion_mnist
from clifftop.events import NeighboringRelation
from clifftop.lab import Factory, OptimizerSpec, RunSpec, train_cohort
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.planning import Candidate, Compute, Question, noise_reach, plan_training
from clifftop.planning.advice import CLIP_NORM, FACTORS, MOST_REACH
from clifftop.sampling import Poisson

NUM_TEST = 5_000
DELTA = 1e-5
SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One table to train."""

    title: str
    model: str
    parameters: int
    num_train: int
    epochs: int
    epsilons: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    data: str = "planning:rows"


POWERS = (64, 128, 256, 512, 1024, 2048, 4096)
SETTINGS = (
    Setting(
        title="network, 10,000 rows, 10 epochs (constants chosen on it)",
        model="planning:mlp",
        parameters=6_634,
        num_train=10_000,
        epochs=10,
        epsilons=(1.0, 3.0, 8.0),
        batch_sizes=(*POWERS, 10_000),
    ),
    Setting(
        title="network, 2,000 rows, 20 epochs (constants chosen on it)",
        model="planning:mlp",
        parameters=6_634,
        num_train=2_000,
        epochs=20,
        epsilons=(1.0, 3.0, 8.0),
        batch_sizes=(16, 32, *POWERS[:5], 2_000),
    ),
    Setting(
        title="network, 10,000 rows, 40 epochs",
        model="planning:mlp",
        parameters=6_634,
        num_train=10_000,
        epochs=40,
        epsilons=(3.0,),
        batch_sizes=(*POWERS[1:], 10_000),
    ),
    Setting(
        title="softmax regression, 60,000 rows, 3 epochs",
        model="planning:linear",
        parameters=1_970,
        num_train=60_000,
        epochs=3,
        epsilons=(0.3, 3.0),
        batch_sizes=(*POWERS, 8192),
    ),
    Setting(
        title="convolutional network on 28 x 28 pixels, 5,000 rows, 6 epochs",
        model="clifftop.studies.fashion_cnn.model:cnn",
        data="clifftop.studies.fashion_cnn.model:rows",
        parameters=26_010,
        num_train=5_000,
        epochs=6,
        epsilons=(3.0,),
        batch_sizes=POWERS[:5],
    ),
)


def mlp() -> nn.Module:
    """32 hidden units on 14 x 14 pixels: 6,634 parameters."""
    return nn.Sequential(nn.Linear(196, 32), nn.Tanh(), nn.Linear(32, 10))


def linear() -> nn.Module:
    """Softmax regression on 14 x 14 pixels: 1,970 parameters."""
    return nn.Linear(196, 10)


@functools.cache
def rows(*, num_train: int, num_test: int) -> ArrayDataset:
    """A part of Fashion-MNIST, four pixels averaged to one: a quarter of the work."""
    data = fashion_mnist(num_train=num_train, num_test=num_test, seed=0)
    return ArrayDataset(
        train_inputs=pooled(data.train_inputs),
        train_targets=data.train_targets,
        test_inputs=pooled(data.test_inputs),
        test_targets=data.test_targets,
    )


def pooled(images: np.ndarray) -> np.ndarray:
    """Images ``(N, 1, 28, 28)`` as rows ``(N, 196)``."""
    return images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196).astype(np.float32)


def specs(setting: Setting, row: Candidate, reaches: Sequence[float]) -> list[RunSpec]:
    """The runs of one row: every learning rate, every seed."""
    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=row.sampling_prob),
        clipping=Flat(clip_norm=CLIP_NORM),
        noise=Gaussian(noise_multiplier=row.noise_multiplier),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=float(row.batch_size),
    )
    data = {"num_train": setting.num_train, "num_test": NUM_TEST}
    return [
        RunSpec(
            model=Factory(target=setting.model),
            data=Factory(target=setting.data, options=data),
            plan=plan,
            optimizer=OptimizerSpec(lr=reach / CLIP_NORM),
            steps=row.steps,
            evaluate_every=row.steps,
            seed=seed,
            streams=Keyed(),
        )
        for reach in reaches
        for seed in SEEDS
    ]


def train_row(setting: Setting, row: Candidate) -> dict[str, Any]:
    """A row with its accuracies, in per cent: a list of seeds for each learning rate times clip norm."""
    guess = min(noise_reach(row, setting.parameters), MOST_REACH)
    reaches = [guess * factor for factor in FACTORS]
    *_, last = train_cohort(specs(setting, row, reaches), checkpoint_seconds=1e9)
    values = 100 * last.metrics["accuracy"][1][:, -1].reshape(len(reaches), len(SEEDS))
    means = values.mean(axis=1).tolist()
    best = means.index(max(means))
    return {
        "batch_size": row.batch_size,
        "steps": row.steps,
        "noise_multiplier": round(row.noise_multiplier, 4),
        "epsilon": row.epsilon.upper,
        "total_noise": round(row.total_noise, 4),
        "guess": round(guess, 4),
        "best_factor": FACTORS[best],
        "mean": round(means[best], 3),
        "sd": round(statistics.stdev(values[best].tolist()), 3),
        "at_guess": round(means[FACTORS.index(1.0)], 3),
        "accuracies": [[round(value, 2) for value in line] for line in values.tolist()],
    }


class Kept:
    """Rows that were trained, in a file that may be there already."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        there = path is not None and path.exists()
        self._document: dict[str, Any] = {"cpu_seconds": 0.0, "rows": {}}
        if there:
            assert path is not None
            self._document = json.loads(path.read_text(encoding="utf-8"))

    @property
    def cpu_seconds(self) -> float:
        """Of all rows."""
        return float(self._document["cpu_seconds"])

    def row(self, setting: Setting, epsilon: float, row: Candidate) -> dict[str, Any]:
        """A row, trained if it is not there."""
        key = f"{setting.title}: epsilon {epsilon:g}, batch {row.batch_size}"
        if key not in self._document["rows"]:
            started = time.process_time()
            self._document["rows"][key] = train_row(setting, row)
            self._document["cpu_seconds"] += time.process_time() - started
            print(key, self._document["rows"][key], file=sys.stderr, flush=True)
            if self._path is not None:
                self._path.write_text(json.dumps(self._document, indent=1), encoding="utf-8")
        found: dict[str, Any] = self._document["rows"][key]
        return found


def judge(setting: Setting, epsilon: float, kept: Kept) -> dict[str, Any]:
    """Train a table and say how the proposal did."""
    compute = Compute.of_epochs(setting.epochs, num_examples=setting.num_train)
    question = Question(
        num_examples=setting.num_train,
        epsilon=epsilon,
        delta=DELTA,
        compute=compute,
        parameters=setting.parameters,
    )
    plan = plan_training(question, batch_sizes=setting.batch_sizes)
    table = [kept.row(setting, epsilon, row) for row in plan.table]
    best = max(table, key=lambda line: line["mean"])
    proposed = next(line for line in table if line["batch_size"] == plan.proposal.candidate.batch_size)
    error = math.sqrt((best["sd"] ** 2 + proposed["sd"] ** 2) / len(SEEDS)) if best is not proposed else 0.0
    return {
        "setting": setting.title,
        "num_examples": setting.num_train,
        "epochs": setting.epochs,
        "parameters": setting.parameters,
        "epsilon": epsilon,
        "proposed": proposed["batch_size"],
        "reason": plan.proposal.reason,
        "best": best["batch_size"],
        "regret": round(best["mean"] - proposed["mean"], 3),
        "standard_error": round(error, 3),
        "worst_regret": round(best["mean"] - min(line["mean"] for line in table), 3),
        "regret_at_first_lr": round(best["mean"] - proposed["at_guess"], 3),
        "table": table,
    }


def main() -> None:
    """Judge every setting and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, nargs="*", default=range(len(SETTINGS)))
    parser.add_argument("--rows", type=Path, help="a file of rows; what is there is not trained again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(options.rows)
    judged = [judge(SETTINGS[i], epsilon, kept) for i in options.settings for epsilon in SETTINGS[i].epsilons]
    record("planning", {"seeds": len(SEEDS), "cpu_seconds": kept.cpu_seconds, "judged": judged})


if __name__ == "__main__":
    main()
