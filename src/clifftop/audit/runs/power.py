"""What it would take to see an error: how many canary-runs, for noise that is less than claimed.

Planning figures, no bounds: what one expects to see is put for what will be seen, and attacks are taken to
be as good as the accountant's curve, which the likelihood score nearly is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy import stats

from clifftop.audit.estimators.curves import refutes
from clifftop.audit.estimators.values import Counts, TradeOffCurve
from clifftop.audit.runs.certified import certified_curve
from clifftop.audit.runs.claim import TrainingClaim

ERRORS = (0.05, 0.20, 0.50)
"""Parts of the noise that are missing; at 0.5 the noise is half of what is claimed, the error twofold."""
CHANCE = 0.9
"""With which the noise check should see an error."""
COINS = 200
"""Quantiles of the number of absent canaries."""
MOST = 1 << 34


@final
@dataclass(frozen=True, kw_only=True)
class PowerRow:
    """What it takes to see that a part of the noise is missing.

    Attributes:
        missing: that part.
        epsilon: at which the training then really is.
        by_noise_scale: canary-runs for the noise check to see it with a chance of 0.9.
        by_curve: canary-runs for the claimed curve to be refuted, with a chance of a third to a half (by
            simulation; about 0.9 with twice as many); infinite where no number looked at is enough.
    """

    missing: float
    epsilon: float
    by_noise_scale: float
    by_curve: float

    def sentence(self, canary_runs: int) -> str:
        """The row in words, beside how many canary-runs there were."""
        seen = [
            name
            for name, needed in (("noise scale", self.by_noise_scale), ("claimed curve", self.by_curve))
            if needed <= canary_runs
        ]
        return (
            f"{self.missing:.0%} of the noise missing (epsilon {self.epsilon:.3g}): seen by the noise scale "
            f"from about {_short(self.by_noise_scale)} canary-runs on, by the claimed curve from about "
            f"{_short(self.by_curve)}; of this audit's {canary_runs} that is enough for "
            f"{' and '.join(seen) or 'neither'}"
        )


@functools.lru_cache(maxsize=64)
def power_of(claim: TrainingClaim, *, level: float) -> tuple[PowerRow, ...]:
    """What errors of 5%, 20% and a factor of 2 in the noise need, each test at error ``level``."""
    claimed = certified_curve(claim)
    rows: list[PowerRow] = []
    for missing in ERRORS:
        actual = replace(claim, noise_multiplier=claim.noise_multiplier * (1.0 - missing))
        rows.append(
            PowerRow(
                missing=missing,
                epsilon=actual.epsilon.estimate,
                by_noise_scale=_canary_runs_for_scale(missing, claim.steps, level),
                by_curve=_canary_runs_needed(claimed, certified_curve(actual), level),
            )
        )
    return tuple(rows)


def _canary_runs_for_scale(missing: float, steps: int, level: float) -> int:
    """For the test of its scale: a canary is absent by a fair coin, and has then a release a step."""
    places = (np.arange(COINS) + 0.5) / COINS

    def enough(canary_runs: int) -> bool:
        count = steps * stats.binom.ppf(places, canary_runs, 0.5)
        count = count[count > 0]  # nothing is seen where no canary is absent
        threshold = stats.chi2.ppf(level, count)
        return bool(stats.chi2.cdf(threshold / (1.0 - missing) ** 2, count).sum() >= CHANCE * COINS)

    return _first(enough)


def _canary_runs_needed(claimed: TradeOffCurve, actual: TradeOffCurve, level: float) -> float:
    """Half of the canaries are present, and half of the runs choose the threshold that the others judge."""
    rate = _best_rate(claimed, actual)

    def enough(canary_runs: int) -> bool:
        judged = max(1, canary_runs // 4)
        counts = Counts(
            true_positives=judged - math.ceil(actual(rate) * judged),
            present=judged,
            false_positives=math.ceil(rate * judged),
            absent=judged,
        )
        return refutes(claimed, counts, tail=level)

    found = _first(enough)
    return float(found) if found < MOST else math.inf


def _best_rate(claimed: TradeOffCurve, actual: TradeOffCurve) -> float:
    """The false-positive rate at which the two curves are most standard errors apart."""
    best, best_rate = -math.inf, 0.5
    for rate in np.geomspace(1e-6, 0.5, 60):
        misses, allowed = actual(float(rate)), claimed(float(rate))
        slope = (claimed(1.01 * float(rate)) - allowed) / (0.01 * float(rate))
        error = math.sqrt(misses * (1.0 - misses) + slope**2 * rate * (1.0 - rate)) + 1e-300
        if (allowed - misses) / error > best:
            best, best_rate = (allowed - misses) / error, float(rate)
    return best_rate


def _first(enough: Callable[[int], bool]) -> int:
    """About the least number that is enough, within a twentieth; `MOST` where none is."""
    high = 4
    while not enough(high):
        high *= 2
        if high >= MOST:
            return MOST
    low = high // 2
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _short(count: float) -> str:
    return f"{count:.2g}" if count < math.inf else "more than can be run"
