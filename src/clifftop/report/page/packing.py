"""Data for the page: few digits, each distinct value once, and nothing that a browser takes for markup."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

_DIGITS = 6
_FEW = 4
"""A column is packed where its values repeat at least so often on average."""
_LETTERS = string.ascii_letters + string.digits + "-_"


def packed(values: Sequence[Any]) -> Any:
    """A column as the page keeps it: the values, or where they repeat, ``of`` the distinct ones and ``at``.

    ``at`` has one letter a row, the place of its value among the distinct ones in base 64, or two letters
    where there are more than 64.

    >>> packed([1.0, 2.5, math.inf])
    [1, 2.5, None]
    >>> packed(["flat"] * 3 + ["automatic"] * 9)
    {'of': ['flat', 'automatic'], 'at': 'aaabbbbbbbbb'}
    """
    plain = [_scalar(value) for value in values]
    places: dict[tuple[type, Any], int] = {}
    at = [places.setdefault((type(value), value), len(places)) for value in plain]
    base = len(_LETTERS)
    if len(places) * _FEW > len(plain) or len(places) > base**2:
        return plain
    if len(places) <= base:
        letters = "".join(_LETTERS[place] for place in at)
    else:
        letters = "".join(_LETTERS[place // base] + _LETTERS[place % base] for place in at)
    return {"of": [value for _, value in places], "at": letters}


def packed_table(table: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Every column of a table, packed."""
    return {name: packed(values) for name, values in table.items()}


def script_json(value: object) -> str:
    r"""JSON that is safe inside a script element: no ``<`` can end it, and no line separator is left.

    >>> script_json({"name": "</script><!--"})
    '{"name":"\\u003c/script>\\u003c!--"}'
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _scalar(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short
