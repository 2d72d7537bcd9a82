"""Values on the command line: lists by commas, ranges of whole numbers by colons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

_N = TypeVar("_N", int, float)

MAX_VALUES = 1_000_000
"""A list longer than this is taken for a slip of the finger."""


class ValueListError(ValueError):
    """A list on the command line cannot be read."""


def parse_integers(flag: str, text: str) -> tuple[int, ...]:
    """Whole numbers: a list by commas, each piece a number or a range ``start:stop[:step]``.

    A range is Python's: ``stop`` itself is left out.

    Args:
        flag: the option, named in errors.
        text: what the person wrote.

    Raises:
        ValueListError: a piece is not a whole number or a range, is empty, or names a value twice.

    >>> parse_integers("--seeds", "7,0:3,10:20:5")
    (7, 0, 1, 2, 10, 15)
    """
    values: list[int] = []
    for piece in _pieces(flag, text):
        values.extend(_range(flag, piece) if ":" in piece else [_integer(flag, piece, piece)])
    return _distinct(flag, tuple(values))


def parse_numbers(flag: str, text: str) -> tuple[float, ...]:
    """Finite numbers: a list by commas, each piece a number or a range of whole numbers.

    Raises:
        ValueListError: as for `parse_integers`, or a number is infinite or NaN.

    >>> parse_numbers("--sigma", "0.5,1e1,1:4")
    (0.5, 10.0, 1.0, 2.0, 3.0)
    """
    values: list[float] = []
    for piece in _pieces(flag, text):
        values.extend(map(float, _range(flag, piece)) if ":" in piece else [_number(flag, piece)])
    return _distinct(flag, tuple(values))


def _pieces(flag: str, text: str) -> list[str]:
    pieces = [piece.strip() for piece in text.split(",")]
    if "" in pieces:
        raise ValueListError(f"{flag} must have a value between commas, found {text!r}; write 1,2,3 or 0:10")
    return pieces


def _range(flag: str, piece: str) -> range:
    parts = piece.split(":")
    if len(parts) > 3:
        raise ValueListError(f"{flag} takes ranges start:stop or start:stop:step, found {piece!r}")
    numbers = [_integer(flag, part, piece) for part in parts]
    if len(numbers) == 3 and numbers[2] == 0:
        raise ValueListError(f"{flag} takes a step that is not 0, found {piece!r}; leave the step out for 1")
    values = range(*numbers)
    if not values:
        raise ValueListError(
            f"{flag} takes ranges that hold a value, found {piece!r}; stop itself is left out"
        )
    if len(values) > MAX_VALUES:
        raise ValueListError(f"{flag} takes at most {MAX_VALUES} values, found {piece!r}; ask for fewer")
    return values


def _integer(flag: str, text: str, piece: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueListError(
            f"{flag} takes whole numbers here, found {piece!r}; write 1,2,3 or a range such as 0:10"
        ) from None


def _number(flag: str, piece: str) -> float:
    try:
        value = float(piece)
    except ValueError:
        raise ValueListError(f"{flag} takes numbers by commas, found {piece!r}; write 0.5,1,2") from None
    if not math.isfinite(value):
        raise ValueListError(f"{flag} takes finite numbers, found {piece!r}; write 0.5,1,2")
    return value


def _distinct(flag: str, values: Sequence[_N]) -> tuple[_N, ...]:
    if len(values) > MAX_VALUES:
        raise ValueListError(f"{flag} takes at most {MAX_VALUES} values, found {len(values)}; ask for fewer")
    seen: set[_N] = set()
    for value in values:
        if value in seen:
            raise ValueListError(f"{flag} must name each value once, found {value} twice; leave one out")
        seen.add(value)
    return tuple(values)
