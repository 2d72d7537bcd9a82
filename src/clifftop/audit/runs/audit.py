"""The audit of whole trainings: what many runs with canaries show, beside what is claimed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.audit.document import BoundRow, CheckRow, CurveRow
from clifftop.audit.estimators import gaussian_dp, thresholds
from clifftop.audit.estimators.claims import against_curve_held_out
from clifftop.audit.estimators.curves import CurveTest, against_curve
from clifftop.audit.estimators.intervals import lower_limits, upper_limits
from clifftop.audit.estimators.thresholds import HELD_OUT, NOT_SHOWN, Rule
from clifftop.audit.estimators.values import Array, Counts, TradeOffCurve, require_confidence
from clifftop.audit.runs.certified import certified_curve
from clifftop.audit.runs.checks import checks_of, may_compare, may_pool, may_recompose
from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.collect import Evidence, Progress, collect
from clifftop.audit.runs.family import noise_family
from clifftop.audit.runs.learned import learn
from clifftop.audit.runs.micro import MicroAudit, micro_audit
from clifftop.audit.runs.power import power_of
from clifftop.audit.runs.protocol import TrainingUnderTest
from clifftop.audit.runs.report import TrainingReport
from clifftop.audit.threads import on_one_thread
from clifftop.events.base import is_number

TESTS = 14
"""Tests that may refute a claim, at most; each has an equal share of the level."""
LEAST_LEVEL = 1e-9
"""A share of less would be lost in the rounding of one minus it."""
THRESHOLD = 0.0
"""Of the log-likelihood ratio, fixed beforehand: where a mechanism that does as it says is best seen."""
FIXED = "claimed curve, threshold 0"
HELD = "claimed curve, threshold held out"
LEARNED_TEST = "claimed curve, learned attack"
SINGLE = "claimed curve, one canary a run"
BY_CURVE = "noise family"
MICRO = "micro-audit"
ONE_A_RUN = "noise family, one canary a run"
GAUSSIAN = "Gaussian DP"
RATES = "two rates"
LEARNED = "two rates, learned attack"
RATES_SHOWN = 60


@on_one_thread
def audit_training(
    training: TrainingUnderTest,
    *,
    runs: int | None = None,
    budget_seconds: float | None = None,
    confidence: float = 0.95,
    level: float = 1e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train many models with canaries and test what they release against the claim.

    A training that does as it claims is refuted with a chance of at most ``level``, over all tests together;
    each bound on its own is above the truth with a chance of at most ``1 - confidence``. Both are over the
    training's own randomness and the audit's coins. Nothing is chosen by scores that it is judged by.

    Args:
        training: what is audited; `ours` makes Clifftop's own.
        runs: how many models; at least 4. They are trained in blocks.
        budget_seconds: of this process's CPU for all; decides how many models instead, four at least. 20 by
            default.
        confidence: of each bound.
        level: of the verdict.
        seed: of coins and runs. Runs with another seed are other runs.
        progress: told how far the audit is.

    Errors: ValueError; what ``training`` raises.
    """
    start = time.process_time()
    if runs is None and budget_seconds is None:
        budget_seconds = 20.0
    require_confidence(confidence)
    if not is_number(level) or not LEAST_LEVEL <= level < 1:
        raise ValueError(
            f"level must be a number in [{LEAST_LEVEL:g}, 1), found level={level!r}; 0.001 is usual"
        )
    evidence = collect(training, runs=runs, budget_seconds=budget_seconds, seed=seed, progress=progress)
    if progress is not None:
        progress(0.95, f"judging {evidence.runs} runs")
    return judge(evidence, training.claim, confidence=confidence, level=level, seed=seed, start=start)


def judge(
    evidence: Evidence,
    claim: TrainingClaim,
    *,
    confidence: float,
    level: float,
    seed: int,
    start: float | None = None,
) -> TrainingReport:
    """The report on runs that were seen; ``start`` is the CPU time at which the audit began."""
    begun = time.process_time() - evidence.seconds if start is None else start
    each = level / TESTS
    curve = certified_curve(claim)
    attacks = _attacks(evidence, seed)
    tests = attacks.tests(curve, confidence=1.0 - each)
    checks = [_curve_check(name, test) for name, test in tests.items()]
    checks += checks_of(evidence.seen, claim, level=each)
    strict = micro_audit(evidence.seen, claim, confidence=1.0 - each)
    if strict is not None:
        checks.append(_micro_check(strict, claim))
    micro = micro_audit(evidence.seen, claim, confidence=confidence)
    bounds = [
        *_micro_row(micro, checks),
        *_bounds(attacks, tests, claim, confidence, checks),
    ]
    shown, permitted = _curves(attacks, curve, confidence=confidence)
    return TrainingReport(
        claim=claim,
        runs=evidence.runs,
        num_canaries=evidence.num_canaries,
        level=level,
        confidence=confidence,
        checks=tuple(checks),
        bounds=tuple(bounds),
        micro=micro,
        curve=shown,
        permitted=permitted,
        power=power_of(claim, level=each),
        training_seconds=evidence.seconds,
        seconds=time.process_time() - begun,
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Attacks:
    """Scores of canaries that are present and of others that are absent, by attack."""

    likelihood: tuple[Array, Array]
    learned: tuple[Array, Array]
    one_a_run: tuple[Array, Array]
    seed: int

    def rng(self, purpose: int) -> np.random.Generator:
        """Chooses the runs on which a threshold is chosen."""
        return np.random.default_rng([self.seed, 2, purpose])

    def tests(self, curve: TradeOffCurve, *, confidence: float) -> dict[str, CurveTest]:
        """The claimed curve, tested by each."""
        fixed = Rule(threshold=THRESHOLD)
        found = {
            FIXED: against_curve(curve, fixed.counts(*self.likelihood), confidence=confidence),
            HELD: against_curve_held_out(curve, *self.likelihood, confidence=confidence, rng=self.rng(0)),
        }
        if _enough(self.learned):
            found[LEARNED_TEST] = against_curve_held_out(
                curve, *self.learned, confidence=confidence, rng=self.rng(1)
            )
        if _enough(self.one_a_run):
            found[SINGLE] = against_curve(curve, fixed.counts(*self.one_a_run), confidence=confidence)
        return found


def _attacks(evidence: Evidence, seed: int) -> _Attacks:
    rows = np.arange(evidence.runs)
    place = rows % evidence.num_canaries
    own, coins = evidence.scores[rows, place], evidence.present[rows, place]
    return _Attacks(
        likelihood=_parted(evidence.scores.ravel(), evidence.present.ravel()),
        learned=_learned(evidence),
        one_a_run=_parted(own, coins),
        seed=seed,
    )


def _learned(evidence: Evidence) -> tuple[Array, Array]:
    """Scores of the second half of the runs by an attack that was learned from the first."""
    trajectories = evidence.trajectories
    runs, canaries, steps = trajectories.shape
    present = evidence.present[:runs, :canaries]
    half = runs // 2
    coins = present[:half].ravel()
    if half == 0 or coins.all() or not coins.any():
        return np.empty(0), np.empty(0)
    scores = learn(trajectories[:half].reshape(-1, steps), coins, trajectories[half:].reshape(-1, steps))
    return _parted(scores, present[half:].ravel())


def _parted(scores: Array, present: np.ndarray) -> tuple[Array, Array]:
    return scores[present], scores[~present]


def _enough(parts: tuple[Array, Array]) -> bool:
    return min(map(len, parts)) >= 2


def _curve_check(name: str, test: CurveTest) -> CheckRow:
    counts = test.counts
    return CheckRow(
        name=name,
        passed=not test.refuted,
        found=(
            f"one threshold calls {counts.true_positives} of {counts.present} present canaries present, and "
            f"{counts.false_positives} of {counts.absent} absent ones"
        ),
        must_hold="no attack beats the trade-off curve of the claim",
        p_value=test.p_value,
    )


def _micro_check(strict: MicroAudit, claim: TrainingClaim) -> CheckRow:
    claimed = claim.epsilon.upper
    return CheckRow(
        name=MICRO,
        passed=strict.bound.epsilon <= claimed,
        found=f"epsilon at least {strict.bound.epsilon:.4g} from noise, share and rate as measured",
        must_hold=f"epsilon is at most {claimed:.4g}",
    )


def _bounds(
    attacks: _Attacks,
    tests: dict[str, CurveTest],
    claim: TrainingClaim,
    confidence: float,
    checks: Sequence[CheckRow],
) -> list[BoundRow]:
    family, pooled, compared = noise_family(claim), may_pool(checks), may_compare(checks)
    fixed: Counts = tests[FIXED].counts
    held: Counts = tests[HELD].counts
    by_curve = family.bound([fixed, held], confidence=confidence, assumptions=(NOT_SHOWN, HELD_OUT))
    gaussian = gaussian_dp.epsilon_from_counts(fixed, delta=claim.delta, confidence=confidence)
    rates = thresholds.epsilon_held_out(
        *attacks.likelihood, delta=claim.delta, confidence=confidence, rng=attacks.rng(2)
    )
    rows = [
        BoundRow(name=BY_CURVE, bound=by_curve, heuristic=not (pooled and compared)),
        BoundRow(name=GAUSSIAN, bound=gaussian, heuristic=True),
        BoundRow(name=RATES, bound=rates, heuristic=not pooled),
    ]
    if _enough(attacks.learned):
        learned = thresholds.epsilon_held_out(
            *attacks.learned, delta=claim.delta, confidence=confidence, rng=attacks.rng(3)
        )
        rows.append(BoundRow(name=LEARNED, bound=learned, heuristic=not pooled))
    one = tests.get(SINGLE)
    if one is not None:
        bound = family.bound([one.counts], confidence=confidence, assumptions=(NOT_SHOWN,))
        rows.append(BoundRow(name=ONE_A_RUN, bound=bound, heuristic=not compared))
    return rows


def _micro_row(micro: MicroAudit | None, checks: Sequence[CheckRow]) -> list[BoundRow]:
    if micro is None:
        return []
    return [BoundRow(name=MICRO, bound=micro.bound, heuristic=not may_recompose(checks))]


def _curves(attacks: _Attacks, curve: TradeOffCurve, *, confidence: float) -> tuple[CurveRow, CurveRow]:
    """The likelihood score's curve at some false-positive rates, and the most that the claim permits."""
    present, absent = (np.sort(part) for part in attacks.likelihood)
    ranks = np.unique(np.geomspace(1, max(1, len(absent) - 1), RATES_SHOWN).astype(int))
    above = absent[len(absent) - 1 - np.minimum(ranks, len(absent) - 1)]
    hits = len(present) - np.searchsorted(present, above, side="right")
    wrong = len(absent) - np.searchsorted(absent, above, side="right")
    tail = 0.5 * (1.0 - confidence)
    rates = wrong / len(absent)
    shown = CurveRow(
        name="likelihood score",
        fpr=tuple(rates.tolist()),
        tpr=tuple((hits / len(present)).tolist()),
        lower=tuple(lower_limits(hits, len(present), tail=tail).tolist()),
        upper=tuple(upper_limits(hits, len(present), tail=tail).tolist()),
    )
    most = tuple(1.0 - curve(float(rate)) for rate in rates)
    return shown, CurveRow(name="permitted by the claim", fpr=shown.fpr, tpr=most)
