"""CSV and Parquet files, read by polars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop.datasets.base import RowsDataset
from clifftop.datasets.readers.columns import Columns
from clifftop.datasets.readers.declared import CLASSIFICATION
from clifftop.datasets.readers.errors import errors_name
from clifftop.datasets.readers.splitting import refuse_unclear_split, split
from clifftop.datasets.readers.tables import table_rows

if TYPE_CHECKING:
    import polars as pl

PathLike = str | Path
Names = str | Sequence[str]
ByColumn = Mapping[str, Any] | Sequence[Sequence[Any]]


def csv(
    path: PathLike,
    *,
    target: Names,
    inputs: Names | None = None,
    test_path: PathLike | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    task: str = CLASSIFICATION,
    categories: ByColumn = (),
    offset: float | ByColumn | None = None,
    scale: float | ByColumn | None = None,
    group: str | None = None,
    separator: str = ",",
) -> RowsDataset:
    """A CSV file with the names of its columns in the first line.

    Args:
        path: the file, gzipped or not.
        target: the target column, or several.
        inputs: the input columns in their order; by default all others.
        test_path: a file of test rows with the same columns.
        test_fraction: without that file, the probability with which a row is held out for testing.
        split_seed: decides with the row's number which rows these are; public.
        task: "classification" (targets are class numbers from 0, int64) or "regression" (float32).
        categories: a column's values in the order of their numbers, as a mapping or as pairs. An input column
            of k values becomes k features of 0 and 1; a target column becomes class numbers.
        offset: subtracted from every numeric input, or by column; a constant that no row decides.
        scale: what they are divided by afterwards, likewise.
        group: a column of labels, text or whole numbers, by which scores are told apart. It is no input
            unless ``inputs`` names it.
        separator: between the values of a line.

    Returns:
        One input ``(N, F)`` float32; a target ``(N,)`` for each target column of classes, one ``(N,)`` or
        ``(N, k)`` for regression.

    Raises:
        DataFileError: a file that is absent or damaged, or a column that does not hold what was declared.
        ModuleNotFoundError: polars is not installed.
    """
    pl = _polars()
    # Types are inferred from all rows: from some, a later row could fail, or be cut to a whole number.
    read = partial(pl.read_csv, infer_schema_length=None, separator=separator)
    return _table(
        read,
        Path(path).expanduser(),
        target=target,
        inputs=inputs,
        test_path=test_path,
        test_fraction=test_fraction,
        split_seed=split_seed,
        task=task,
        categories=categories,
        offset=offset,
        scale=scale,
        group=group,
    )


def parquet(
    path: PathLike,
    *,
    target: Names,
    inputs: Names | None = None,
    test_path: PathLike | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    task: str = CLASSIFICATION,
    categories: ByColumn = (),
    offset: float | ByColumn | None = None,
    scale: float | ByColumn | None = None,
    group: str | None = None,
) -> RowsDataset:
    """A Parquet file; see `csv`. A column of lists of k numbers becomes k features.

    Raises:
        DataFileError: a file that is absent or damaged, or a column that does not hold what was declared.
        ModuleNotFoundError: polars is not installed.
    """
    return _table(
        _polars().read_parquet,
        Path(path).expanduser(),
        target=target,
        inputs=inputs,
        test_path=test_path,
        test_fraction=test_fraction,
        split_seed=split_seed,
        task=task,
        categories=categories,
        offset=offset,
        scale=scale,
        group=group,
    )


def _table(
    read: Callable[[Path], pl.DataFrame],
    path: Path,
    *,
    test_path: PathLike | None,
    test_fraction: float | None,
    split_seed: int,
    **declared: Any,
) -> RowsDataset:
    refuse_unclear_split(
        path, separate=test_path is not None, test_fraction=test_fraction, split_seed=split_seed
    )
    table = _read(read, path)
    columns = Columns.declared(path, table.columns, **declared)
    rows = table_rows(path, table, columns)
    if test_path is None:
        assert test_fraction is not None
        return split(rows, path, test_fraction=test_fraction, split_seed=split_seed)
    other = Path(test_path).expanduser()
    table = _read(read, other)
    columns.check(other, table.columns)
    return RowsDataset(train=rows, test=table_rows(other, table, columns))


def _read(read: Callable[[Path], pl.DataFrame], path: Path) -> pl.DataFrame:
    with errors_name(path, _polars().exceptions.PolarsError):
        return read(path)


def _polars() -> Any:
    try:
        import polars as pl
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "reading tables needs the package polars, found none; run: pip install 'clifftop[lab]'",
            name="polars",
        ) from None
    return pl
