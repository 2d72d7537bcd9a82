"""A sweep of one's own model: target epsilons, widths and learning rates, and what the search cost."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from clifftop.datasets import ArrayDataset
from clifftop.lab.sweep import Sweep, load_sweep, train_sweep


def build(*, width: int = 16) -> torch.nn.Module:
    """Any module; ``width`` is an axis of the sweep."""
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))


def load() -> ArrayDataset:
    """Two half moons, 1,000 rows to train on and 500 to test on."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 1500)
    angle = rng.uniform(0, np.pi, 1500)
    signs = 1.0 - 2.0 * targets
    x = signs * np.cos(angle) + targets
    y = signs * np.sin(angle) + 0.5 * targets
    rows = (np.stack([x, y], axis=1) + rng.normal(0, 0.2, (1500, 2))).astype(np.float32)
    return ArrayDataset(
        train_inputs=rows[:1000],
        train_targets=targets[:1000].astype(np.int64),
        test_inputs=rows[1000:],
        test_targets=targets[1000:].astype(np.int64),
    )


sweep = Sweep(
    name="half-moons",
    model="sweep_own_model:build",
    data="sweep_own_model:load",
    delta=1e-4,
    expected_batch_size=100,
    epochs=10,
    clip_norm=1.0,
    baselines=True,
    axes={
        "target_epsilon": [0.5, 2, 8],
        "model.width": [4, 32],
        "lr": {"low": 0.1, "high": 10, "scale": "log", "num": 5},
        "seed": {"stop": 3},
    },
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trained = train_sweep(load_sweep(Path(__file__)), folder)  # the command: clifftop sweep THIS_FILE
    print(f"{trained.result.runs} runs in {trained.result.seconds:.1f} s")
    for cell in trained.best:
        level = "no privacy" if cell.baseline else f"epsilon <= {cell.epsilon:.3g}"
        print(f"{level}: accuracy {cell.score:.3f} with {dict(cell.point)}")
    for said in trained.cost.sentences().values():
        print(said)
