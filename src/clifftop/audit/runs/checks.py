"""Exact tests of what a claim says of noise, shares and draws, each valid at any number of runs.

All p-values are exact for a training that does as it claims (within rounding): chi-square for the scale of
the noise, Student's t for correlations of independent normal numbers and for a canary's share, binomial for
counts, Kolmogorov's law for the shape. Of several p-values the least is multiplied by their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from clifftop.audit.document import CheckRow
from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.micro import standard_error
from clifftop.audit.runs.tally import Draws, Moments, Pairs, Tally

NOISE_SCALE = "noise scale"
NOISE_SHAPE = "noise shape"
ACROSS_CANARIES = "noise across coordinates"
ACROSS_STEPS = "noise across steps"
ACROSS_RUNS = "noise across runs"
SHARE = "share of a canary"
RATE = "sampling rate"
PARTICIPATION = "participations"
BATCHES = "batch sizes"
POOLING = (ACROSS_CANARIES, ACROSS_RUNS, PARTICIPATION, BATCHES)
"""The checks without which canaries may not be counted as independent."""
FORM = (ACROSS_STEPS, ACROSS_RUNS, RATE, PARTICIPATION)
"""Those without which one canary's releases are not of the claimed kind at any noise multiplier."""

TOLERANCE = 1e-5
"""Scales and shares nearer to the claim than this are rounding."""


def checks_of(seen: Tally, claim: TrainingClaim, *, level: float) -> list[CheckRow]:
    """The checks that these runs allow; each fails one that does as it claims with chance ``level``."""
    rows = [
        _noise_scale(seen.absent, claim, level),
        _noise_shape(seen, claim, level),
        _independent(ACROSS_CANARIES, "canaries", [2**i for i in range(len(seen.ties))], seen.ties, level),
        _independent(ACROSS_STEPS, "steps", range(1, len(seen.lags) + 1), seen.lags, level),
        _independent(ACROSS_RUNS, "runs", [1], [seen.runs], level),
    ]
    if seen.included is not None and seen.included.count >= 2:
        rows.append(_share(seen.included, level))
    if seen.draws is not None:
        rows += _sampling(seen.draws, claim, level)
    return rows


def may_pool(checks: Sequence[CheckRow]) -> bool:
    """Whether nothing speaks against counting canaries as independent."""
    return not any(check.name in POOLING for check in checks if not check.passed)


def may_recompose(checks: Sequence[CheckRow]) -> bool:
    """Whether nothing speaks against what the micro-audit assumes: one law of noise and draws throughout."""
    failed = _failed(checks)
    return not _odd_shape(failed) and ACROSS_STEPS not in failed and may_pool(checks)


def may_compare(checks: Sequence[CheckRow]) -> bool:
    """Whether nothing speaks against the noise family: the claimed mechanism at some noise multiplier."""
    failed = _failed(checks)
    return not _odd_shape(failed) and not failed & set(FORM)


def _failed(checks: Sequence[CheckRow]) -> set[str]:
    return {check.name for check in checks if not check.passed}


def _odd_shape(failed: set[str]) -> bool:
    """Whether noise is of another law, as far as can be told.

    The shape is compared at the claimed scale and counts coordinates as independent: where either is false,
    so is the comparison.
    """
    return NOISE_SHAPE in failed and not failed & {NOISE_SCALE, ACROSS_CANARIES}


def scale_p_value(absent: Moments, noise_multiplier: float) -> float:
    """Chance of so little noise or less where its scale is as claimed."""
    claimed = (noise_multiplier * (1.0 - TOLERANCE)) ** 2
    return float(special.chdtr(absent.count, absent.squares / claimed))


def correlation_p_value(pairs: Pairs) -> float:
    """Chance of so large a correlation, either way, of independent normal numbers with mean 0.

    Given one side, the other's part along it and the rest make Student's t with ``count - 1`` degrees.
    Sides without any spread are tied: 0.

    >>> correlation_p_value(Pairs(count=101, first=100.0, second=100.0, both=0.0))
    1.0
    """
    if pairs.count < 2:
        return 1.0
    scale = math.sqrt(pairs.first * pairs.second)
    if scale == 0 or abs(pairs.both) >= scale:
        return 0.0
    r = pairs.both / scale
    t = abs(r) * math.sqrt((pairs.count - 1) / ((1.0 - r) * (1.0 + r)))
    return min(1.0, 2.0 * float(stats.t.sf(t, pairs.count - 1)))


def central_counts(trials: int, chance: float) -> tuple[int, int, float]:
    """The middle of a binomial law: least and largest count of about half its mass, and that mass.

    >>> central_counts(10, 0.5)
    (4, 6, 0.65625)
    """
    low, high = (int(stats.binom.ppf(p, trials, chance)) for p in (0.25, 0.75))
    return low, high, float(stats.binom.cdf(high, trials, chance) - stats.binom.cdf(low - 1, trials, chance))


def _noise_scale(absent: Moments, claim: TrainingClaim, level: float) -> CheckRow:
    found = math.sqrt(absent.squares / max(1, absent.count))
    return _judged(
        NOISE_SCALE,
        scale_p_value(absent, claim.noise_multiplier) if absent.count else 1.0,
        f"{found:.5g} clip norms over {absent.count} releases along absent canaries",
        f"noise has a standard deviation of at least {claim.noise_multiplier:.5g} clip norms",
        level=level,
    )


def _noise_shape(seen: Tally, claim: TrainingClaim, level: float) -> CheckRow:
    sample = seen.sample.astype(np.float64)
    p_value, distance = 1.0, 0.0
    if len(sample):
        result = stats.kstest(sample / claim.noise_multiplier, "norm")
        p_value, distance = float(result.pvalue), float(result.statistic)
    return _judged(
        NOISE_SHAPE,
        p_value,
        f"distance {distance:.3g} from the claimed law over {len(sample)} releases",
        "noise is Gaussian with mean 0 and the claimed scale",
        level=level,
    )


def _independent(
    name: str, what: str, distances: Sequence[int], pairs: Sequence[Pairs], level: float
) -> CheckRow:
    p_values = [correlation_p_value(one) for one in pairs]
    worst = int(np.argmin(p_values)) if p_values else None
    found = "nothing to compare"
    if worst is not None and pairs[worst].count:
        scale = math.sqrt(pairs[worst].first * pairs[worst].second)
        correlation = pairs[worst].both / scale if scale else 1.0
        found = (
            f"correlation {correlation:.3g} of {what} {distances[worst]} apart, {pairs[worst].count} pairs"
        )
    return _judged(
        name,
        min(1.0, min(p_values, default=1.0) * max(1, len(p_values))),
        found,
        f"noise of different {what} is independent",
        level=level,
    )


def _share(included: Moments, level: float) -> CheckRow:
    error = standard_error(included)
    excess = included.mean - (1.0 + TOLERANCE)
    p_value = float(stats.t.sf(excess / error, included.count - 1)) if error > 0 else float(excess <= 0)
    return _judged(
        SHARE,
        p_value,
        f"{included.mean:.5g} clip norms, mean of {included.count} releases",
        "an example adds at most one clip norm to a sum",
        level=level,
    )


def _sampling(draws: Draws, claim: TrainingClaim, level: float) -> list[CheckRow]:
    q, steps, canaries = claim.sampling_prob, len(draws.participations) - 1, len(draws.batches) - 1
    rate = _judged(
        RATE,
        float(stats.binom.sf(draws.drawn - 1, draws.places, q)) if q < 1 else 1.0,
        f"{draws.drawn / draws.places:.5g} over {draws.places} draws",
        f"an example is drawn with a probability of at most {q:.5g}",
        level=level,
    )
    return [
        rate,
        _spread(PARTICIPATION, "places were drawn", draws.participations, steps, q, level),
        _spread(BATCHES, "steps drew", draws.batches, canaries, q, level),
    ]


def _spread(
    name: str, what: str, counts: Sequence[int], trials: int, chance: float, level: float
) -> CheckRow:
    low, high, mass = central_counts(trials, chance)
    inside, total = sum(counts[low : high + 1]), sum(counts)
    p_value = 1.0
    if mass < 1:
        p_value = min(
            1.0,
            2.0 * float(stats.binom.cdf(inside, total, mass)),
            2.0 * float(stats.binom.sf(inside - 1, total, mass)),
        )
    times = "times" if name == PARTICIPATION else "of the canaries' places"
    return _judged(
        name,
        p_value,
        f"{inside / total:.4g} of {total} {what} {low} to {high} {times}",
        f"draws are independent: {mass:.4g} are",
        level=level,
    )


def _judged(name: str, p_value: float, found: str, must_hold: str, *, level: float) -> CheckRow:
    return CheckRow(
        name=name, passed=p_value > level, found=found, must_hold=must_hold, p_value=float(p_value)
    )
