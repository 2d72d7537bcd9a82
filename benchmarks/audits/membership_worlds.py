"""Data and models of the two membership studies, and the part of Fashion-MNIST that is attacked."""

from __future__ import annotations

import numpy as np
from torch import nn

from clifftop.datasets import ArrayDataset, fashion_mnist

CLASSES, FEATURES, PER_CLASS = 5, 10, 100


def blobs(*, spread: float, scale: float, seed: int) -> ArrayDataset:
    """500 rows around five random centres, half of them train; neither scaled nor centred."""
    rng = np.random.RandomState(seed)
    centres = rng.randn(CLASSES, FEATURES) * spread
    rows = np.concatenate([centre + scale * rng.randn(PER_CLASS, FEATURES) for centre in centres])
    classes = np.repeat(np.arange(CLASSES), PER_CLASS)
    order = rng.permutation(len(rows))
    inputs, targets = rows[order].astype(np.float32), classes[order].astype(np.int64)
    half = len(rows) // 2
    return ArrayDataset(
        train_inputs=inputs[:half],
        train_targets=targets[:half],
        test_inputs=inputs[half:],
        test_targets=targets[half:],
    )


def clothes(*, records: int) -> ArrayDataset:
    """A part of Fashion-MNIST; the same for every seed."""
    return fashion_mnist(num_train=records // 2, num_test=records // 2, seed=0)


def mlp(*, features: int = FEATURES, hidden: int = 128, classes: int = CLASSES) -> nn.Module:
    """Linear, ReLU, Linear."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
