"""Fashion-MNIST from IDX files that are already on the machine; nothing is downloaded.

Xiao, Rasul, Vollgraf: Fashion-MNIST, a novel image dataset for benchmarking machine learning
algorithms, arXiv:1708.07747 (2017).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import ArrayDataset
from clifftop.datasets.idx import IdxError, read_idx

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts the four files."""

MEAN, STD = 0.2860, 0.3530
"""Public constants of the pixels scaled to [0, 1]; not computed from the rows that are asked for."""

_REMEDY = "install Debian's package dataset-fashion-mnist, or pass folder= with its four files"
_SIDE = 28
_NUM_CLASSES = 10


def fashion_mnist(
    *,
    num_train: int = 60_000,
    num_test: int = 10_000,
    seed: int = 0,
    folder: Path | str = DEBIAN_FOLDER,
) -> ArrayDataset:
    """Fashion-MNIST, or a random part of it: 28 x 28 grey images of clothes in 10 classes.

    Pixels are scaled to [0, 1], then by the public constants `MEAN` and `STD`, so no statistic of the
    private rows enters. The part is chosen without replacement by ``numpy.random.default_rng(seed)``,
    train rows first; the whole split keeps the order of the file.

    Args:
        num_train: train rows, 1 to 60,000.
        num_test: test rows, 1 to 10,000.
        seed: names the part that is chosen.
        folder: holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-`` files,
            each gzipped (``.gz``) or not.

    Returns:
        Inputs of shape ``(N, 1, 28, 28)``.

    Raises:
        IdxError: a file is absent, damaged, or not what its name says; a `ValueError`.
        ValueError: more rows are asked for than there are.
    """
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    train_inputs, train_targets = _part(folder, "train", num_train, rng)
    test_inputs, test_targets = _part(folder, "t10k", num_test, rng)
    return ArrayDataset(
        train_inputs=train_inputs,
        train_targets=train_targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
    )


def _part(
    folder: Path, prefix: str, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images, labels = _read_split(folder, prefix)
    if not 1 <= count <= len(labels):
        name = "num_train" if prefix == "train" else "num_test"
        raise ValueError(
            f"{name} must be between 1 and the {len(labels)} rows in {folder}, found {name}={count}; "
            "ask for fewer rows"
        )
    if count < len(labels):
        rows = rng.choice(len(labels), size=count, replace=False)
        images, labels = images[rows], labels[rows]
    scaled = images.astype(np.float32)
    scaled /= np.float32(255)  # in place: each copy of the whole split is 188 MB
    scaled -= np.float32(MEAN)
    scaled /= np.float32(STD)
    return scaled[:, np.newaxis], labels.astype(np.int64)


def _read_split(folder: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image_path = _find(folder, f"{prefix}-images-idx3-ubyte")
    label_path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    images = read_idx(image_path, ndim=3, remedy=_REMEDY)
    labels = read_idx(label_path, ndim=1, remedy=_REMEDY)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise IdxError(
            f"{image_path} must hold images of {_SIDE} x {_SIDE}, found {images.shape[1:]}; {_REMEDY}"
        )
    if len(images) != len(labels):
        raise IdxError(
            f"{label_path} must hold a label for each of {len(images)} images, found {len(labels)}; {_REMEDY}"
        )
    if len(labels) and labels.max() >= _NUM_CLASSES:
        raise IdxError(f"{label_path} must hold labels below {_NUM_CLASSES}, found {labels.max()}; {_REMEDY}")
    return images, labels


def _find(folder: Path, name: str) -> Path:
    zipped = folder / f"{name}.gz"
    plain = folder / name
    return plain if plain.exists() and not zipped.exists() else zipped
