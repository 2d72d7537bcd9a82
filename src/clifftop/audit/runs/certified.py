"""A claim's trade-off curve, certified from below and quick to ask: the largest of a few hundred lines."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterable
from typing import final

import numpy as np

from clifftop.accounting.views import PrivacyProfile, profile
from clifftop.audit.runs.claim import TrainingClaim

FAR = 700.0
"""Lines that are steeper than the exponential of this are left out: fewer lines are a lower bound, too."""
POINTS, LEAST = 128, 1e-3
ROUNDING = 1e-13
"""Above the error of one line: its numbers are at most 1 where it counts, and few operations are made."""


@final
class CertifiedCurve:
    """``beta(alpha)``: no attack on a mechanism with this profile misses less at false-positive rate alpha.

    For every epsilon >= 0 with ``delta(epsilon) <= d`` both lines ``1 - d - e^eps a`` and
    ``e^-eps (1 - d - a)`` lie below the trade-off curve (Wasserman and Zhou 2010; Dong, Roth and Su 2022),
    so whichever is looked up is a lower bound; the one looked up is the largest at alpha but for rounding.
    """

    def __init__(self, curve: PrivacyProfile) -> None:
        above = curve.above
        usable = above.epsilons <= FAR
        slopes, heights = np.exp(above.epsilons[usable]), 1.0 - above.deltas[usable]
        steep = zip(-slopes, heights, strict=True)
        flat = zip(-1.0 / slopes, heights / slopes, strict=True)
        lines = [(float(slope), float(height)) for slope, height in (*steep, *flat, (0.0, 0.0))]
        self._lines, self._starts = _envelope(lines)

    def __call__(self, alpha: float) -> float:
        """The least miss rate at this false-positive rate, rounded down; it never rises."""
        slope, height = self._lines[bisect.bisect_right(self._starts, alpha)]
        # A steep line is used only where it is above 0, so that slope times alpha is at most 1.
        return min(1.0, max(0.0, height + slope * alpha - ROUNDING))


@functools.lru_cache(maxsize=256)
def certified_curve(claim: TrainingClaim, *, points: int = POINTS) -> CertifiedCurve:
    """The curve of what ``claim`` is accounted as, from its profile at ``points`` epsilons from 0 on.

    The points end a little beyond the claim's own epsilon; fewer points are a lower bound, too.

    >>> claim = TrainingClaim(sampling_prob=0.128, noise_multiplier=1.974, steps=160, delta=1e-5)
    >>> f"{certified_curve(claim)(0.2):.3f}"
    '0.493'
    """
    last = max(1.2 * claim.epsilon.estimate, LEAST)
    places = np.linspace(0.0, last, points).tolist()
    return CertifiedCurve(profile(claim.event, neighboring_relation=claim.relation, epsilons=places))


def _envelope(lines: Iterable[tuple[float, float]]) -> tuple[list[tuple[float, float]], list[float]]:
    """The lines that are largest somewhere right of 0, by rising slope, and where the others begin."""
    highest: dict[float, float] = {}
    for slope, height in lines:
        highest[slope] = max(height, highest.get(slope, height))
    kept: list[tuple[float, float]] = []
    starts: list[float] = []
    for slope, height in sorted(highest.items()):
        meeting = 0.0
        while kept:
            meeting = (kept[-1][1] - height) / (slope - kept[-1][0])
            if meeting > (starts[-1] if starts else 0.0):
                break
            kept.pop()
            del starts[-1:]
        if kept:
            starts.append(meeting)
        kept.append((slope, height))
    return kept, starts
