"""The small public data sets that come with scikit-learn."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from clifftop.datasets.base import RowsDataset
from clifftop.datasets.readers.arrays import declared, rows_from, split_or_read
from clifftop.datasets.readers.declared import CLASSIFICATION
from clifftop.datasets.readers.errors import DataFileError

_NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def scikit_learn(
    name: str,
    *,
    test_fraction: float,
    split_seed: int = 0,
    task: str = CLASSIFICATION,
    offset: float | Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
) -> RowsDataset:
    """A data set that scikit-learn brings along; nothing is downloaded, and all of them are public.

    Args:
        name: "breast_cancer", "diabetes" (a regression), "digits" (pixels from 0 to 16), "iris" or "wine".
        test_fraction: the probability with which a row is held out for testing.
        split_seed: decides with the row's number which rows these are.
        task: "classification" or "regression".
        offset: subtracted from every input, or one number for each feature.
        scale: what inputs are divided by afterwards, likewise.

    Returns:
        One input ``(N, F)`` float32, one target ``(N,)``.

    Raises:
        DataFileError: another name, or options that do not fit.
        ModuleNotFoundError: scikit-learn is not installed.
    """
    if name not in _NAMES:
        raise DataFileError(f"name must be one of {', '.join(_NAMES)}, found name={name!r}")
    inputs, targets = getattr(_datasets(), f"load_{name}")(return_X_y=True)
    arrays = {"inputs": inputs, "targets": targets}
    how = declared(task=task, offset=offset, scale=scale)
    train = partial(rows_from, f"scikit-learn's {name}", arrays.__getitem__, "inputs", "targets", how)
    return split_or_read(name, train, None, test_fraction=test_fraction, split_seed=split_seed)


def _datasets() -> Any:
    try:
        return importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "this data needs the package scikit-learn, found none; run: pip install scikit-learn",
            name="sklearn",
        ) from None
