"""From a table to rows: numbers and categories as they were declared, everything else refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import Rows
from clifftop.datasets.readers.columns import Columns
from clifftop.datasets.readers.errors import DataFileError

if TYPE_CHECKING:
    import polars as pl


def table_rows(path: Path, table: pl.DataFrame, columns: Columns) -> Rows:
    """Rows with one input ``(N, F)`` float32, and a target ``(N,)`` for each target column.

    A column of categories gives as many 0/1 features as it has values, a column of lists as many features as
    a list is long. Several regression targets are one array ``(N, k)``.

    Raises:
        DataFileError: no row, a missing value, or a column that does not hold what was declared.
    """
    count = len(table)
    if count == 0:
        raise DataFileError(f"{path} must hold at least one row, found only the names of its columns")
    blocks = [_features(path, table[name], columns) for name in columns.inputs]
    widths = [block.shape[1] for block in blocks]
    matrix = np.empty((count, sum(widths)), dtype=np.float32)
    for block, end, width in zip(blocks, np.cumsum(widths), widths, strict=True):
        matrix[:, end - width : end] = block
    groups = None if columns.group is None else _groups(path, table[columns.group])
    try:
        return Rows(inputs=(matrix,), targets=_targets(path, table, columns), groups=groups)
    except ValueError as error:
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(f"{path}, column {columns.group!r}: {error}") from None


def _groups(path: Path, series: pl.Series) -> NDArray[Any]:
    """``(N,)`` text or whole numbers."""
    import polars as pl

    _refuse_missing(path, series)
    if series.dtype.is_integer():
        return series.cast(pl.Int64).to_numpy(writable=True)
    if series.dtype not in (pl.String, pl.Boolean) and not isinstance(series.dtype, pl.Categorical | pl.Enum):
        raise DataFileError(
            f"{path} must hold labels in the group column {series.name!r}, text or whole numbers, found "
            f"{series.dtype}; cut its numbers into bands before"
        )
    return np.array(series.cast(pl.String).to_list())


def _features(path: Path, series: pl.Series, columns: Columns) -> NDArray[np.float32]:
    """``(N, k)``."""
    if series.name in columns.categories:
        values = columns.categories[series.name]
        return np.eye(len(values), dtype=np.float32)[_codes(path, series, values)]
    return _numbers(path, series, columns)


def _targets(path: Path, table: pl.DataFrame, columns: Columns) -> tuple[NDArray[Any], ...]:
    if columns.classes:
        return tuple(_classes(path, table[name], columns) for name in columns.targets)
    values = np.concatenate([_numbers(path, table[name], columns) for name in columns.targets], axis=1)
    return (values[:, 0] if values.shape[1] == 1 else values,)


def _classes(path: Path, series: pl.Series, columns: Columns) -> NDArray[np.int64]:
    import polars as pl

    if series.name in columns.categories:
        return _codes(path, series, columns.categories[series.name])
    _refuse_missing(path, series)
    if not (series.dtype.is_integer() or series.dtype == pl.Boolean):
        raise DataFileError(
            f"{path} must hold class numbers in column {series.name!r}, found {series.dtype}; declare the "
            f"classes, as in categories=[[{series.name!r}, ['no', 'yes']]], or task='regression'"
        )
    numbers = series.cast(pl.Int64).to_numpy(writable=True)
    if numbers.min() < 0:
        raise DataFileError(
            f"{path} must hold class numbers from 0 in column {series.name!r}, found {numbers.min()}; "
            f"declare the classes in their order, as in categories=[[{series.name!r}, [-1, 1]]]"
        )
    return numbers


def _codes(path: Path, series: pl.Series, values: tuple[Any, ...]) -> NDArray[np.int64]:
    import polars as pl

    _refuse_missing(path, series)
    text = isinstance(series.dtype, pl.Categorical | pl.Enum)
    plain = series.cast(pl.String) if text else series
    try:
        codes = plain.replace_strict(list(values), range(len(values)), default=None, return_dtype=pl.Int64)
    except pl.exceptions.PolarsError:
        raise DataFileError(
            f"categories of column {series.name!r} must be values like those of {path}, which holds "
            f"{series.dtype}, found {values[0]!r}"
        ) from None
    if unknown := codes.null_count():
        raise DataFileError(
            f"{path} must hold declared categories in column {series.name!r}, found {unknown} rows with "
            f"others, the first {plain.filter(codes.is_null())[0]!r}; declare it too, or drop these rows"
        )
    return codes.to_numpy(writable=True)


def _numbers(path: Path, series: pl.Series, columns: Columns) -> NDArray[np.float32]:
    """``(N, k)``: k is 1, or the length of the lists that a column holds."""
    import polars as pl

    _refuse_missing(path, series)
    flat = _flat(path, series)
    if not (flat.dtype.is_numeric() or flat.dtype == pl.Boolean):
        raise DataFileError(
            f"{path} must hold numbers in column {series.name!r}, found {series.dtype}; declare its values "
            f"(they are not learnt from private rows), as in categories=[[{series.name!r}, ['a', 'b']]], or "
            "leave it out with inputs"
        )
    offset, scale = columns.offsets.get(series.name), columns.scales.get(series.name)
    with np.errstate(over="ignore"):
        if offset is None and scale is None:
            numbers = flat.cast(pl.Float32).to_numpy()
        else:
            wide = flat.cast(pl.Float64).to_numpy()
            numbers = ((wide - (offset or 0.0)) / (1.0 if scale is None else scale)).astype(np.float32)
    if bad := len(numbers) - int(np.count_nonzero(np.isfinite(numbers))):
        raise DataFileError(
            f"{path} must hold finite numbers in column {series.name!r}, found {bad} infinite or too "
            "large for float32; drop these rows, or declare a scale"
        )
    return numbers.reshape(len(series), -1)


def _flat(path: Path, series: pl.Series) -> pl.Series:
    """All values of a column, row by row; those of its lists, if it holds lists of one length."""
    import polars as pl

    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if not isinstance(series.dtype, pl.List):
        return series
    lengths = series.list.len().unique()
    if len(lengths) != 1 or lengths[0] == 0:
        raise DataFileError(
            f"{path} must hold lists of one length in column {series.name!r}, found lengths from "
            f"{lengths.min()} to {lengths.max()}; pad or cut them"
        )
    values = series.explode()
    _refuse_missing(path, values)
    return values


def _refuse_missing(path: Path, series: pl.Series) -> None:
    missing = series.null_count()
    if series.dtype.is_float():
        missing += int(series.is_nan().sum())
    if missing:
        raise DataFileError(
            f"{path} must have no missing values, found {missing} of {len(series)} in column "
            f"{series.name!r}; drop these rows, or fill them with a constant that no row decides"
        )
