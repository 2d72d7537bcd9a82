"""What a person declares about data before it is read: its task, its scaling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from clifftop.datasets.readers.errors import DataFileError

Numbers = float | tuple[float, ...]

CLASSIFICATION, REGRESSION = "classification", "regression"

WHY = (
    "statistics of the rows are private, and no epsilon here pays for learning them: declare public constants"
)


def check_task(task: str) -> bool:
    """Whether the targets are class numbers.

    Raises:
        DataFileError: another word.
    """
    if task not in (CLASSIFICATION, REGRESSION):
        raise DataFileError(f"task must be {CLASSIFICATION!r} or {REGRESSION!r}, found task={task!r}")
    return task == CLASSIFICATION


def declared_number(name: str, value: object) -> float:
    """A finite number; a scale may not be 0.

    Raises:
        DataFileError: something else, such as the name of a method that would learn the number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataFileError(f"{name} must be a finite number, found {name}={value!r}; {WHY}")
    if name.startswith("scale") and value == 0:
        raise DataFileError(f"{name} must not be 0, found {name}={value!r}; inputs are divided by it")
    return float(value)


def declared_numbers(name: str, value: object) -> Numbers | None:
    """A number for all features, or one for each along the last axis; None if nothing was declared.

    Raises:
        DataFileError: see `declared_number`.

    >>> declared_numbers("scale", [1, 2])
    (1.0, 2.0)
    """
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and value:
        return tuple(declared_number(name, one) for one in value)
    return declared_number(name, value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """A mapping, or the pairs that stand for one in a sweep file.

    Raises:
        DataFileError: neither, or a name twice.

    >>> mapping("scale", [["age", 100]])
    {'age': 100}
    """
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (tuple, list)) or not all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise DataFileError(
            f"{name} must be given by column, found {name}={value!r}; write {name}=[['column', ...]]"
        )
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DataFileError(f"{name} must name a column once, found {name}={value!r}")
    return found


def names(name: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several, as a tuple.

    Raises:
        DataFileError: none, one twice, or something that is no name.
    """
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if not found or len(set(found)) < len(found) or not all(isinstance(x, str) for x in found):
        raise DataFileError(f"{name} must be one name or several different ones, found {name}={value!r}")
    return found
