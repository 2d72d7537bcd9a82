"""A claimed trade-off curve against scores, tested where these scores seem to break it most."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from clifftop.audit.estimators.curves import CurveTest, against_curve
from clifftop.audit.estimators.thresholds import Merit, held_out
from clifftop.audit.estimators.values import Array, TradeOffCurve

THIRDS = 10
"""How often the search for the likeliest rate drops a third of where it may be."""
LEAST = 1e-300


def against_curve_held_out(
    trade_off: TradeOffCurve,
    present: ArrayLike,
    absent: ArrayLike,
    *,
    confidence: float,
    rng: np.random.Generator,
    share: float = 0.5,
) -> CurveTest:
    """Test a claimed curve at the threshold where other runs break it most.

    On a random ``share`` of the runs the threshold and direction are chosen at which the claim is least
    likely; the claim is then tested on the rest. So a leak in a far tail is found, which a threshold in the
    middle, best for a mechanism that does what it says, does not see. The claim is taken to hold for both
    orders of the pair.

    Arguments and errors as `clifftop.audit.estimators.curves.against_curve` and
    `clifftop.audit.estimators.thresholds.epsilon_held_out` have them.
    """
    held = held_out(present, absent, merit=_unlikely(trade_off), rng=rng, share=share)
    return against_curve(trade_off, held.counts, confidence=confidence)


def _unlikely(trade_off: TradeOffCurve) -> Merit:
    """About the log of one over the p-value, quickly: no bound, it only serves to choose.

    The product in `clifftop.audit.estimators.curves` is largest between the observed false-positive rate and
    that at which the claim allows the observed miss rate. Its log is concave in the rate for a convex curve.
    """

    def misses(rates: Array) -> Array:
        return np.asarray([trade_off(float(rate)) for rate in rates])

    def merit(hits: Array, present: int, wrong: Array, absent: int) -> Array:
        def log_product(rates: Array) -> Array:
            product = _tails(wrong, absent, rates) * _tails(present - hits, present, misses(rates))
            return np.log(np.maximum(product, LEAST))

        low = wrong / absent
        high = np.maximum(low, misses((present - hits) / present))
        for _ in range(THIRDS):
            third = (high - low) / 3.0
            rises = log_product(low + third) < log_product(high - third)
            low, high = np.where(rises, low + third, low), np.where(rises, high, high - third)
        return -log_product(0.5 * (low + high))

    return merit


def _tails(counts: Array, trials: int, chances: Array) -> Array:
    """``P[Bin(trials, chance) <= count]``."""
    tails = special.betaincc(counts + 1.0, np.maximum(trials - counts, 1.0), chances)
    return np.where(counts == trials, 1.0, tails)
