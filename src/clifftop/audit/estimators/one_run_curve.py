r"""Is a claimed trade-off curve refuted by the guesses of one run? Two tests, for any curve.

m canaries are included by fair coins, r of them are guessed, v guesses are right. The claim is a curve f: no
test of one canary present against absent, all else fixed, at false-positive rate a misses less than f(a), in
either order of the two. f is convex and does not rise, as every trade-off curve.

**Any mechanism** (`AnyMechanism`; Mahloujifar, Melis and Chaudhuri 2025, "Auditing f-differential privacy in
one run", arXiv 2410.22235). Let ``p_i`` be the chance of exactly i right guesses. Fix a canary, the coins of
the others, and i. The event "this guess is right and i or more are" happens, whatever this coin shows, where
the released guess agrees with the coin and i - 1 or more of the others are right; were the coin turned, the
same release would have this guess wrong and i - 1 or more right. With ``1 - f`` concave, the mean over the
coin, the other coins and the canaries gives, with ``R_i = sum over k >= i of (k / m) p_k`` and
``H_i = sum over k >= i of ((r - k) / m) p_k``,

    R_{i+1} <= 1 - f(H_i),    that is    H_i >= f(1 - R_{i+1})

(the second since f, too, bounds tests in either order). How large can ``P[v or more]`` = t be? Level i must
hold at least ``p_i = m max(0, f(1 - R_{i+1}) - H_{i+1}) / (r - i)``. Start with all of t at level v and add
no more than this at each level down to 0: if the total exceeds 1, t is impossible. No other start needs less.
Call ``c_i = i / (r - i)``; mass at level k changes ``R - s H`` by ``((r - k) / m) (c_k - s)`` times itself,
which is at least 0 for ``s <= c_i`` and ``k >= i``. By induction downward, any admissible law with
``P[v or more] >= t`` has ``R - s H`` at least as large as the one built here for all ``0 <= s <= c_i``: at
``s = c_i`` level i changes nothing; at s = 0, where the built one adds, ``H_i = f(1 - R_{i+1})`` is no more
than any other's, as that has the larger R and f falls, so that ``R_i = (R_{i+1} - c_i H_{i+1}) + c_i H_i`` is
least; in between it is linear in s. At the end R and H are both no more than any other's, and
``R_0 + H_0 = r / m`` for a law.

**Independent canaries** (`IndependentCanaries`; Clifftop's own proof, in the spirit of the order statistics
of Xiang et al. 2025, arXiv 2509.08704, whose proof it does not use). Assume in addition that the release is
made of one part a canary, each random by itself and depending on no coin but its own. Each part can be made,
by some randomised map, from a variable whose trade-off curve is f itself (Blackwell 1953; Dong, Roth and Su
2022, theorem 2.10). Given these m variables the coins are independent, and a guess is right with at most the
posterior chance of the likelier value; so r guesses are right in v cases at most as often as those of the r
largest absolute log-likelihood ratios. Ties are split at random, along the straight pieces of f. The share u
of variables with the largest ratios consists of false and true alarms, ``u = a + 1 - f(a)`` at false-positive
rate a for a curve that is its own inverse, and is guessed right with chance ``1 - a / u``. The share above
the (r + 1)-th largest of m is Beta(r + 1, m - r), and given it the r above are independent. Hence

    P[v or more are right]  <=  E over u ~ Beta(r + 1, m - r) of P[Bin(r, 1 - a(u) / u) >= v],

with equality for a mechanism that is f on each canary. ``a / u`` grows with u since f is convex, so that the
left end of each cell of a grid gives an upper bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import special

from clifftop.audit.estimators.one_run import ASSUMPTIONS, OneRunSpec
from clifftop.audit.estimators.values import Array, TradeOffCurve, require_confidence, require_share_of

INDEPENDENT_CANARIES = "what was released of one canary depends on no other canary's coin or noise"
ROUNDING = 1e-6
"""Both are sums of positive terms; against 50 digits they are wrong by less than a tenth of this."""
PRECISION = 1e-3
CELLS = 400
FAR = 1e-9


@final
@dataclass(frozen=True, kw_only=True)
class OneRunTest:
    """The verdict of one run on a claimed trade-off curve.

    Attributes:
        refuted: whether the claim is false at ``confidence``: a true claim is refuted with probability at
            most one minus that, if the test's assumptions hold.
        p_value: an upper bound on the chance of so many right guesses if the claim is true.
        correct: how many guesses were right.
        assumptions: what must hold, one sentence each.
    """

    refuted: bool
    p_value: float
    confidence: float
    correct: int
    assumptions: tuple[str, ...]


class CurveAudit(ABC):
    """A test of a trade-off curve by the number of right guesses of one run."""

    @property
    @abstractmethod
    def assumptions(self) -> tuple[str, ...]:
        """What must hold besides the claim, one sentence each."""

    @property
    @abstractmethod
    def needs_independence(self) -> bool:
        """Whether canaries must not disturb each other."""

    @abstractmethod
    def refutes(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int, *, tail: float) -> bool:
        """Whether the p-value is at most ``tail``, in (0, 1), for certain."""

    @abstractmethod
    def p_value(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int) -> float:
        """An upper bound on the chance of ``correct`` or more right guesses under the claim."""

    def against(
        self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int, *, confidence: float
    ) -> OneRunTest:
        """Test a claim.

        Args:
            trade_off: ``f(a)``, convex, not rising, its own inverse, and valid in either order of present and
                absent: a neighbouring relation's is all of that. For a certified claim the lower end,
                ``lambda a: TradeOff(profile).type_two_error(a).lower``.
            spec: numbers of canaries and guesses, fixed before the run.
            correct: v, from ``spec.correct(scores, included)``.
            confidence: one minus the chance to refute a true claim.

        Errors: ValueError.

        >>> from clifftop.audit.estimators.curves import gaussian_curve
        >>> spec = OneRunSpec(num_canaries=1000, guesses_in=50, guesses_out=50)
        >>> for test in (AnyMechanism(), IndependentCanaries()):
        ...     print(f"{test.against(gaussian_curve(1.0), spec, 95, confidence=0.95).p_value:.3f}")
        0.282
        0.071
        """
        require_share_of("correct", correct, "num_guesses", spec.num_guesses)
        chance = self.p_value(trade_off, spec, correct)
        return OneRunTest(
            refuted=chance <= 1.0 - require_confidence(confidence),
            p_value=chance,
            confidence=confidence,
            correct=correct,
            assumptions=self.assumptions,
        )


@final
@dataclass(frozen=True)
class AnyMechanism(CurveAudit):
    """Whatever the mechanism does with several canaries at once; see the module's text."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Those of every one-run audit."""
        return ASSUMPTIONS

    @property
    def needs_independence(self) -> bool:
        """No."""
        return False

    def refutes(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int, *, tail: float) -> bool:
        """Whether ``tail`` as the chance of so many is impossible."""
        return correct > 0 and _impossible(trade_off, spec, correct, tail / (1.0 + ROUNDING))

    def p_value(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int) -> float:
        """The least impossible chance, to a relative `PRECISION`, from above."""
        if correct == 0 or not self.refutes(trade_off, spec, correct, tail=1.0 - 1e-9):
            return 1.0
        low, high = 0.0, 0.0  # exponents of one half; impossible at high
        while self.refutes(trade_off, spec, correct, tail=0.5 ** (high + 1.0)):
            high += 1.0
            if high > _MOST_HALVINGS:
                return 0.5**high
        low = high + 1.0
        while low - high > PRECISION:
            middle = 0.5 * (low + high)
            fails = self.refutes(trade_off, spec, correct, tail=0.5**middle)
            low, high = (low, middle) if fails else (middle, high)
        return float(0.5**high)


@final
@dataclass(frozen=True)
class IndependentCanaries(CurveAudit):
    """For canaries that do not disturb each other; sharper, and tight there; see the module's text."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Those of every one-run audit, and independence."""
        return (*ASSUMPTIONS, INDEPENDENT_CANARIES)

    @property
    def needs_independence(self) -> bool:
        """Yes."""
        return True

    def refutes(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int, *, tail: float) -> bool:
        """Whether the p-value is at most ``tail``."""
        return self.p_value(trade_off, spec, correct) <= tail

    def p_value(self, trade_off: TradeOffCurve, spec: OneRunSpec, correct: int) -> float:
        """The expectation over the order statistic, cell by cell, from above."""
        r, m = spec.num_guesses, spec.num_canaries
        if correct == 0:
            return 1.0
        if r == m:
            right = 1.0 - _balanced(trade_off)
            return min(1.0, float(special.betainc(correct, r - correct + 1, right)) * (1.0 + ROUNDING))
        shares, wrong = _cells(trade_off, spec)
        tails = special.betainc(correct, r - correct + 1.0, 1.0 - wrong)
        masses = np.diff(special.betainc(r + 1.0, m - r, np.append(shares, 1.0)), prepend=0.0)
        # Below the first share any chance, 1, is allowed for; each tail is that of its cell's left end.
        chance = float(masses[0] + masses[1:] @ tails)
        return min(1.0, chance * (1.0 + ROUNDING))

    def expected_correct(self, trade_off: TradeOffCurve, spec: OneRunSpec) -> float:
        """About how many guesses of the best attack are right in the mean, if the curve is attained."""
        r, m = spec.num_guesses, spec.num_canaries
        if r == m:
            return r * (1.0 - _balanced(trade_off))
        shares, wrong = _cells(trade_off, spec, cells=_CELLS_FOR_MEANS)
        masses = np.diff(special.betainc(r + 1.0, m - r, np.append(shares, 1.0)), prepend=0.0)
        between = 0.5 * (wrong + np.append(wrong[1:], wrong[-1]))
        return float(r * (masses[0] + masses[1:] @ (1.0 - between)))


_MOST_HALVINGS = 40.0
_CELLS_FOR_MEANS = 60


def _impossible(trade_off: TradeOffCurve, spec: OneRunSpec, correct: int, chance: float) -> bool:
    """Whether no law of the number of right guesses gives ``correct`` or more this chance."""
    r, m = spec.num_guesses, spec.num_canaries
    right, wrong = chance * correct / m, chance * (r - correct) / m
    for level in range(correct - 1, -1, -1):
        needed = trade_off(max(0.0, 1.0 - right))
        if needed <= wrong:
            return False  # nothing changes below
        mass = (needed - wrong) / (r - level)
        right, wrong = right + level * mass, needed
        if right + wrong > r / m:
            return True
    return False


def _cells(trade_off: TradeOffCurve, spec: OneRunSpec, *, cells: int = CELLS) -> tuple[Array, Array]:
    """Rising shares u where their law has its mass, and the chance of a wrong guess at each."""
    r, m = spec.num_guesses, spec.num_canaries
    ends = special.betaincinv(r + 1.0, float(m - r), FAR), special.betainccinv(r + 1.0, float(m - r), FAR)
    low, high = (_rate_of(trade_off, float(end)) for end in ends)
    rates = np.linspace(low, high, cells) if low == 0 or high > 0.4 else np.geomspace(low, high, cells)
    shares = np.asarray([rate + 1.0 - trade_off(float(rate)) for rate in rates])
    keep = shares > 0
    rates, shares = rates[keep], np.minimum(shares[keep], 1.0)
    return shares, np.minimum(rates / shares, 0.5)


def _rate_of(trade_off: TradeOffCurve, share: float) -> float:
    """A false-positive rate at or below the one at which so many are guessed."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if middle + 1.0 - trade_off(middle) > share else (middle, high)
        if high - low <= 1e-6 * high:
            break
    return low


def _balanced(trade_off: TradeOffCurve) -> float:
    """A rate at or below the one at which the curve gives the rate itself: ``f(a) = a``."""
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if trade_off(middle) > middle else (low, middle)
    return low
