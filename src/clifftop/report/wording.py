"""Numbers as text. An epsilon that is reported is rounded up, never down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context

from clifftop.analysis.uncertainty import Estimate

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def plain(value: float) -> str:
    """A setting as one would type it, without trailing zeros.

    >>> plain(10.0), plain(0.1), plain(1e-05)
    ('10', '0.1', '1e-5')
    """
    if not math.isfinite(value):
        return signed_infinity(value)
    mantissa, _, exponent = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def short_labels(values: Sequence[float]) -> tuple[str, ...]:
    """Labels of at most three significant digits, more only where two would be the same.

    >>> short_labels((0.64961, 13.4471, 2.0)), short_labels((1.0001, 1.0002))
    (('0.65', '13.4', '2'), ('1.0001', '1.0002'))
    """
    short = tuple(plain(float(f"{value:.3g}")) for value in values)
    return short if len(set(short)) == len(set(values)) else tuple(plain(value) for value in values)


def percent(fraction: float, *, digits: int = 1) -> str:
    """A fraction as a percentage.

    >>> percent(0.80666)
    '80.7%'
    """
    return f"{100 * fraction:.{digits}f}%".replace("-", MINUS)


def points(fraction: float, *, digits: int = 1) -> str:
    """A difference of fractions in percentage points, without the unit.

    >>> points(-0.0123), points(-0.0001)
    ('−1.2', '0.0')
    """
    text = f"{100 * fraction:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def epsilon_up(value: float, *, digits: int = 6) -> str:
    """An epsilon to ``digits`` significant digits, rounded up.

    >>> epsilon_up(101906.3), epsilon_up(1.760061, digits=4)
    ('101,907', '1.761')
    """
    if not math.isfinite(value):
        return signed_infinity(value)
    rounded = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(repr(value))
    whole = rounded.adjusted() >= digits - 1
    text = f"{int(rounded):,}" if whole else f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def epsilon_claimed(value: float | None) -> str:
    """A published epsilon, with two decimals as published.

    >>> epsilon_claimed(23.025850929940457), epsilon_claimed(None)
    ('23.03', '–')
    """
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return signed_infinity(value)
    return f"{value:,.2f}" if value >= 0.01 else plain(value)


def mean_std(estimate: Estimate) -> str:
    """Mean and population std in percent; of one seed, its value alone.

    >>> mean_std(Estimate(mean=0.8067, std=0.071, n=3, ci95=(0.59, 1.02)))
    '80.7 ± 7.1'
    """
    if estimate.n == 1:
        return points(estimate.mean)
    return f"{points(estimate.mean)} ± {points(estimate.std)}"


def interval_points(interval: tuple[float, float] | None) -> str:
    """An interval of fractions or of their differences, in points; a narrow one with two decimals.

    >>> interval_points((0.59, 1.0)), interval_points((0.9761, 0.9764)), interval_points(None)
    ('59.0 to 100.0', '97.61 to 97.64', '–')
    """
    if interval is None:
        return MISSING
    digits = 1 if interval[1] - interval[0] >= 0.005 else 2
    return " to ".join(points(end, digits=digits) for end in interval)


def accuracy_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval of an accuracy cut to what an accuracy can be; its coverage stays."""
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def signed_infinity(value: float) -> str:
    """Infinity as a sign; NaN as a word."""
    if math.isnan(value):
        return "nan"
    return "∞" if value > 0 else f"{MINUS}∞"


def counted(number: int, noun: str) -> str:
    """A count and its noun.

    >>> counted(1, "seed"), counted(1000, "seed")
    ('1 seed', '1,000 seeds')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def setting(symbol: str, value: float) -> str:
    """A symbol and its value, kept on one line by no-break spaces.

    >>> setting("C", 0.1).split()
    ['C', '=', '0.1']
    """
    return f"{symbol}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{plain(value)}"
