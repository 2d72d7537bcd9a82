"""NumPy's own files: one array each (``.npy``), or several in one archive (``.npz``)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clifftop.datasets.base import RowsDataset
from clifftop.datasets.readers.arrays import Names, declared, rows_from, split_or_read
from clifftop.datasets.readers.declared import CLASSIFICATION
from clifftop.datasets.readers.errors import DataFileError, errors_name

PathLike = str | Path
_ARCHIVE = b"PK"
_DAMAGE = (ValueError, EOFError, zipfile.BadZipFile, zlib.error, SyntaxError, NotImplementedError)


def npy(
    inputs: PathLike | Sequence[PathLike],
    targets: PathLike | Sequence[PathLike],
    *,
    test_inputs: PathLike | Sequence[PathLike] | None = None,
    test_targets: PathLike | Sequence[PathLike] | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    task: str = CLASSIFICATION,
    offset: float | Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
) -> RowsDataset:
    """Arrays in ``.npy`` files, examples on the first axis.

    Files are mapped, not read: an array that needs no conversion takes no memory of its own. A file must not
    be changed while it is in use. Pickled objects are never loaded.

    Args:
        inputs: the file of the inputs, or one for each argument of the model.
        targets: the file of the targets, or one for each argument of the criterion after the output.
        test_inputs: files of test rows.
        test_targets: their targets.
        test_fraction: without these, the probability with which a row is held out for testing.
        split_seed: decides with the row's number which rows these are; public.
        task: "classification" (targets become int64, from 0) or "regression" (float32).
        offset: subtracted from every input, or from each feature of its last axis; constants that no row
            decides.
        scale: what inputs are divided by afterwards, likewise.

    Returns:
        Inputs of floats and unsigned bytes as float32, other whole numbers as int64 (as float32 where an
        offset or a scale is declared), truth values as they are.

    Raises:
        DataFileError: a file that is absent or damaged, or holds something else.
    """
    how = declared(task=task, offset=offset, scale=scale)
    if (test_inputs is None) != (test_targets is None):
        raise DataFileError("test_inputs and test_targets must be given together, found one; give both")
    train = partial(rows_from, "npy", _mapped, _texts(inputs), _texts(targets), how)
    test = None
    if test_inputs is not None and test_targets is not None:
        test = partial(rows_from, "npy", _mapped, _texts(test_inputs), _texts(test_targets), how)
    return split_or_read(_texts(inputs)[0], train, test, test_fraction=test_fraction, split_seed=split_seed)


def npz(
    path: PathLike,
    *,
    inputs: Names,
    targets: Names,
    test_path: PathLike | None = None,
    test_inputs: Names | None = None,
    test_targets: Names | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    task: str = CLASSIFICATION,
    offset: float | Sequence[float] | None = None,
    scale: float | Sequence[float] | None = None,
) -> RowsDataset:
    """Arrays in an ``.npz`` archive, examples on the first axis; see `npy`.

    Args:
        path: the archive.
        inputs: the name of the inputs, or one for each argument of the model.
        targets: the name of the targets, or one for each argument of the criterion after the output.
        test_path: an archive of test rows; ``path`` itself by default.
        test_inputs: names of the test rows; those of the train rows by default.
        test_targets: names of their targets, likewise.
        test_fraction: without any of these three, the probability with which a row is held out.
        split_seed: see `npy`.
        task: see `npy`.
        offset: see `npy`.
        scale: see `npy`.

    Raises:
        DataFileError: a file that is absent or damaged, lacks a name, or holds something else.
    """
    path = Path(path).expanduser()
    how = declared(task=task, offset=offset, scale=scale)
    train = partial(rows_from, path, partial(_member, path), inputs, targets, how)
    test = None
    if any(x is not None for x in (test_path, test_inputs, test_targets)):
        other = path if test_path is None else Path(test_path).expanduser()
        test = partial(
            rows_from, other, partial(_member, other), test_inputs or inputs, test_targets or targets, how
        )
    return split_or_read(path, train, test, test_fraction=test_fraction, split_seed=split_seed)


def _mapped(name: str) -> NDArray[Any]:
    path = Path(name).expanduser()
    with errors_name(path, *_DAMAGE):
        with path.open("rb") as file:
            if file.read(2) == _ARCHIVE:
                raise DataFileError(f"{path} must be an .npy file, found an archive; read it with npz")
        # "c": what is written stays in this process; torch wants memory that it could write to.
        return np.asarray(np.lib.format.open_memmap(path, mode="c"))


def _member(path: Path, name: str) -> NDArray[Any]:
    with errors_name(path, *_DAMAGE), path.open("rb") as file:
        if file.read(2) != _ARCHIVE:
            raise DataFileError(f"{path} must be an .npz archive, found another file; read .npy with npy")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            if name not in archive.files:
                held = ", ".join(archive.files) or "none"
                raise DataFileError(f"{path} must hold an array {name!r}, found {held}")
            return archive[name]


def _texts(paths: PathLike | Sequence[PathLike]) -> tuple[str, ...]:
    return (str(paths),) if isinstance(paths, str | Path) else tuple(map(str, paths))
