"""What every estimator takes and gives: counts of right and wrong answers, and a lower bound on epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clifftop.events.base import is_number

Array: TypeAlias = NDArray[np.float64]
TradeOffCurve: TypeAlias = Callable[[float], float]
"""``beta(alpha)``: the least chance to miss a present canary at false-positive rate alpha; never rising."""

BELOW = "below the detection limit"


@final
@dataclass(frozen=True, kw_only=True)
class LowerBound:
    """What an audit showed: with probability ``confidence`` or more, the truth is not below ``epsilon``.

    Attributes:
        epsilon: the bound; 0 where nothing was shown, which says nothing about the true epsilon.
        delta: at which epsilon is meant.
        confidence: chance, over the audit's own randomness, that the bound is right under ``assumptions``.
        assumptions: what must hold, one sentence each.
        detection_limit: the largest epsilon that these counts could have shown, with every answer right.
        detail: numbers behind it, by name.

    Errors: ValueError unless ``0 <= epsilon <= detection_limit`` and delta and confidence are probabilities.

    >>> bound = LowerBound(epsilon=0.0, delta=0.0, confidence=0.95, assumptions=(), detection_limit=3.1)
    >>> print(bound)
    epsilon: below the detection limit at delta=0, confidence 0.95 (at most 3.1 could have been shown)
    """

    epsilon: float
    delta: float
    confidence: float
    assumptions: tuple[str, ...]
    detection_limit: float
    detail: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        require_confidence(self.confidence)
        require_audit_delta(self.delta)
        if not 0 <= self.epsilon <= self.detection_limit:
            raise ValueError(
                "a lower bound must have 0 <= epsilon <= detection_limit, found "
                f"epsilon={self.epsilon!r} detection_limit={self.detection_limit!r}; report this as a defect"
            )

    @property
    def detected(self) -> bool:
        """Whether anything was shown."""
        return self.epsilon > 0

    def __str__(self) -> str:
        what = f"epsilon >= {rounded_down(self.epsilon):.4g}" if self.detected else f"epsilon: {BELOW}"
        limit = f" (at most {self.detection_limit:.4g} could have been shown)"
        if self.detection_limit == 0:
            limit = " (nothing could have been shown)"
        elif self.detection_limit == math.inf:
            limit = ""
        return f"{what} at delta={self.delta:g}, confidence {self.confidence:g}{limit}"


def rounded_down(epsilon: float) -> float:
    """A lower bound to four digits, never more than was shown.

    >>> rounded_down(2.27459), rounded_down(1000.0), rounded_down(17468.2), rounded_down(0.3)
    (2.274, 1000.0, 17460.0, 0.3)
    """
    nearest = float(f"{epsilon:.4g}")
    if nearest > epsilon:
        nearest -= 10.0 ** (math.floor(math.log10(nearest)) - 3)
    return float(f"{nearest:.4g}")


@final
@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often a test that was fixed before these runs said "present".

    Attributes:
        true_positives: among ``present`` runs with the canary.
        present: runs with the canary, at least 1.
        false_positives: among ``absent`` runs without it.
        absent: runs without it, at least 1.

    >>> Counts(true_positives=90, present=100, false_positives=5, absent=50).swapped()
    Counts(true_positives=45, present=50, false_positives=10, absent=100)
    """

    true_positives: int
    present: int
    false_positives: int
    absent: int

    def __post_init__(self) -> None:
        require_share_of("true_positives", self.true_positives, "present", self.present)
        require_share_of("false_positives", self.false_positives, "absent", self.absent)

    def swapped(self) -> Counts:
        """The same test asked about the other order of the pair: it says "absent" when it is silent."""
        return Counts(
            true_positives=self.absent - self.false_positives,
            present=self.absent,
            false_positives=self.present - self.true_positives,
            absent=self.present,
        )

    def inverted(self) -> Counts:
        """The opposite test: it says "present" where this one does not."""
        return Counts(
            true_positives=self.present - self.true_positives,
            present=self.present,
            false_positives=self.absent - self.false_positives,
            absent=self.absent,
        )


def require_share_of(name: str, value: int, whole_name: str, whole: int) -> None:
    """Errors: ValueError unless both are whole numbers, ``whole >= 1`` and ``0 <= value <= whole``."""
    if not (_is_whole(value) and _is_whole(whole) and 0 <= value <= whole and whole >= 1):
        raise ValueError(
            f"counts must be whole numbers with 0 <= {name} <= {whole_name} and {whole_name} >= 1, "
            f"found {name}={value!r} {whole_name}={whole!r}; count runs"
        )


def require_confidence(confidence: float) -> float:
    """``confidence`` as a float. Errors: ValueError unless it is in (0, 1)."""
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be a number in (0, 1), found confidence={confidence!r}; 0.95 is usual"
        )
    return float(confidence)


def require_audit_delta(delta: float) -> float:
    """``delta`` as a float; 0 is pure differential privacy. Errors: ValueError unless it is in [0, 1)."""
    if not is_number(delta) or not 0 <= delta < 1:
        raise ValueError(f"delta must be a number in [0, 1), found delta={delta!r}; take the claim's")
    return float(delta)


def require_scores(name: str, scores: ArrayLike) -> Array:
    """``scores`` as ``(n,)`` floats; infinite ones are allowed. Errors: ValueError for none, or for NaN."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or bool(np.isnan(values).any()):
        raise ValueError(
            f"{name} must be one score a run without NaN, found {name}.shape={values.shape} "
            f"nan={int(np.isnan(values).sum())}; score every run"
        )
    return values


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and not math.isnan(value)
