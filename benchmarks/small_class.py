"""Whom does clipping cost accuracy? Digits of which one class is rare, each arm at its own learning rate.

Of scikit-learn's digits (public; ``pip install scikit-learn``) 600 rows are held out, and of the class 8
only 18 of the others are kept. Each seed splits and initialises anew and draws its own batches. Four arms
train at each learning rate: neither, clipping alone, noise alone, both (epsilon 4 at delta 1e-4). An arm's
own rate is that of its highest mean accuracy over all test rows, so that nobody chooses for the rare class.
Differences are paired by seed, with 95% t-intervals.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from common import record
from torch import nn

from clifftop.analysis.uncertainty import estimate
from clifftop.datasets import Rows, RowsDataset
from clifftop.lab import Factory
from clifftop.lab.reading import open_runs
from clifftop.lab.sweep import Sweep, train_sweep

RARE, KEPT, NUM_TEST, NUM_TRAIN = 8, 18, 600, 1000
LRS = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
ARMS = ("neither", "clipping", "noise", "both")
GROUPS = ("common", "rare")
SCORES = (
    "accuracy", "accuracy_by_class", "accuracy_by_group", "worst_class_accuracy", "clipped_by_group", "ece",
    "ece_floor", "brier",
)  # fmt: skip


@functools.cache
def _digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), classes.astype(np.int64)


def rows(*, seed: int) -> RowsDataset:
    """A seed's own split; the rare class is a group of its own."""
    x, y = _digits()
    order = np.random.default_rng(seed).permutation(len(y))
    test, others = order[:NUM_TEST], order[NUM_TEST:]
    rare, common = others[y[others] == RARE], others[y[others] != RARE]
    train = np.concatenate([rare[:KEPT], common])[:NUM_TRAIN]

    def part(chosen: np.ndarray[Any, Any]) -> Rows:
        groups = np.where(y[chosen] == RARE, "rare", "common")
        return Rows(inputs=(x[chosen],), targets=(y[chosen],), groups=groups)

    return RowsDataset(train=part(train), test=part(test))


def mlp() -> nn.Module:
    """64 hidden units."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def main() -> None:
    """Train, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    sweep = Sweep(
        name="small-class",
        model=Factory(target="small_class:mlp"),
        data=Factory(target="small_class:rows"),
        metrics=tuple(Factory(target=f"clifftop.criteria:{name}") for name in SCORES),
        counterfactuals=True,
        delta=1e-4,
        target_epsilon=4.0,
        clip_norm=1.0,
        expected_batch_size=128,
        epochs=30,
        evaluate_every_epochs=30,
        public=True,
        axes={"lr": LRS, "seed": {"stop": seeds}},
    )
    with tempfile.TemporaryDirectory() as folder:
        train_sweep(sweep, Path(folder))
        runs = open_runs(folder)
    record("small_class", {"seeds": seeds, "lrs": LRS, "kept_of_the_rare_class": KEPT} | figures(runs))


def figures(runs: pl.DataFrame) -> dict[str, Any]:
    """Each arm at its own rate and all arms at rate 1, and differences to the arm with neither."""
    means = (
        runs.group_by("arm", "lr")
        .agg(pl.col("accuracy").fill_nan(0).mean())
        .sort("accuracy", descending=True)
    )
    found: dict[str, Any] = {}
    for title in ("own_lr", "lr_1"):
        chosen = {arm: means.filter(arm=arm)["lr"][0] if title == "own_lr" else 1.0 for arm in ARMS}
        arms = {arm: runs.filter(arm=arm, lr=lr).sort("seed") for arm, lr in chosen.items()}
        found[title] = {
            arm: {"lr": chosen[arm]} | _row(table, arms["neither"]) for arm, table in arms.items()
        }
    return found


def _row(table: pl.DataFrame, plain: pl.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in ("accuracy", "ece", "ece_floor", "brier", *_parts("accuracy"), *_parts("clipped")):
        row[name] = round(float(table[name].mean()), 4)
    for group, name in zip(GROUPS, _parts("accuracy"), strict=True):
        difference = estimate((table[name] - plain[name]).to_numpy())
        row[f"difference_{group}"] = [round(x, 4) for x in (difference.mean, *(difference.ci95 or ()))]
    return row


def _parts(score: str) -> list[str]:
    return [f"{score}[group={group}]" for group in GROUPS]


if __name__ == "__main__":
    main()
