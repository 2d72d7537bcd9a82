"""Discrete Gaussian noise, exactly: no floating point has a part in a draw.

Canonne, Kamath and Steinke 2020, "The discrete Gaussian for differential privacy", algorithms 1 to 3.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.random import Generator


def discrete_gaussian(std: Fraction, rng: Generator) -> int:
    """A whole number x, with probability proportional to ``exp(-x^2 / (2 std^2))``.

    >>> import numpy as np
    >>> discrete_gaussian(Fraction(2), np.random.default_rng(1))
    -1
    """
    variance = std * std
    scale = int(std) + 1
    while True:
        candidate = _discrete_laplace(scale, rng)
        excess = abs(candidate) - variance / scale
        if _happens_exp(excess * excess / (2 * variance), rng):
            return candidate


def _discrete_laplace(scale: int, rng: Generator) -> int:
    """A whole number x, with probability proportional to ``exp(-|x| / scale)``."""
    while True:
        rest = _below(scale, rng)
        if not _happens_exp(Fraction(rest, scale), rng):
            continue
        whole = 0
        while _happens_exp(Fraction(1), rng):
            whole += 1
        size = rest + scale * whole
        negative = _below(2, rng) == 1
        if not (negative and size == 0):  # else zero would count twice
            return -size if negative else size


def _happens_exp(exponent: Fraction, rng: Generator) -> bool:
    """True with probability ``exp(-exponent)``, for an exponent >= 0."""
    while exponent > 1:
        if not _happens_exp(Fraction(1), rng):
            return False
        exponent -= 1
    count = 1
    while _below(exponent.denominator * count, rng) < exponent.numerator:
        count += 1
    return count % 2 == 1


def _below(end: int, rng: Generator) -> int:
    """A uniform whole number in [0, end)."""
    bits = (end - 1).bit_length()
    size = -(-bits // 8)
    while True:
        found = int.from_bytes(rng.bytes(size), "big") >> (8 * size - bits)
        if found < end:
            return found
