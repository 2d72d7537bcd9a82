"""IDX files, the format of MNIST and its kin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import Rows, RowsDataset
from clifftop.datasets.idx import read_idx
from clifftop.datasets.readers.arrays import scaled
from clifftop.datasets.readers.declared import declared_number
from clifftop.datasets.readers.errors import DataFileError

_REMEDY = "name the files with train_images, train_labels, test_images and test_labels"


def idx(
    folder: str | Path,
    *,
    train_images: str = "train-images-idx3-ubyte",
    train_labels: str = "train-labels-idx1-ubyte",
    test_images: str = "t10k-images-idx3-ubyte",
    test_labels: str = "t10k-labels-idx1-ubyte",
    offset: float = 0.0,
    scale: float = 255.0,
) -> RowsDataset:
    """Grey images of unsigned bytes and their class numbers.

    Args:
        folder: holds the four files, each gzipped (with or without ``.gz`` in its name) or not.
        train_images: the file of N images with 3 axes.
        train_labels: the file of N class numbers.
        test_images: the same for the test rows.
        test_labels: the same for the test rows.
        offset: subtracted from every pixel in [0, 255]; a constant that no row decides.
        scale: what pixels are divided by afterwards.

    Returns:
        One input ``(N, 1, height, width)`` float32, one target ``(N,)`` int64.

    Raises:
        DataFileError: the files do not fit together, or a constant is no number.
        IdxError: a file is absent or damaged; a `ValueError`.
    """
    constants = declared_number("offset", offset), declared_number("scale", scale)
    folder = Path(folder).expanduser()
    train = _rows(folder, train_images, train_labels, *constants)
    test = _rows(folder, test_images, test_labels, *constants)
    try:
        return RowsDataset(train=train, test=test)
    except ValueError as error:
        raise DataFileError(f"{folder}: {error}") from None


def _rows(folder: Path, images: str, labels: str, offset: float, scale: float) -> Rows:
    image_path, label_path = _find(folder, images), _find(folder, labels)
    pixels = read_idx(image_path, ndim=3, remedy=_REMEDY)
    classes: NDArray[Any] = read_idx(label_path, ndim=1, remedy=_REMEDY)
    if len(pixels) != len(classes) or not len(pixels):
        raise DataFileError(
            f"{label_path} must hold a label for each of {len(pixels)} images, at least one, "
            f"found {len(classes)}; {_REMEDY}"
        )
    return Rows(inputs=(scaled(pixels, offset, scale)[:, np.newaxis],), targets=(classes.astype(np.int64),))


def _find(folder: Path, name: str) -> Path:
    plain, zipped = folder / name, folder / f"{name}.gz"
    return zipped if zipped.exists() and not plain.exists() else plain
