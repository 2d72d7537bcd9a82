"""The noise that a run recorded, against the noise that was accounted.

Every step's diagnostics hold the norm of the noise that was added. With P trained parameters and noise of
standard deviation s, the squared norms over ``s^2`` of T steps add up to a chi-square number with T P degrees
of freedom: its mean is T P. The check asks whether what was recorded is plausible, up to the rounding of
float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.report.card.participation import LEVEL

ROUNDING = 1e-3
"""Relative: what float32 may have done to a recorded norm."""


@final
@dataclass(frozen=True, kw_only=True)
class NoiseSeen:
    """What was seen of a run's noise.

    Attributes:
        steps: of which a norm was recorded.
        relative_scale: root mean square of the noise recorded, over the standard deviation accounted.
        p_value: two-sided, of noise of exactly that standard deviation.
        holds: whether it is plausible, or right up to rounding.
    """

    steps: int
    relative_scale: float
    p_value: float
    holds: bool


def look_at_noise(
    norms: np.ndarray, sizes: np.ndarray | float, *, noise_std: float, num_parameters: int
) -> NoiseSeen:
    """Compare recorded norms with the standard deviation that was accounted.

    Args:
        norms: ``(T,)`` norm of each step's noise, after division by the batch size.
        sizes: what each step was divided by, ``(T,)`` or one number.
        noise_std: of each coordinate of the noise on the sum: noise multiplier times clip norm.
        num_parameters: P.
    """
    from scipy import special

    scaled = np.asarray(norms, dtype=np.float64) * sizes / noise_std
    freedom = len(scaled) * num_parameters
    total = float((scaled**2).sum())
    if not np.isfinite(total):
        return NoiseSeen(steps=len(scaled), relative_scale=0.0, p_value=0.0, holds=False)
    tails = special.gammainc(freedom / 2, total / 2), special.gammaincc(freedom / 2, total / 2)
    p_value = float(min(1.0, 2.0 * min(tails)))
    scale = (total / freedom) ** 0.5
    return NoiseSeen(
        steps=len(scaled),
        relative_scale=scale,
        p_value=p_value,
        holds=p_value >= LEVEL or abs(scale - 1.0) <= ROUNDING,
    )
