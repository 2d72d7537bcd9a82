"""Named arrays to rows: dtypes as a model wants them, scaling as it was declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import Rows, RowsDataset
from clifftop.datasets.readers.declared import Numbers, check_task, declared_numbers, names
from clifftop.datasets.readers.errors import DataFileError
from clifftop.datasets.readers.splitting import refuse_unclear_split, split

Names = str | Sequence[str]
Load = Callable[[str], NDArray[Any]]


@final
@dataclass(frozen=True, kw_only=True)
class Declared:
    """What was declared about arrays.

    Attributes:
        classes: whether targets are class numbers.
        offset: subtracted from every input, or from each feature of its last axis, or None.
        scale: what inputs are divided by afterwards, likewise.
    """

    classes: bool
    offset: Numbers | None
    scale: Numbers | None

    def input(self, what: str, array: NDArray[Any]) -> NDArray[Any]:
        """Floats and unsigned bytes as float32; other whole numbers as int64, or scaled as float32."""
        if array.dtype.kind not in "fiub":
            raise DataFileError(f"{what} must hold numbers, found {array.dtype}; convert it")
        if self.offset is not None or self.scale is not None:
            for name, value in (("offset", self.offset), ("scale", self.scale)):
                if isinstance(value, tuple) and array.shape[1:][-1:] != (len(value),):
                    raise DataFileError(
                        f"{name} must be one number, or one for each feature of {what}, found {len(value)} "
                        f"numbers for rows of shape {array.shape[1:]}"
                    )
            return scaled(array, self.offset or 0.0, 1.0 if self.scale is None else self.scale)
        if array.dtype == np.bool_:
            return array
        if array.dtype.kind == "f" or array.dtype == np.uint8:
            return _float32(what, array)
        return _int64(what, array)

    def target(self, what: str, array: NDArray[Any]) -> NDArray[Any]:
        """Class numbers as int64, ``(N, 1)`` as ``(N,)``; other targets as float32."""
        if not self.classes:
            if array.dtype.kind not in "fiub":
                raise DataFileError(f"{what} must hold numbers, found {array.dtype}; convert it")
            return _float32(what, array)
        if array.dtype.kind not in "iub":
            raise DataFileError(
                f"{what} must hold class numbers, found {array.dtype}; convert it or set task='regression'"
            )
        if array.size and array.min() < 0:
            raise DataFileError(
                f"{what} must hold class numbers from 0, found {array.min()}; number the classes anew"
            )
        numbers = _int64(what, array)
        return numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers


def scaled(array: NDArray[Any], offset: Numbers, scale: Numbers) -> NDArray[np.float32]:
    """``(array - offset) / scale`` in float32."""
    result = array.astype(np.float32)
    with np.errstate(over="ignore"):  # what overflows is refused with the other numbers that are not finite
        result -= np.asarray(offset, dtype=np.float32)
        result /= np.asarray(scale, dtype=np.float32)
    return result


def declared(*, task: str, offset: object, scale: object) -> Declared:
    """What was declared, checked.

    Raises:
        DataFileError: another task, or a constant that is no number.
    """
    return Declared(
        classes=check_task(task),
        offset=declared_numbers("offset", offset),
        scale=declared_numbers("scale", scale),
    )


def rows_from(source: Path | str, load: Load, inputs: Names, targets: Names, how: Declared) -> Rows:
    """Rows from the arrays that ``load`` finds by name.

    Raises:
        DataFileError: an array that is not there or holds something else; names ``source``.
    """
    try:
        return Rows(
            inputs=tuple(how.input(f"{name} of {source}", load(name)) for name in names("inputs", inputs)),
            targets=tuple(
                how.target(f"{name} of {source}", load(name)) for name in names("targets", targets)
            ),
        )
    except DataFileError:
        raise
    except ValueError as error:
        raise DataFileError(f"{source}: {error}") from None


def split_or_read(
    source: Path | str,
    train: Callable[[], Rows],
    test: Callable[[], Rows] | None,
    *,
    test_fraction: float | None,
    split_seed: int,
) -> RowsDataset:
    """Train rows, and test rows from their own place or held out.

    Raises:
        DataFileError: both or neither were asked for, or the two do not fit together.
    """
    refuse_unclear_split(
        source, separate=test is not None, test_fraction=test_fraction, split_seed=split_seed
    )
    rows = train()
    if test is None:
        assert test_fraction is not None
        return split(rows, source, test_fraction=test_fraction, split_seed=split_seed)
    try:
        return RowsDataset(train=rows, test=test())
    except DataFileError:
        raise
    except ValueError as error:
        raise DataFileError(f"{source}: {error}") from None


def _float32(what: str, array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        result = array.astype(np.float32, copy=False)
    if result is not array and not np.isfinite(result).all() and np.isfinite(array).all():
        raise DataFileError(f"{what} must fit float32, found larger numbers; declare a scale")
    return result


def _int64(what: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataFileError(f"{what} must fit int64, found {array.max()}; number its values anew")
    return array.astype(np.int64, copy=False)
