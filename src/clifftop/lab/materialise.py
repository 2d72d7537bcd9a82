"""Rows from what others hold them in: mappings of arrays or tensors, and map-style torch Datasets."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from clifftop.datasets import Rows
from clifftop.training.memory import free_bytes

_Arrays = tuple[NDArray[Any], ...]


def rows_of_mapping(side: str, found: Mapping[str, Any]) -> Rows:
    """Rows from ``inputs`` and ``targets``, each an array, a tensor, or a tuple of them; ``groups`` if there.

    Raises:
        ValueError: one of the two is absent, or holds what is no rows; names ``side``.
    """
    for name in ("inputs", "targets"):
        if found.get(name) is None:
            names = ", ".join(map(str, found)) or "none"
            raise ValueError(f"{side} must have {name}, found the names {names}; give inputs and targets")
    inputs, targets = (_columns(side, name, found[name]) for name in ("inputs", "targets"))
    labels = found.get("groups")
    return _rows(side, inputs, targets, labels.cpu().numpy() if isinstance(labels, Tensor) else labels)


def rows_of_dataset(
    side: str,
    dataset: Any,
    *,
    input_names: Sequence[str] | None = None,
    target_names: Sequence[str] = ("target",),
    memory: Callable[[], int] = lambda: free_bytes(torch.device("cpu")),
) -> Rows:
    """Read a map-style Dataset once into arrays.

    A row is ``(x, ..., y)``, the last part being the target, or a dict. A part is a tensor, an array or a
    number, of one shape in all rows. Whole numbers become int64, float16 and Python's numbers float32.

    Args:
        side: names the data in errors.
        dataset: has a length and rows by number.
        input_names: of rows that are dicts; by default every other name of the first row.
        target_names: of rows that are dicts.
        memory: tells how many bytes are free.

    Raises:
        ValueError: a stream, no rows, a row of another form than the first, or more bytes than are free.
    """
    if isinstance(dataset, IterableDataset) or not all(
        hasattr(dataset, name) for name in ("__len__", "__getitem__")
    ):
        raise ValueError(
            f"{side} must be a map-style Dataset, found {type(dataset).__name__}; "
            "private sampling draws rows by number, which a stream or a loader does not give: pass a Dataset "
            "with __len__ and __getitem__"
        )
    count = len(dataset)
    if count == 0:
        raise ValueError(f"{side} must hold at least one row, found an empty {type(dataset).__name__}")
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        columns = tuple(_array(f"{side} part {i}", x) for i, x in enumerate(dataset.tensors))
        return _rows(side, columns[:-1], columns[-1:])
    first = dataset[0]
    names = _names(side, first, input_names, target_names)
    split, pick = (len(names) - len(target_names), names) if isinstance(first, Mapping) else (-1, None)
    columns = _read(side, dataset, count, pick, memory)
    return _rows(side, columns[:split], columns[split:])


def _names(
    side: str, first: Any, input_names: Sequence[str] | None, target_names: Sequence[str]
) -> tuple[str, ...]:
    """Inputs then targets, of rows that are dicts; nothing for other rows."""
    if not isinstance(first, Mapping):
        return ()
    targets = (target_names,) if isinstance(target_names, str) else tuple(target_names)
    if input_names is None:
        inputs = tuple(name for name in first if name not in targets)
    else:
        inputs = (input_names,) if isinstance(input_names, str) else tuple(input_names)
    absent = [name for name in (*inputs, *targets) if name not in first]
    if absent or not inputs or not targets:
        lack = f" and no {', '.join(absent)}" if absent else ""
        raise ValueError(
            f"a row of {side} must have inputs and targets, found {', '.join(map(str, first))}{lack}; "
            "name them with input_names and target_names of clifftop.lab.data:torch_dataset"
        )
    return (*inputs, *targets)


def _parts(side: str, number: int, row: Any, names: tuple[str, ...] | None) -> _Arrays:
    where = f"row {number} of {side}"
    if names is not None:
        if not isinstance(row, Mapping) or not all(name in row for name in names):
            raise ValueError(f"{where} must have the names {', '.join(names)}, as row 0 has")
        return tuple(_array(f"{name} in {where}", row[name]) for name in names)
    if not isinstance(row, (tuple, list)) or len(row) < 2:
        found = (
            f"{type(row).__name__} of {len(row)}" if isinstance(row, (tuple, list)) else type(row).__name__
        )
        raise ValueError(
            f"{where} must be (input, ..., target) or a dict with a target, found {found}; "
            "wrap the Dataset in one whose rows are"
        )
    return tuple(_array(f"part {i} of {where}", part) for i, part in enumerate(row))


def _read(
    side: str, dataset: Any, count: int, names: tuple[str, ...] | None, memory: Callable[[], int]
) -> _Arrays:
    first = _parts(side, 0, dataset[0], names)
    needed, free = count * sum(part.nbytes for part in first), memory()
    if needed > free:
        raise ValueError(
            f"{side} must fit in memory, found {count} rows of {needed // count} bytes, "
            f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB free; use fewer rows or smaller ones"
        )
    columns = tuple(np.empty((count, *part.shape), dtype=part.dtype) for part in first)
    for number in range(count):
        parts = _parts(side, number, dataset[number], names)
        form, wanted = ([(p.shape, p.dtype) for p in some] for some in (parts, first))
        if form != wanted:
            raise ValueError(
                f"rows of {side} must have one form, found {_forms(parts)} in row {number} and "
                f"{_forms(first)} in row 0; give them one shape and dtype"
            )
        for column, part in zip(columns, parts, strict=True):
            column[number] = part
    return columns


def _forms(parts: Iterable[NDArray[Any]]) -> str:
    return ", ".join(f"{part.dtype}{list(part.shape)}" for part in parts)


def _rows(side: str, inputs: _Arrays, targets: _Arrays, groups: NDArray[Any] | None = None) -> Rows:
    try:
        return Rows(inputs=inputs, targets=targets, groups=groups)
    except ValueError as error:
        raise ValueError(f"{side} rows: {error}") from None


def _columns(side: str, name: str, found: Any) -> _Arrays:
    several = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(_array(f"{side} {name}", x) for x in several)


def _array(what: str, value: Any) -> NDArray[Any]:
    """Tensor, array or number as an array of a dtype that `Rows` takes; shares memory where it can."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        array = (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
    elif isinstance(value, numbers.Real):
        return np.asarray(value, dtype=_dtype_of(value))
    elif isinstance(value, list) and value and all(isinstance(x, numbers.Real) for x in value):
        whole = all(isinstance(x, numbers.Integral) for x in value)
        return np.asarray(value, dtype=np.int64 if whole else np.float32)
    else:
        raise ValueError(
            f"{what} must be a tensor, an array or a number, found {type(value).__name__}; "
            "convert it in the Dataset (an image with a ToTensor transform)"
        )
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        return array.astype(np.int64, copy=False)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _dtype_of(value: numbers.Real) -> type[np.generic]:
    if isinstance(value, bool):
        return np.bool_
    return np.int64 if isinstance(value, numbers.Integral) else np.float32
