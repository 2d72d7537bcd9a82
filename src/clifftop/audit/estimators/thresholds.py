r"""A lower bound on epsilon from scores of runs with and without a canary (two samples).

For an (epsilon, delta)-private training every test obeys ``TPR <= e^eps FPR + delta``, in either order of the
pair and for "says absent" as for "says present", so with limits that hold together with the confidence

    eps >= ln((TPR_lower - delta) / FPR_upper)

(Jagielski, Ullman and Oprea 2020; Nasr et al. 2021). The limits are Clopper and Pearson's, half of the error
each. A test whose threshold was picked on the runs that it is judged by has no such confidence. So the
threshold is either chosen on a random part of the runs and judged on the others (`epsilon_held_out`), or
listed before the runs are scored and paid for by Bonferroni's correction (`epsilon_bonferroni`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from clifftop.audit.estimators.curves import approximate_dp_curve, largest_refuted, p_value
from clifftop.audit.estimators.intervals import lower_limits, upper_limits
from clifftop.audit.estimators.values import (
    Array,
    Counts,
    LowerBound,
    require_audit_delta,
    require_confidence,
    require_scores,
    require_share_of,
)
from clifftop.events.base import is_number

INDEPENDENT = "scores of different runs, or canaries, are independent"
BOTH_ORDERS = "the claim holds for either order of the pair: canary present and absent"
NOT_SHOWN = "the threshold was fixed before the runs that judge it"
HELD_OUT = "the threshold was chosen on other runs than those that judge it"
LISTED = "the thresholds were listed before any run was scored"

CHOOSING_TAIL = 1e-3
"""Thresholds are compared by limits this strict, so that few lucky runs in a far tail do not win."""
CANDIDATES_PER_TAIL = 48
CANDIDATES_BETWEEN = 63

Merit: TypeAlias = Callable[[Array, int, Array, int], Array]
"""How much tests show, from ``(k,)`` true positives among so many, and false positives among so many."""


@final
@dataclass(frozen=True, kw_only=True)
class Rule:
    """A test of scores: "present" above ``threshold``.

    Attributes:
        inverted: it says "present" at or below the threshold instead.
        swapped: it is judged by how well it says "absent".
    """

    threshold: float
    inverted: bool = False
    swapped: bool = False

    def counts(self, present: ArrayLike, absent: ArrayLike) -> Counts:
        """What this test says of runs with the canary and without. Errors: ValueError.

        >>> Rule(threshold=0.5).counts([0.9, 0.1], [0.2, 0.3, 0.8])
        Counts(true_positives=1, present=2, false_positives=1, absent=3)
        """
        with_canary, without = require_scores("present", present), require_scores("absent", absent)
        counts = Counts(
            true_positives=int((with_canary > self.threshold).sum()),
            present=with_canary.size,
            false_positives=int((without > self.threshold).sum()),
            absent=without.size,
        )
        counts = counts.inverted() if self.inverted else counts
        return counts.swapped() if self.swapped else counts


@final
@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A test chosen on some runs, and its counts on all others."""

    rule: Rule
    counts: Counts


class Judge(Protocol):
    """`epsilon_from_counts` or `epsilon_jointly`."""

    def __call__(
        self, counts: Counts, *, delta: float, confidence: float, assumptions: tuple[str, ...] = ...
    ) -> LowerBound:
        """The bound that these counts show."""
        ...


def epsilon_from_counts(
    counts: Counts, *, delta: float, confidence: float, assumptions: tuple[str, ...] = (NOT_SHOWN,)
) -> LowerBound:
    """The bound from one test that was fixed before these runs, in one direction.

    Errors: ValueError.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> print(epsilon_from_counts(counts, delta=1e-5, confidence=0.95))  # ln 9 is 2.197
    epsilon >= 1.989 at delta=1e-05, confidence 0.95 (at most 5.601 could have been shown)
    """
    tail = 0.5 * (1.0 - require_confidence(confidence))
    delta = require_audit_delta(delta)
    low = float(lower_limits(counts.true_positives, counts.present, tail=tail))
    high = float(upper_limits(counts.false_positives, counts.absent, tail=tail))
    return LowerBound(
        epsilon=max(0.0, _log_ratio(low, high, delta)),
        delta=delta,
        confidence=confidence,
        assumptions=(*assumptions, INDEPENDENT, BOTH_ORDERS),
        detection_limit=_ceiling(counts.present, counts.absent, delta=delta, tail=tail),
        detail=(("tpr_lower", low), ("fpr_upper", high)),
    )


def epsilon_jointly(
    counts: Counts, *, delta: float, confidence: float, assumptions: tuple[str, ...] = (NOT_SHOWN,)
) -> LowerBound:
    """The same from the exact joint p-value of both counts, which shows more; both orders at once.

    The largest epsilon whose curve is refuted, see `clifftop.audit.estimators.curves`. Errors: ValueError.

    >>> counts = Counts(true_positives=900, present=1000, false_positives=100, absent=1000)
    >>> epsilon_jointly(counts, delta=1e-5, confidence=0.95).epsilon > 2.0
    True
    """
    tail = 1.0 - require_confidence(confidence)
    delta = require_audit_delta(delta)

    def shown(some: Counts) -> float:
        return largest_refuted(lambda epsilon: approximate_dp_curve(epsilon, delta), some, tail=tail)

    best = Counts(
        true_positives=counts.present, present=counts.present, false_positives=0, absent=counts.absent
    )
    epsilon = shown(counts)
    return LowerBound(
        epsilon=epsilon,
        delta=delta,
        confidence=confidence,
        assumptions=(*assumptions, INDEPENDENT, BOTH_ORDERS),
        detection_limit=max(epsilon, shown(best)),
        detail=(("p_of_no_privacy_loss", p_value(approximate_dp_curve(0.0, delta), counts)),),
    )


def epsilon_held_out(
    present: ArrayLike,
    absent: ArrayLike,
    *,
    delta: float,
    confidence: float,
    rng: np.random.Generator,
    share: float = 0.5,
    judge: Judge = epsilon_from_counts,
) -> LowerBound:
    """The bound with threshold and direction chosen on a random ``share`` of the runs, judged on the rest.

    Args:
        present: ``(n,)`` scores of runs with the canary.
        absent: ``(m,)`` scores of runs without it.
        delta: at which epsilon is meant.
        confidence: of the bound.
        rng: draws the part on which is chosen.
        share: that part.
        judge: how the counts on the rest are judged: two intervals, or jointly.

    Errors: ValueError, also for fewer than two runs on a side.
    """
    delta = require_audit_delta(delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        held = held_out(
            present,
            absent,
            merit=by_limits(
                lambda low, high: np.log(np.maximum(low - delta, 0.0)) - np.log(high), confidence=confidence
            ),
            rng=rng,
            share=share,
        )
    bound = judge(held.counts, delta=delta, confidence=confidence, assumptions=(HELD_OUT,))
    return _with_detail(bound, held.rule)


def epsilon_bonferroni(
    present: ArrayLike, absent: ArrayLike, *, thresholds: Sequence[float], delta: float, confidence: float
) -> LowerBound:
    """The best bound over thresholds listed beforehand and all directions, judged on all runs.

    Each of k thresholds has two rates with two limits each, so ``4 k`` limits hold together when each errs
    with the ``4 k``-th part of the error.

    Errors: ValueError for no threshold, or one that is not a number.
    """
    delta = require_audit_delta(delta)
    with_canary, without = require_scores("present", present), require_scores("absent", absent)
    places = require_scores("thresholds", thresholds)
    tail = 0.25 * (1.0 - require_confidence(confidence)) / places.size
    best, best_rule = 0.0, Rule(threshold=float(places[0]))
    for rule in _all_rules(places):
        counts = rule.counts(with_canary, without)
        low = float(lower_limits(counts.true_positives, counts.present, tail=tail))
        high = float(upper_limits(counts.false_positives, counts.absent, tail=tail))
        shown = _log_ratio(low, high, delta)
        if shown > best:
            best, best_rule = shown, rule
    bound = LowerBound(
        epsilon=best,
        delta=delta,
        confidence=confidence,
        assumptions=(LISTED, INDEPENDENT, BOTH_ORDERS),
        detection_limit=_best_ceiling(with_canary.size, without.size, delta=delta, tail=tail),
        detail=(("thresholds", float(places.size)),),
    )
    return _with_detail(bound, best_rule)


def power(*, present: int, absent: int, delta: float, confidence: float, share: float = 0.5) -> float:
    """What a perfect attack would show by `epsilon_held_out` with this many runs: its ceiling.

    Args:
        present: runs with the canary, all together.
        absent: runs without.
        delta: of the claim.
        confidence: of the bound.
        share: of the runs that the threshold is chosen on.

    >>> ["%.2f" % power(present=n, absent=n, delta=1e-5, confidence=0.95) for n in (100, 10_000)]
    ['2.57', '7.21']
    """
    tail = 0.5 * (1.0 - require_confidence(confidence))
    return _best_ceiling(_judged(present, share), _judged(absent, share), delta=delta, tail=tail)


def power_bonferroni(
    *, present: int, absent: int, num_thresholds: int, delta: float, confidence: float
) -> float:
    """What a perfect attack would show by `epsilon_bonferroni`, a threshold of which parts all scores.

    >>> f"{power_bonferroni(present=100, absent=100, num_thresholds=9, delta=1e-5, confidence=0.95):.2f}"
    '2.69'
    """
    require_share_of("1", 1, "num_thresholds", num_thresholds)
    tail = 0.25 * (1.0 - require_confidence(confidence)) / num_thresholds
    return _best_ceiling(present, absent, delta=delta, tail=tail)


def held_out(
    present: ArrayLike,
    absent: ArrayLike,
    *,
    merit: Merit,
    rng: np.random.Generator,
    share: float = 0.5,
) -> HeldOut:
    """Choose the test that shows most by ``merit`` on a random share of the runs; count it on the rest.

    Errors: ValueError for fewer than two runs on a side, or a share outside (0, 1).
    """
    chosen_on: list[Array] = []
    judged_on: list[Array] = []
    for name, scores in (("present", present), ("absent", absent)):
        values = require_scores(name, scores)
        judged = _judged(values.size, share)
        order = rng.permutation(values.size)
        judged_on.append(values[order[:judged]])
        chosen_on.append(values[order[judged:]])
    rule = _best_rule(chosen_on[0], chosen_on[1], merit=merit)
    return HeldOut(rule=rule, counts=rule.counts(judged_on[0], judged_on[1]))


def by_limits(shown: Callable[[Array, Array], Array], *, confidence: float) -> Merit:
    """The merit that ``shown`` gives to a lower limit on the TPR and an upper one on the FPR, both strict."""
    tail = CHOOSING_TAIL * (1.0 - require_confidence(confidence))

    def merit(hits: Array, present: int, wrong: Array, absent: int) -> Array:
        return shown(lower_limits(hits, present, tail=tail), upper_limits(wrong, absent, tail=tail))

    return merit


def candidates(scores: Array) -> Array:
    """Thresholds worth a look: ranks that grow geometrically from both ends, and some between.

    >>> candidates(np.arange(4.0))
    array([0., 1., 2., 3.])
    """
    ordered, last = np.sort(scores), scores.size - 1
    tail = np.unique(np.geomspace(1.0, last + 1.0, CANDIDATES_PER_TAIL).astype(np.int64)) - 1
    between = np.linspace(0.0, last, CANDIDATES_BETWEEN).astype(np.int64)
    return np.unique(ordered[np.unique(np.concatenate((tail, last - tail, between)))])


def _best_rule(present: Array, absent: Array, *, merit: Merit) -> Rule:
    """The rule of greatest merit on these scores."""
    places = candidates(np.concatenate((present, absent)))
    above = present.size - np.searchsorted(np.sort(present), places, side="right").astype(np.float64)
    false = absent.size - np.searchsorted(np.sort(absent), places, side="right").astype(np.float64)
    best, best_rule = -math.inf, Rule(threshold=float(places[places.size // 2]))
    for inverted, swapped in ((False, False), (False, True), (True, False), (True, True)):
        hits, wrong, sizes = above, false, (present.size, absent.size)
        if inverted:
            hits, wrong = sizes[0] - hits, sizes[1] - wrong
        if swapped:
            hits, wrong, sizes = sizes[1] - wrong, sizes[0] - hits, sizes[::-1]
        merits = merit(hits, sizes[0], wrong, sizes[1])
        place = int(np.argmax(merits))
        if merits[place] > best:
            best = float(merits[place])
            best_rule = Rule(threshold=float(places[place]), inverted=inverted, swapped=swapped)
    return best_rule


def _all_rules(places: Array) -> list[Rule]:
    flags = ((False, False), (False, True), (True, False), (True, True))
    return [Rule(threshold=float(t), inverted=i, swapped=s) for t in places for i, s in flags]


def _judged(runs: int, share: float) -> int:
    if not is_number(share) or not 0 < share < 1:
        raise ValueError(
            f"share must be a number in (0, 1), found share={share!r}; 0.5 chooses on half of the runs"
        )
    if runs < 2:
        raise ValueError(
            f"a threshold needs runs to be chosen on and others to be judged on, found runs={runs}; "
            "do at least two on each side"
        )
    return min(max(runs - round(share * runs), 1), runs - 1)


def _log_ratio(low: float, high: float, delta: float) -> float:
    return math.log((low - delta) / high) if low > delta else -math.inf


def _ceiling(present: int, absent: int, *, delta: float, tail: float) -> float:
    low, high = float(lower_limits(present, present, tail=tail)), float(upper_limits(0, absent, tail=tail))
    return max(0.0, _log_ratio(low, high, delta))


def _best_ceiling(present: int, absent: int, *, delta: float, tail: float) -> float:
    """The ceiling in the better order of the pair."""
    delta = require_audit_delta(delta)
    return max(
        _ceiling(first, second, delta=delta, tail=tail)
        for first, second in ((present, absent), (absent, present))
    )


def _with_detail(bound: LowerBound, rule: Rule) -> LowerBound:
    return LowerBound(
        epsilon=bound.epsilon,
        delta=bound.delta,
        confidence=bound.confidence,
        assumptions=bound.assumptions,
        detection_limit=bound.detection_limit,
        detail=(*bound.detail, ("threshold", rule.threshold)),
    )
