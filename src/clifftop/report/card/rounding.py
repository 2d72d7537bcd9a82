"""Numbers as text, rounded to the safe side: what is claimed is never smaller than what is proven.

A number with few enough digits is written as it is, by the shortest text that names it.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_DIGITS = 6


def up(value: float, *, digits: int = _DIGITS) -> str:
    """A finite number to some digits, rounded up.

    >>> up(4.133016594298), up(1e-05), up(123456.2), up(0.0)
    ('4.13302', '1e-5', '123,457', '0')
    """
    return _text(value, Context(prec=digits, rounding=ROUND_CEILING))


def down(value: float, *, digits: int = _DIGITS) -> str:
    """The same, rounded down.

    >>> down(4.133016594298), down(0.99999999)
    ('4.13301', '0.999999')
    """
    return _text(value, Context(prec=digits, rounding=ROUND_FLOOR))


def percent_up(share: float) -> str:
    """A share in percent to three digits, rounded up, and never above 100.

    >>> percent_up(0.0787496), percent_up(0.01516), percent_up(1.0)
    ('7.88%', '1.52%', '100%')
    """
    exact = Decimal(share) * 100
    rounded = Context(prec=3, rounding=ROUND_CEILING).plus(exact)
    return f"{_plain(min(rounded, Decimal(100)))}%"


def number(value: float) -> str:
    """A setting, with as many digits as it has, up to ten.

    >>> number(0.16), number(20 / 60), number(64.0), number(1e-05)
    ('0.16', '0.3333333333', '64', '1e-5')
    """
    mantissa, _, exponent = f"{value:.10g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _text(value: float, context: Context) -> str:
    if not math.isfinite(value):
        raise ValueError(f"only a finite number can be stated, found {value}; refuse to state it")
    return _plain(context.create_decimal(repr(float(value))))


def _plain(rounded: Decimal) -> str:
    if rounded != 0 and rounded.adjusted() < -4:
        mantissa, _, exponent = f"{rounded.normalize():e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{rounded:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
