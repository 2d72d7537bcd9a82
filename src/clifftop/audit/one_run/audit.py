"""One run, planned, trained, and judged."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.audit.document import BoundRow, CheckRow
from clifftop.audit.estimators import credible, gaussian_dp, one_run, thresholds
from clifftop.audit.estimators.mean_difference import epsilon_from_means
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_curve import CurveAudit
from clifftop.audit.estimators.one_run_family import epsilon_gaussian, epsilon_in_family
from clifftop.audit.estimators.one_run_power import (
    CURVE_AUDITS,
    MEANS,
    PURE,
    Expected,
    canaries_needed,
    expected_bounds,
)
from clifftop.audit.estimators.values import require_confidence
from clifftop.audit.one_run.protocol import Coins, OneRunTraining, Scores
from clifftop.audit.one_run.report import Needed, OneRunReport
from clifftop.audit.runs import NoiseFamily
from clifftop.audit.runs.certified import certified_curve
from clifftop.audit.runs.family import FAMILY
from clifftop.audit.threads import on_one_thread
from clifftop.codec import canonical_json

ERRORS = (2.0, 1.2, 1.05)
"""Claimed over true noise, for which the number of canaries needed is told."""
FEWEST = 20
RATE = 0.1
"""The false-positive rate whose order statistic is the threshold of the pooled rates."""


@final
@dataclass(frozen=True, kw_only=True)
class OneRunAudit:
    """What is fixed before the run. Made by `planned`.

    Attributes:
        training: trains once.
        expected: what each estimator is expected to show at best, with its numbers of guesses.
        coins_seed: draws the coins.
        confidence: of each bound on its own.
    """

    training: OneRunTraining
    expected: tuple[Expected, ...]
    coins_seed: int
    confidence: float

    @classmethod
    def planned(
        cls,
        training: OneRunTraining,
        *,
        confidence: float = 0.95,
        planned_for: float | None = None,
        coins_seed: int | None = None,
    ) -> OneRunAudit:
        """Fix the coins, and for each estimator the numbers of guesses that are best for an expected epsilon.

        Args:
            training: trains once.
            confidence: of each bound, and of the verdict.
            planned_for: the epsilon at which the numbers of guesses shall be best: by default the claimed
                one, for canaries that betray all; less where they betray less.
            coins_seed: of the coins; by default 128 bits from the operating system.

        Raises:
            ValueError: a number is out of its range, or there are too few canaries.
        """
        claim = training.claim
        if training.num_canaries < FEWEST:
            raise ValueError(
                f"one run needs at least {FEWEST} canaries to show anything, found "
                f"num_canaries={training.num_canaries}; 500 is a start"
            )
        return cls(
            training=training,
            expected=expected_bounds(
                claim.epsilon.upper if planned_for is None else planned_for,
                num_canaries=training.num_canaries,
                delta=claim.delta,
                confidence=require_confidence(confidence),
            ),
            coins_seed=secrets.randbits(128) if coins_seed is None else coins_seed,
            confidence=confidence,
        )

    @property
    def coins(self) -> Coins:
        """``(m,)``: which canaries are in the run."""
        rng = np.random.default_rng([self.coins_seed, 1])
        return next(iter(self._specs.values())).coins(rng)

    @property
    def registration(self) -> str:
        """A digest of the plan and the coins: published before a run, it shows later that they were fixed."""
        plan = (str(self.training.claim), self.expected, f"{self.coins_seed:x}", self.confidence)
        return hashlib.sha256(canonical_json(plan).encode()).hexdigest()

    @on_one_thread
    def run(self, *, seed: int | None = None) -> OneRunReport:
        """Train once and judge. ``seed`` keys the training, by default from the operating system.

        Raises:
            ValueError: the scores are not one a canary, or not finite.
        """
        begin = time.process_time()
        coins = self.coins
        scores = self.training.scores(coins, seed=secrets.randbits(128) if seed is None else seed)
        trained = time.process_time()
        bounds, checks = self._bounds(scores, coins), self.checks(scores)
        return OneRunReport(
            claim=self.training.claim,
            kind=self.training.kind,
            registration=self.registration,
            confidence=self.confidence,
            included=int(coins.sum()),
            expected=self.expected,
            checks=checks,
            bounds=bounds,
            needed=self._needed(),
            training_seconds=trained - begin,
            seconds=time.process_time() - begin,
        )

    def checks(self, scores: Scores) -> tuple[CheckRow, ...]:
        """The claimed curve against the guesses by these scores, ``(m,)``, of a run with these coins.

        By each test whose assumptions the canaries keep; these share the error.

        Raises:
            ValueError: the scores are not one a canary.
        """
        guaranteed = {name: audit for name, audit in CURVE_AUDITS.items() if self._guaranteed(audit)}
        tail = (1.0 - self.confidence) / len(guaranteed)
        coins, curve = self.coins, certified_curve(self.training.claim)
        rows: list[CheckRow] = []
        for name, audit in guaranteed.items():
            begin, spec = time.process_time(), self._specs[name]
            correct = spec.correct(scores, coins)
            test = audit.against(curve, spec, correct, confidence=1.0 - tail)
            rows.append(
                CheckRow(
                    name=f"claimed curve, {name}",
                    passed=not test.refuted,
                    found=f"{correct} of {spec.num_guesses} guesses right, {spec.num_canaries} canaries",
                    must_hold=f"so many are right with a chance above {tail:.3g} if the claim is true",
                    p_value=test.p_value,
                    seconds=time.process_time() - begin,
                )
            )
        return tuple(rows)

    @property
    def _specs(self) -> dict[str, OneRunSpec]:
        return {one.name: one.spec for one in self.expected if one.spec is not None}

    def _bounds(self, scores: Scores, coins: Coins) -> tuple[BoundRow, ...]:
        claim, specs = self.training.claim, self._specs
        options = {"delta": claim.delta, "confidence": self.confidence}
        rows = [BoundRow(name=PURE, bound=one_run.epsilon_one_run(specs[PURE], scores, coins, **options))]
        family, sampled = NoiseFamily(claim), claim.sampling_prob < 1
        for name, audit in CURVE_AUDITS.items():
            spec, heuristic = specs[name], not self._guaranteed(audit)
            correct = spec.correct(scores, coins)
            accounted = epsilon_in_family(
                audit, spec, correct, curve=lambda leak: family.curve(1.0 / leak),
                epsilon=lambda leak: family.epsilon(1.0 / leak), start=1.0 / claim.noise_multiplier,
                family=FAMILY, **options,
            )  # fmt: skip
            gaussian = epsilon_gaussian(audit, spec, correct, **options)
            rows += [
                BoundRow(name=f"{name}, accounted family", bound=accounted, heuristic=heuristic),
                BoundRow(name=f"{name}, Gaussian family", bound=gaussian, heuristic=heuristic or sampled),
            ]
        means = epsilon_from_means(scores, coins, **options)
        return (*rows, BoundRow(name=MEANS, bound=means, heuristic=True), *self._pooled(scores, coins))

    def _pooled(self, scores: Scores, coins: Coins) -> tuple[BoundRow, ...]:
        """Rates over all canaries, as if each were a run of its own."""
        claim = self.training.claim
        counts = gaussian_dp.counts_at_rank(scores[coins], scores[~coins], false_positive_rate=RATE)
        options = {"delta": claim.delta, "confidence": self.confidence}
        exact = thresholds.epsilon_from_counts(counts, assumptions=(gaussian_dp.RANK,), **options)
        joint = credible.epsilon_jointly_credible(counts, **options)
        return (
            BoundRow(
                name="pooled rates, Clopper-Pearson",
                bound=exact,
                heuristic=not self.training.kind.independent,
            ),
            BoundRow(name="pooled rates, joint Bayes (credible)", bound=joint, heuristic=True),
        )

    def _guaranteed(self, audit: CurveAudit) -> bool:
        return self.training.kind.independent or not audit.needs_independence

    def _needed(self) -> tuple[Needed, ...]:
        claim = self.training.claim
        options = {"epsilon": claim.epsilon.upper, "delta": claim.delta, "confidence": self.confidence}
        return tuple(
            Needed(estimator=name, factor=factor, canaries=canaries_needed(factor, audit=audit, **options))
            for name, audit in (*CURVE_AUDITS.items(), (MEANS, None))
            for factor in ERRORS
        )
