"""Many statements at once, and at most one chance in twenty that any of them is false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.analysis.uncertainty import Estimate


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that a report would like to make.

    Attributes:
        kind: what sort of statement, such as "cheaper" or "cliff".
        subject: what it is about: cells, settings, rules; enough to write the sentence.
        estimate: the number in it.
        p_value: the chance of evidence as strong as this where the statement is false, at most.
    """

    kind: str
    subject: tuple[object, ...]
    estimate: Estimate
    p_value: float


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values (Holm 1979): those at most alpha are significant together, whatever depends on what.

    With m hypotheses the k-th smallest p-value is multiplied by m - k + 1, and never falls below the one
    before. The chance of one or more false rejections is then at most alpha. NaN counts as 1.

    Raises:
        ValueError: a p-value lies outside [0, 1].

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    found = np.array([1.0 if math.isnan(p) else p for p in p_values], dtype=np.float64)
    if found.size == 0:
        return ()
    if found.min() < 0 or found.max() > 1:
        wrong = float(found.min() if found.min() < 0 else found.max())
        raise ValueError(f"p-values must lie in [0, 1], found p={wrong:g}; pass probabilities")
    order = np.argsort(found, kind="stable")
    raised = found[order] * np.arange(found.size, 0, -1)
    adjusted = np.empty_like(found)
    adjusted[order] = np.maximum.accumulate(raised).clip(max=1.0)
    return tuple(adjusted.tolist())


def stated(claims: Sequence[Claim], *, alpha: float = 0.05) -> tuple[Claim, ...]:
    """The claims that may be printed together: with probability 1 - alpha or more none of them is false.

    All claims that were *considered* must be passed, not only those that look well: Holm's correction counts
    them. The order is kept.

    >>> gain = Estimate(mean=0.1, std=0.01, n=3, ci95=(0.07, 0.13))
    >>> looked_at = [
    ...     Claim(kind="gain", subject=(i,), estimate=gain, p_value=p)
    ...     for i, p in enumerate((0.001, 0.03, 0.4))
    ... ]
    >>> [claim.subject for claim in stated(looked_at)]
    [(0,)]
    """
    adjusted = holm([claim.p_value for claim in claims])
    return tuple(claim for claim, p in zip(claims, adjusted, strict=True) if p <= alpha)
