"""Which rows are held out, where there is no file of test rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import Rows, RowsDataset
from clifftop.datasets.readers.errors import DataFileError


def held_out(count: int, *, test_fraction: float, split_seed: int) -> NDArray[np.bool_]:
    """``(count,)`` whether a row is a test row: a coin of its own, whatever rows come after it.

    A permutation would move every row when one is added, and the train rows of two files that differ in one
    row would then have nothing in common.

    >>> ten, eleven = (held_out(n, test_fraction=0.5, split_seed=0) for n in (10, 11))
    >>> bool((ten == eleven[:10]).all())
    True
    """
    return np.random.default_rng(split_seed).random(count) < test_fraction


def refuse_unclear_split(
    source: object, *, separate: bool, test_fraction: float | None, split_seed: int
) -> None:
    """Either a file of test rows, or a fraction.

    Raises:
        DataFileError: both or neither, a fraction outside (0, 1), or a seed that is no whole number from 0.
    """
    if separate != (test_fraction is None):
        found = f"both, test_fraction={test_fraction}" if separate else "neither"
        raise DataFileError(
            f"{source} must have its test rows in a place of their own or by test_fraction, found {found}; "
            "give one of the two"
        )
    if test_fraction is None:
        return
    number = isinstance(test_fraction, int | float) and not isinstance(test_fraction, bool)
    if not (number and math.isfinite(test_fraction) and 0 < test_fraction < 1):
        raise DataFileError(
            f"test_fraction must lie between 0 and 1, found test_fraction={test_fraction!r}; pass 0.2, say"
        )
    if isinstance(split_seed, bool) or not isinstance(split_seed, int) or split_seed < 0:
        raise DataFileError(f"split_seed must be a whole number >= 0, found split_seed={split_seed!r}")


def split(rows: Rows, source: object, *, test_fraction: float, split_seed: int) -> RowsDataset:
    """Train and test rows, each in the order of the file.

    Raises:
        DataFileError: no row is left for one of them.
    """
    out = held_out(len(rows), test_fraction=test_fraction, split_seed=split_seed)
    if out.all() or not out.any():
        raise DataFileError(
            f"{source} must have rows for training and for testing, found {len(rows)} rows, "
            f"{int(out.sum())} of them held out by test_fraction={test_fraction}; give more, or test rows"
        )
    train, test = (
        Rows(
            inputs=tuple(x[kept] for x in rows.inputs),
            targets=tuple(y[kept] for y in rows.targets),
            groups=None if rows.groups is None else rows.groups[kept],
        )
        for kept in (~out, out)
    )
    return RowsDataset(train=train, test=test)
