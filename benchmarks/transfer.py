"""What is lost by tuning on a public proxy? The target is searched as well, on parts of Fashion-MNIST.

Two pairs. *Same classes*: 2,000 rows of all ten classes stand for 10,000 others. *Other classes*: 2,000
rows of classes 0 to 4 stand for 10,000 of classes 5 to 9. Both sweeps of a pair are grids of batch size and
learning rate at two epsilons with three seeds each; the target's batch sizes are the proxy's and five times
those, and learning rates are apart by the square root of five, so that the rules of scaling
(`clifftop.lab.transfer.Rules`) land on its grid or near it. The regret at an epsilon is the target's own best
mean accuracy minus that of the proxy's best setting. All data are public here.
"""

from __future__ import annotations

import argparse
import functools
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record
from torch import nn

from clifftop.datasets import ArrayDataset, fashion_mnist
from clifftop.lab import Factory
from clifftop.lab.sweep import Sweep, train_sweep
from clifftop.lab.transfer import Keep, Lr, Rules, read_results, transfer_regret
from planning import pooled

PROXY_ROWS, TARGET_ROWS, NUM_TEST = 2_000, 10_000, 3_000
RATIO = TARGET_ROWS // PROXY_ROWS
EPOCHS = 10
BATCHES = (16, 64)
AXES: dict[str, Any] = {
    "target_epsilon": [1.0, 8.0],
    "lr": [float(f"{0.6 * math.sqrt(RATIO) ** power:.6g}") for power in range(7)],
    "seed": [0, 1, 2],
}
PAIRS = {"same classes": (0, 10, 0, 10), "other classes": (0, 5, 5, 10)}


def mlp(*, classes: int) -> nn.Module:
    """32 hidden units on 14 x 14 pixels."""
    return nn.Sequential(nn.Linear(196, 32), nn.Tanh(), nn.Linear(32, classes))


@functools.cache
def rows(*, first: int, num_train: int, low: int, high: int) -> ArrayDataset:
    """Rows of the classes from ``low`` to below ``high``: ``num_train`` of them from place ``first`` on."""
    data = fashion_mnist()
    train = np.flatnonzero((data.train_targets >= low) & (data.train_targets < high))[
        first : first + num_train
    ]
    test = np.flatnonzero((data.test_targets >= low) & (data.test_targets < high))[:NUM_TEST]
    return ArrayDataset(
        train_inputs=pooled(data.train_inputs[train]),
        train_targets=data.train_targets[train] - low,
        test_inputs=pooled(data.test_inputs[test]),
        test_targets=data.test_targets[test] - low,
    )


def sweep(name: str, *, first: int, num_train: int, low: int, high: int, batches: tuple[int, ...]) -> Sweep:
    """A grid on one part of the data."""
    data = {"first": first, "num_train": num_train, "low": low, "high": high}
    return Sweep(
        name=name,
        model=Factory(target="transfer:mlp", options={"classes": high - low}),
        data=Factory(target="transfer:rows", options=data),
        delta=1e-5,
        clip_norm=0.1,
        epochs=float(EPOCHS),
        evaluate_every_epochs=float(EPOCHS),
        public=True,
        axes=AXES | {"expected_batch_size": list(batches)},
    )


def measure(pair: str, folder: Path) -> list[dict[str, Any]]:
    """Train both sweeps of a pair, and say what either rule of scaling loses."""
    low, high, target_low, target_high = PAIRS[pair]
    near = sweep("proxy", first=0, num_train=PROXY_ROWS, low=low, high=high, batches=BATCHES)
    sizes = tuple(sorted({*BATCHES, *(RATIO * size for size in BATCHES)}))
    far = sweep(
        "target", first=PROXY_ROWS, num_train=TARGET_ROWS, low=target_low, high=target_high, batches=sizes
    )
    train_sweep(near, folder / "proxy")
    train_sweep(far, folder / "target")
    proxy, target = read_results(folder / "proxy"), read_results(folder / "target")
    return [
        {"pair": pair, "keep": keep.value, "lr": lr.value, "best_score": target.best(found.level).mean}
        | asdict(found)
        for keep in Keep
        for lr in Lr
        for found in transfer_regret(proxy, target, rules=Rules(keep=keep, lr=lr))
    ]


def main() -> None:
    """Measure both pairs and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="keep the stores here; what is there is not trained again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found = [line for pair in PAIRS for line in measure(pair, folder / pair.replace(" ", "_"))]
    record("transfer", {"cpu_seconds": time.process_time() - started, "regrets": found})


if __name__ == "__main__":
    main()
