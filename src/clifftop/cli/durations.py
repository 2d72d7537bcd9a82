"""Durations as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds_of(_: Any, tokens: Sequence[Token]) -> float:
    """Seconds, from ``60``, ``60s``, ``1.5m`` or ``2h``.

    >>> seconds_of(float, [Token(keyword="--budget", value="1.5m")])
    90.0
    """
    text = tokens[0].value
    found = re.fullmatch(r"\s*([0-9.]+)\s*(s|m|min|h|)\s*", text)
    try:
        seconds = float(found[1]) * _SECONDS[found[2]] if found else math.nan
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"must be a time above 0 such as 60s or 2m, found {text!r}.")
    return seconds


def _shown(seconds: float) -> str:
    return f"{seconds:g}s"


Duration = Annotated[float, Parameter(converter=seconds_of, allow_leading_hyphen=True, show_default=_shown)]
