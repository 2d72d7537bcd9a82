"""The 26k-parameter network of the private-learning literature, and its data."""

from __future__ import annotations

import functools

from torch import nn

from clifftop.datasets import ArrayDataset, fashion_mnist


def cnn() -> nn.Module:
    """Two tanh convolutions with max pooling and two linear layers (Papernot et al. 2020, arXiv:2007.14191).

    >>> sum(p.numel() for p in cnn().parameters())
    26010
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, stride=2, padding=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, stride=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )


def rows(seed: int, *, num_train: int, num_test: int) -> ArrayDataset:
    """One fixed part of Fashion-MNIST for every run: ``seed`` varies the training, not the data."""
    del seed
    return _rows(num_train, num_test)


@functools.lru_cache(maxsize=1)
def _rows(num_train: int, num_test: int) -> ArrayDataset:
    # One object for all runs, so that a cohort holds the images once.
    return fashion_mnist(num_train=num_train, num_test=num_test, seed=0)
