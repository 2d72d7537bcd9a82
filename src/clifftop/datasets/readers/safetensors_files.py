"""Arrays in safetensors files."""

from __future__ import annotations

import json
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
_PLAIN = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def safetensors(
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
    """Arrays in a safetensors file, examples on the first axis; the arguments of `npz`.

    bfloat16 becomes float32, exactly. Floats of 8 bits and complex numbers are refused.

    Raises:
        DataFileError: a file that is absent or damaged, lacks a name, or holds something else.
        ModuleNotFoundError: the package safetensors is not installed.
    """
    path = Path(path).expanduser()
    how = declared(task=task, offset=offset, scale=scale)
    train = partial(rows_from, path, partial(_tensor, path), inputs, targets, how)
    test = None
    if any(x is not None for x in (test_path, test_inputs, test_targets)):
        other = path if test_path is None else Path(test_path).expanduser()
        test = partial(
            rows_from, other, partial(_tensor, other), test_inputs or inputs, test_targets or targets, how
        )
    return split_or_read(path, train, test, test_fraction=test_fraction, split_seed=split_seed)


def _tensor(path: Path, name: str) -> NDArray[Any]:
    package = _package()
    with errors_name(path, package.SafetensorError), package.safe_open(path, framework="numpy") as file:
        held = list(file.keys())
        if name not in held:
            raise DataFileError(f"{path} must hold an array {name!r}, found {', '.join(held) or 'none'}")
        dtype = file.get_slice(name).get_dtype()
        if dtype in _PLAIN:
            return file.get_tensor(name)
        if dtype == "BF16":
            return _bfloat16(path, name, file.get_slice(name).get_shape())
    raise DataFileError(
        f"{name} of {path} must be a plain float, whole number or bool, found {dtype}; save it as F32"
    )


def _bfloat16(path: Path, name: str, shape: list[int]) -> NDArray[np.float32]:
    """The upper halves of float32 numbers, which NumPy has no name for; the package has checked the file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(size))[name]["data_offsets"]
        file.seek(8 + size + begin)
        halves = np.frombuffer(file.read(end - begin), dtype="<u2")
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)


def _package() -> Any:
    try:
        import safetensors
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "reading safetensors files needs the package safetensors, found none; "
            "run: pip install 'clifftop[lab]'",
            name="safetensors",
        ) from None
    return safetensors
