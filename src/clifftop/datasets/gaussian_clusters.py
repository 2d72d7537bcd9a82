"""Gaussian clusters, drawn exactly as the published study draws them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import ArrayDataset


def gaussian_clusters(
    seed: int,
    *,
    num_classes: int = 5,
    num_features: int = 10,
    per_class: int = 100,
    spread: float = 3.0,
    scale: float = 1.5,
    num_train: int = 400,
    normalise: bool = True,
) -> ArrayDataset:
    """One Gaussian cluster for each class; the defaults are the study's data for ``seed``.

    Class centres are N(0, ``spread``^2) in each coordinate and rows N(centre, ``scale``^2). Rows are
    drawn class by class, then put in a random order; the first ``num_train`` are the train rows.
    Every draw comes from one ``numpy.random.RandomState(seed)``, so a seed names the same rows on
    every machine.

    Args:
        seed: names the draw, 0 to 2**32 - 1.
        num_classes: clusters, at least 1.
        num_features: coordinates of a row, at least 1.
        per_class: rows of each cluster, at least 1.
        spread: standard deviation of the centres, finite and > 0.
        scale: standard deviation of a row around its centre, finite and > 0.
        num_train: train rows, at least 1 and fewer than ``num_classes * per_class``.
        normalise: True divides by the train rows' own mean and standard deviation, as the study does:
            those statistics are private data that its epsilon does not pay for. False divides by
            ``sqrt(spread**2 + scale**2)``, a constant that depends on no row.

    Returns:
        Rows of shape ``(N, num_features)``; 400 train and 100 test rows by default.

    Raises:
        ValueError: for an argument outside its range.

    >>> data = gaussian_clusters(42)
    >>> data.train_inputs.shape, data.test_inputs.shape
    ((400, 10), (100, 10))
    """
    _check(seed=seed, num_classes=num_classes, num_features=num_features, per_class=per_class)
    _check_scales(spread=spread, scale=scale)
    num_rows = num_classes * per_class
    if not 1 <= num_train < num_rows:
        raise ValueError(
            f"num_train must be at least 1 and leave a test row of {num_rows}, found num_train={num_train}; "
            "ask for fewer train rows or more per_class"
        )
    rng = np.random.RandomState(seed)
    centres = rng.randn(num_classes, num_features) * spread
    rows = np.concatenate([rng.randn(per_class, num_features) * scale + centre for centre in centres])
    order = rng.permutation(num_rows)
    rows, targets = rows[order], np.repeat(np.arange(num_classes, dtype=np.int64), per_class)[order]
    if normalise:
        train_inputs, test_inputs = _by_train_statistics(rows[:num_train], rows[num_train:])
    else:
        scaled = rows / math.hypot(spread, scale)
        train_inputs, test_inputs = scaled[:num_train], scaled[num_train:]
    return ArrayDataset(
        train_inputs=train_inputs.astype(np.float32),
        train_targets=targets[:num_train],
        test_inputs=test_inputs.astype(np.float32),
        test_targets=targets[num_train:],
    )


def _by_train_statistics(
    train: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, std = train.mean(axis=0), train.std(axis=0) + 1e-8
    return (train - mean) / std, (test - mean) / std


def _check(*, seed: int, **counts: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and 2**32 - 1, found seed={seed}; pick a smaller seed")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, found {name}={count}; ask for one or more")


def _check_scales(**scales: float) -> None:
    for name, value in scales.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, found {name}={value}; pass a spread")
