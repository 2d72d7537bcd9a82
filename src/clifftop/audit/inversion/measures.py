"""How like the truth a reconstruction is, and whether it is told from other examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from clifftop.audit.estimators.intervals import lower_limit, two_sided_limits
from clifftop.audit.estimators.values import LowerBound, require_audit_delta, require_share_of

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Identification:
    """How often the true example was the nearest of ``candidates``, one of them drawn evenly each time.

    Attributes:
        successes: trials in which it was.
        trials: independent trials, at least 1.
        candidates: n, the true one included.
        confidence: of the interval.

    Errors: ValueError unless the counts are whole numbers, and there is a candidate.

    >>> found = Identification(successes=3, trials=100, candidates=50, confidence=0.95)
    >>> found.rate, found.chance, found.is_at_chance
    (0.03, 0.02, True)
    """

    successes: int
    trials: int
    candidates: int
    confidence: float

    def __post_init__(self) -> None:
        require_share_of("successes", self.successes, "trials", self.trials)
        require_share_of("1", 1, "candidates", self.candidates)

    @property
    def rate(self) -> float:
        """The share of trials."""
        return self.successes / self.trials

    @property
    def chance(self) -> float:
        """What a blind guess gets: ``1 / n``."""
        return 1.0 / self.candidates

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper-Pearson limits."""
        return two_sided_limits(self.successes, self.trials, confidence=self.confidence)

    @property
    def is_at_chance(self) -> bool:
        """Whether the interval holds the chance."""
        low, high = self.interval
        return low <= self.chance <= high

    def exceeds(self, permitted: float, *, tail: float) -> bool:
        """Whether the rate is above ``permitted`` for sure, but for a chance of ``tail``.

        Valid for trials of different difficulty, too: a count of independent trials, each with a chance of at
        most ``permitted``, is at most so large as one whose chances all are.
        """
        return lower_limit(self.successes, self.trials, confidence=1.0 - tail) > permitted

    def epsilon(self, *, delta: float, confidence: float | None = None) -> LowerBound:
        """What this identification shows of the release: no smaller epsilon holds at ``delta``.

        Under (epsilon, delta)-privacy the chance is at most ``e^epsilon / n + delta`` (`reconstruction_bound`
        for that trade-off curve), so ``epsilon >= ln(n (rate - delta))``. The candidates must have been drawn
        without a look at the releases.
        """
        level = self.confidence if confidence is None else confidence
        delta = require_audit_delta(delta)

        def shown(successes: int) -> float:
            rate = lower_limit(successes, self.trials, confidence=level) - delta
            return max(0.0, math.log(rate * self.candidates)) if rate > 0 else 0.0

        return LowerBound(
            epsilon=shown(self.successes),
            delta=delta,
            confidence=level,
            assumptions=(
                "the true example was drawn evenly from the candidates, trials and their noise independently",
            ),
            detection_limit=shown(self.trials),
            detail=(("identified", float(self.successes)), ("trials", float(self.trials))),
        )


def mean_squared_error(found: ArrayLike, truth: ArrayLike) -> Floats:
    """Of each row, over its numbers: ``(T,)``."""
    one, other = _rows(found), _rows(truth)
    return np.asarray(np.square(one - other).mean(axis=1))


def peak_signal_to_noise(errors: ArrayLike, *, data_range: float) -> Floats:
    """PSNR in decibels, ``10 log10(data_range^2 / MSE)``: infinite for an error of 0.

    >>> peak_signal_to_noise([0.01, 1.0], data_range=1.0).tolist()
    [20.0, 0.0]
    """
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(data_range**2 / np.asarray(errors, dtype=np.float64))


def cosine(found: ArrayLike, truth: ArrayLike) -> Floats:
    """Cosine of each row with the truth, ``(T,)``; 0 where one of them is 0.

    >>> cosine([[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]).round(3).tolist()
    [0.707, 0.0]
    """
    one, other = _rows(found), _rows(truth)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.where(norms > 0, norms, np.inf))


def without(rows: ArrayLike, direction: ArrayLike) -> Floats:
    """Each row less its part along one direction.

    >>> without([[3.0, 4.0]], [0.0, 2.0]).tolist()
    [[3.0, 0.0]]
    """
    values, axis = _rows(rows), np.asarray(direction, dtype=np.float64).ravel()
    return np.asarray(values - np.outer(values @ axis, axis) / max(float(axis @ axis), 1e-300))


def nearest(found: ArrayLike, pool: ArrayLike, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of its candidates each row of ``found`` is nearest to, by L2 distance.

    Args:
        found: ``(T, D)``.
        pool: ``(N, D)``.
        candidates: ``(T, n)`` rows of the pool.

    Returns:
        ``(T,)`` rows of the pool.
    """
    one, everyone = _rows(found), _rows(pool)
    # |x - c|^2 without |x|^2, which is the same for every candidate and may be huge.
    distances = np.square(everyone).sum(axis=1)[None] - 2.0 * one @ everyone.T
    own = np.take_along_axis(distances, candidates, axis=1)
    return np.take_along_axis(candidates, own.argmin(axis=1)[:, None], axis=1)[:, 0]


def aligned(found: ArrayLike, truth: ArrayLike) -> NDArray[np.int64]:
    """For a batch, whose order no gradient shows: which row of ``found`` stands for each row of ``truth``.

    The assignment with the least sum of squared distances.

    >>> aligned([[5.0], [0.0]], [[0.1], [5.2]]).tolist()
    [1, 0]
    """
    one, other = _rows(found), _rows(truth)
    distances = np.square(other[:, None] - one[None]).sum(axis=2)
    return np.asarray(linear_sum_assignment(distances)[1], dtype=np.int64)


def _rows(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    finite = np.nan_to_num(array, nan=0.0, posinf=1e150, neginf=-1e150)
    return np.asarray(np.clip(finite, -1e150, 1e150).reshape(len(array), -1))
