r"""What the mechanism is made of, measured: noise, one canary's share, sampling; and the epsilon of these.

Three limits, each with a third of the error, hold together:

- the noise is at most ``s``: releases along absent canaries are noise alone, and their mean square over the
  variance is chi-square;
- a canary that is in the batch adds at least ``c``: Student's limit on the mean of what it releases;
- it is in the batch with a probability of at least ``q``: Clopper and Pearson's limit.

The epsilon of Poisson-sampled Gaussian noise rises with c / s and with q, so that at ``s / c``, ``q`` and the
number of steps is a lower bound on the training's, *if it is such a mechanism*: independent Gaussian noise of
one scale, independent draws, a canary that always adds the same. The checks look at that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from scipy import special, stats

from clifftop.audit.estimators.intervals import lower_limit
from clifftop.audit.estimators.values import LowerBound, require_confidence
from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.tally import Moments, Tally

ASSUMED = (
    "each release is independent Gaussian noise of one scale, plus one constant where the canary is in the "
    "batch, which it is independently with one probability"
)
ROUNDING = 1e-6
"""Above the error of the sums over float32 releases, relative to each limit."""
LEAST_MULTIPLIER = 1e-3
"""Less noise, or none, is asked about as this much, whose epsilon is beyond all claims."""


@final
@dataclass(frozen=True, kw_only=True)
class MicroAudit:
    """Limits that hold together with ``confidence``.

    Attributes:
        noise_upper: the noise's standard deviation is at most this, in clip norms.
        share_lower: a canary that is drawn adds at least this, in clip norms.
        rate_lower: it is drawn with at least this probability.
        noise: the estimate itself.
        share: the same.
        rate: the same.
        bound: what follows for epsilon.
    """

    noise_upper: float
    share_lower: float
    rate_lower: float
    noise: float
    share: float
    rate: float
    bound: LowerBound


def micro_audit(seen: Tally, claim: TrainingClaim, *, confidence: float) -> MicroAudit | None:
    """The limits and what they add up to; None where draws are not known or nothing was included.

    ``claim`` gives the number of steps, delta and the relation; its noise and rate are not used.

    Errors: ValueError for a confidence outside (0, 1).
    """
    tail = (1.0 - require_confidence(confidence)) / 3.0
    if seen.included is None or seen.draws is None or seen.included.count < 2 or not seen.absent.count:
        return None
    noise_upper = math.sqrt(seen.absent.squares / float(special.chdtri(seen.absent.count, 1.0 - tail)))
    share_lower = mean_lower(seen.included, tail=tail)
    rate_lower = lower_limit(seen.draws.drawn, seen.draws.places, confidence=1.0 - tail)
    return MicroAudit(
        noise_upper=noise_upper * (1.0 + ROUNDING),
        share_lower=share_lower * (1.0 - ROUNDING),
        rate_lower=rate_lower,
        noise=math.sqrt(seen.absent.squares / seen.absent.count),
        share=seen.included.mean,
        rate=seen.draws.drawn / seen.draws.places,
        bound=_recomposed(claim, noise_upper, share_lower, rate_lower, confidence=confidence),
    )


def mean_lower(values: Moments, *, tail: float) -> float:
    """Student's one-sided limit on the mean of at least two normal numbers, wrong with chance ``tail``."""
    return values.mean - float(stats.t.isf(tail, values.count - 1)) * standard_error(values)


def standard_error(values: Moments) -> float:
    """Of the mean of at least two numbers."""
    spread = max(0.0, values.squares - values.count * values.mean**2) / (values.count - 1)
    return math.sqrt(spread / values.count)


def _recomposed(
    claim: TrainingClaim, noise_upper: float, share_lower: float, rate_lower: float, *, confidence: float
) -> LowerBound:
    epsilon = 0.0
    if share_lower > 0 and rate_lower > 0:
        multiplier = noise_upper * (1.0 + ROUNDING) / (share_lower * (1.0 - ROUNDING))
        noise = max(multiplier, LEAST_MULTIPLIER)  # with more noise epsilon is less
        measured = replace(claim, noise_multiplier=noise, sampling_prob=rate_lower)
        epsilon = measured.epsilon.lower
    return LowerBound(
        epsilon=epsilon,
        delta=claim.delta,
        confidence=confidence,
        assumptions=(ASSUMED,),
        detection_limit=math.inf,  # noise can be measured to be as little as it is
    )
