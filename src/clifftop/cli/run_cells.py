"""Values of runs as text for people: aligned numbers, epsilons rounded up, curves of a few characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clifftop.report.wording import MISSING, epsilon_up, plain, signed_infinity

STATUS_STYLES = {
    "done": "green",
    "running": "cyan",
    "pending": "dim",
    "diverged": "yellow",
    "failed": "red",
}
"""How a status is coloured."""

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"
_DIGITS = 4
_EPSILONS = ("epsilon", "epsilon_lower")


def cells(name: str, values: Sequence[object]) -> list[str]:
    """A column as text.

    Epsilon is rounded up and its lower end down; settings stand as one would type them; measured numbers
    have as many decimals as their column needs for four significant digits.

    >>> cells("epsilon", [1.00001, None]), cells("lr", [1e-5, 10.0])
    (['1.001', '–'], ['1e-5', '10'])
    """
    if name in _EPSILONS:
        return [epsilon_text(name, value) for value in values]
    return [_text(value) for value in values]


def measured(values: Sequence[object]) -> list[str]:
    """Numbers that were measured, as text with common decimals; of very different sizes, each its own.

    >>> measured([1.23456, 0.01]), measured([1e9, 1e-9])
    (['1.235', '0.010'], ['1e9', '1e-9'])
    """
    numbers = [abs(value) for value in values if isinstance(value, float) and math.isfinite(value)]
    largest = max(numbers, default=0.0)
    smallest = min((number for number in numbers if number > 0), default=largest)
    if largest > 1e6 or (largest > 0 and smallest < 1e-4 * largest) or 0 < largest < 1e-4:
        return [
            _text(float(f"{value:.4g}")) if isinstance(value, float) else _text(value) for value in values
        ]
    decimals = max(0, _DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else 0
    return [
        f"{value:.{decimals}f}" if isinstance(value, float) and math.isfinite(value) else _text(value)
        for value in values
    ]


def epsilon_text(name: str, value: object) -> str:
    """An upper end rounded up, a lower end rounded down, both to four digits."""
    if not isinstance(value, float):
        return MISSING
    if name == "epsilon" or not math.isfinite(value):
        return epsilon_up(value, digits=_DIGITS)
    text = epsilon_up(-value, digits=_DIGITS)  # rounding up what is negative rounds its size down
    return text.removeprefix("-")


def header(name: str) -> str:
    """A column's name, on two lines where it is long: it must be typed as it stands.

    >>> header("noise_multiplier").split(), header("model.width").split(), header("seed")
    (['noise_', 'multiplier'], ['model.', 'width'], 'seed')
    """
    if len(name) <= 9:
        return name
    middle = len(name) / 2
    breaks = [at + 1 for at, character in enumerate(name[:-1]) if character in "_."]
    if not breaks:
        return name
    at = min(breaks, key=lambda place: abs(place - middle))
    return f"{name[:at]}\n{name[at:]}"


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """A curve from the least to the largest value, at most ``width`` characters; a gap where none is finite.

    >>> sparkline([0.0, 0.5, 1.0, math.nan])
    '▁▅█·'
    """
    shown = _thinned(values, width)
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high - low

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return _GAP
        return _BARS[round((value - low) / span * (len(_BARS) - 1))] if span > 0 else _BARS[0]

    return "".join(bar(value) for value in shown)


def _thinned(values: Sequence[float], width: int) -> list[float]:
    """Means of ``width`` pieces of about equal length; of a piece, what is finite counts."""
    count = len(values)
    if count <= width:
        return list(values)
    pieces = [values[count * at // width : count * (at + 1) // width] for at in range(width)]
    finite = [[value for value in piece if math.isfinite(value)] for piece in pieces]
    return [sum(piece) / len(piece) if piece else math.nan for piece in finite]


def _text(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return plain(value) if math.isfinite(value) else signed_infinity(value)
    return str(value)
