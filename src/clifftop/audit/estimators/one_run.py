r"""A lower bound on epsilon from one training run with many canaries (Steinke, Nasr and Jagielski 2023).

Each of m canaries is included by a fair coin of its own. From the result alone the auditor guesses r of the
coins, and v guesses are right. If the training is (epsilon, delta)-private for each canary, then with
``W ~ Bin(r, e^eps / (1 + e^eps))``

    P[v or more are right]  <=  P[W >= v] + 2 m delta max over i = 1..m of P[v > W >= v - i] / i

(theorem 5.2 of "Privacy auditing with one (1) training run"; arXiv 2305.08846). r is part of the theorem's
premise: it must be fixed before the scores are seen, which is why it stands in `OneRunSpec`. The best of
several r picked by the result has no such confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from clifftop.audit.estimators.values import (
    LowerBound,
    require_audit_delta,
    require_confidence,
    require_scores,
    require_share_of,
)

ASSUMPTIONS = (
    "each canary was included by a fair coin of its own, independent of everything else",
    "the claim holds for each canary present against absent, all others fixed",
    "numbers of canaries and guesses were fixed before the scores were seen",
    "guesses depend on what was released, not on the coins",
)
ROUNDING = 1e-9
PRECISION = 1e-9
LARGEST = 64.0


@final
@dataclass(frozen=True, kw_only=True)
class OneRunSpec:
    """What is fixed before the run: how many canaries there are, and how many of them are guessed.

    Attributes:
        num_canaries: m, each included by a fair coin.
        guesses_in: how many of the highest scores are guessed to be included.
        guesses_out: how many of the lowest scores are guessed not to be.

    Errors: ValueError unless the guesses are whole numbers, at least one and at most m together.

    >>> OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50).num_guesses
    100
    """

    num_canaries: int
    guesses_in: int
    guesses_out: int

    def __post_init__(self) -> None:
        require_share_of("guesses_in", self.guesses_in, "num_canaries", self.num_canaries)
        require_share_of("guesses_out", self.guesses_out, "num_canaries", self.num_canaries)
        require_share_of("guesses_in + guesses_out", self.num_guesses, "num_canaries", self.num_canaries)
        if self.num_guesses == 0:
            raise ValueError(
                "a one-run audit needs a guess, found guesses_in=0 guesses_out=0; a tenth of the canaries "
                "on each side is a start"
            )

    @property
    def num_guesses(self) -> int:
        """r, the guesses of both kinds."""
        return self.guesses_in + self.guesses_out

    def coins(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """``(m,)`` fair coins: which canaries to include."""
        return rng.integers(0, 2, size=self.num_canaries).astype(np.bool_)

    def guesses(self, scores: ArrayLike) -> NDArray[np.int8]:
        """``(m,)``: 1 for "included", -1 for "not", 0 for no guess. Ties are settled by place.

        Errors: ValueError unless there is one score a canary.

        >>> OneRunSpec(num_canaries=4, guesses_in=1, guesses_out=2).guesses([0.1, 0.9, 0.5, 0.2]).tolist()
        [-1, 1, 0, -1]
        """
        values = require_scores("scores", scores)
        if values.size != self.num_canaries:
            raise ValueError(
                f"scores must be one a canary, found {values.size} for num_canaries={self.num_canaries}; "
                "score all of them"
            )
        order = np.argsort(values, kind="stable")
        guesses = np.zeros(values.size, dtype=np.int8)
        guesses[order[: self.guesses_out]] = -1
        guesses[order[values.size - self.guesses_in :]] = 1
        return guesses

    def correct(self, scores: ArrayLike, included: ArrayLike) -> int:
        """v, how many guesses from ``scores`` agree with the coins ``included``, ``(m,)`` booleans."""
        coins = np.asarray(included)
        if coins.shape != (self.num_canaries,) or coins.dtype != np.bool_:
            raise ValueError(
                f"included must be one boolean a canary, found shape={coins.shape} dtype={coins.dtype}; "
                "hand over the coins as drawn"
            )
        guesses = self.guesses(scores)
        return int((guesses == np.where(coins, 1, -1)).sum())


def epsilon_one_run(
    spec: OneRunSpec, scores: ArrayLike, included: ArrayLike, *, delta: float, confidence: float
) -> LowerBound:
    """The bound from one run's scores, ``(m,)``, higher for what seems to be included, and the coins.

    Errors: ValueError.
    """
    return epsilon_from_correct(spec, spec.correct(scores, included), delta=delta, confidence=confidence)


def epsilon_from_correct(spec: OneRunSpec, correct: int, *, delta: float, confidence: float) -> LowerBound:
    """The bound from how many of the guesses were right. Errors: ValueError.

    >>> spec = OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50)
    >>> print(epsilon_from_correct(spec, 90, delta=1e-5, confidence=0.95))
    epsilon >= 1.626 at delta=1e-05, confidence 0.95 (at most 3.465 could have been shown)
    """
    require_share_of("correct", correct, "num_guesses", spec.num_guesses)
    delta = require_audit_delta(delta)
    epsilon = _largest(spec, correct, delta=delta, confidence=confidence)
    return LowerBound(
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        assumptions=ASSUMPTIONS,
        detection_limit=max(epsilon, power(spec, delta=delta, confidence=confidence)),
        detail=(
            ("canaries", float(spec.num_canaries)),
            ("guesses", float(spec.num_guesses)),
            ("correct", float(correct)),
        ),
    )


def power(spec: OneRunSpec, *, delta: float, confidence: float) -> float:
    """What a perfect attack would show, all guesses right: the ceiling. Pure: ``logit(alpha^(1/r))``.

    >>> [
    ...     "%.2f"
    ...     % power(OneRunSpec(num_canaries=r, guesses_in=r, guesses_out=0), delta=0.0, confidence=0.95)
    ...     for r in (100, 1000, 10_000)
    ... ]
    ['3.49', '5.81', '8.11']
    """
    return _largest(spec, spec.num_guesses, delta=require_audit_delta(delta), confidence=confidence)


def p_value(spec: OneRunSpec, correct: int, *, epsilon: float, delta: float) -> float:
    """The theorem's bound on the chance of ``correct`` or more right guesses, if the claim is true.

    >>> spec = OneRunSpec(num_canaries=10, guesses_in=2, guesses_out=0)
    >>> f"{p_value(spec, 2, epsilon=0.0, delta=0.0):.3f} {p_value(spec, 2, epsilon=0.0, delta=0.01):.3f}"
    '0.250 0.350'
    """
    if correct == 0:
        return 1.0
    r, right = spec.num_guesses, 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(special.betainc(correct, r - correct + 1, right))
    if delta == 0:
        return min(1.0, tail * (1.0 + ROUNDING))
    # P[W >= v - i] for i = 1..v; beyond i = v, where it is 1, nothing is gained.
    fewer = np.arange(correct - 1, 0, -1, dtype=np.float64)
    reached = np.append(special.betainc(fewer, r - fewer + 1.0, right), 1.0)
    lift = float(np.max((reached - tail) / np.arange(1, correct + 1)))
    return min(1.0, (tail + 2.0 * spec.num_canaries * delta * lift) * (1.0 + ROUNDING))


def _largest(spec: OneRunSpec, correct: int, *, delta: float, confidence: float) -> float:
    """The largest epsilon found refuted, by bisection; 0 where none is.

    Any epsilon whose p-value is small enough is a sound answer, wherever the bisection ends. A claim at the
    true epsilon is a claim at each larger one. Let v be the fewest right guesses that refute any of these:
    the p-value that v has there bounds the chance of v or more.
    """
    error = 1.0 - require_confidence(confidence)

    def refuted(epsilon: float) -> bool:
        return p_value(spec, correct, epsilon=epsilon, delta=delta) <= error

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2.0 * high
        if high > LARGEST:
            return low
    while high - low > PRECISION * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
