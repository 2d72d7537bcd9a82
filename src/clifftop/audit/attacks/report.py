"""All attacks on one setting, beside what its claim permits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clifftop.accounting.views import profile
from clifftop.audit.attacks.curves import DRAWS, RATES, MembershipCurve, membership_curve
from clifftop.audit.attacks.membership import ALL, MembershipAttack
from clifftop.audit.attacks.observations import Observations
from clifftop.audit.attacks.permitted import above, permitted_by_epsilon, permitted_by_event
from clifftop.audit.attacks.targets import HeldOut, curve_from_targets, epsilon_from_targets
from clifftop.audit.document import CLAIMED, AuditDocument, AuditKind, BoundRow, CheckRow, CurveRow, Verdict
from clifftop.audit.estimators.values import LowerBound, require_confidence
from clifftop.events import DpEvent, NeighboringRelation

RELATION = NeighboringRelation.REPLACE_ONE
"""By which two parts of one size of a pool differ."""
POOLED = "curves pool all models and records; their intervals are approximate and hold point by point"
BLACK_BOX = "an attack on outputs shows some of what leaks; what it does not show may leak all the same"
CHOSEN = (
    "the verdict rests on half of the models as targets; which attack and threshold to judge them by was "
    "chosen on the other half"
)
HALVES = "bound and claimed curve are tested with half of the error that the confidence allows each"
FEWEST_WRONG = 20
"""False positives from which on a rate says something."""


@final
@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """What membership attacks reach on models of one setting.

    Attributes:
        curves: of every attack.
        bound: the lower bound on epsilon for replaced records, whatever attack shows it.
        claimed_curve: whether the event's own trade-off curve is beaten; None without an event.
        permitted: the most that the claim permits at the rates of all curves; None without a claim.
        exceeding: by attack, false-positive rates where even the lower limit is above what is permitted.
        epsilon: the claim for replaced records, or None.
        delta: at which epsilon is meant.
        models: M.
        records: N.
        seconds: CPU time of attacking.
    """

    curves: tuple[MembershipCurve, ...]
    bound: LowerBound
    claimed_curve: CheckRow | None
    permitted: CurveRow | None
    exceeding: tuple[tuple[str, tuple[float, ...]], ...]
    epsilon: float | None
    delta: float
    models: int
    records: int
    seconds: float

    @property
    def refuted(self) -> bool:
        """Whether the claim is false, at the confidence that was asked for."""
        beaten = self.claimed_curve is not None and not self.claimed_curve.passed
        return beaten or (self.epsilon is not None and self.bound.epsilon > self.epsilon)

    @property
    def ok(self) -> bool:
        """Whether nothing refutes the claim."""
        return not self.refuted

    def curve(self, name: str) -> MembershipCurve:
        """The curve of the attack with this name. Errors: KeyError."""
        for curve in self.curves:
            if curve.name == name:
                return curve
        raise KeyError(f"an attack must be one of {[curve.name for curve in self.curves]}, found {name!r}")

    def table(self) -> str:
        """The attacks as text, a line each."""
        titles = ("attack", "AUC", *(f"TPR at {rate:.1%} FPR" for rate in RATES), "advantage")
        rows = [titles, *((c.name, str(c.auc), *map(str, c.at), str(c.advantage)) for c in self.curves)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(titles))]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def document(self, subject: str) -> AuditDocument:
        """The audit in the form of all audits."""
        claim = ""
        if self.epsilon is not None:
            claim = f"epsilon {self.epsilon:.4g} at delta {self.delta:g} for a replaced record"
        verdict = Verdict.REFUTED if self.refuted else Verdict.NOT_REFUTED
        return AuditDocument(
            kind=AuditKind.MODEL,
            subject=subject,
            claim=claim,
            verdict=Verdict.NO_CLAIM if self.epsilon is None else verdict,
            reason=self._reason(),
            checks=() if self.claimed_curve is None else (self.claimed_curve,),
            bounds=(BoundRow(name="attacks, a number a target", bound=self.bound),),
            curves=tuple(curve.row() for curve in self.curves),
            permitted=self.permitted,
            figures=self._figures(),
            notes=(POOLED, CHOSEN, *self._halves(), BLACK_BOX, *self._exceeding()),
            seconds=self.seconds,
        )

    def _reason(self) -> str:
        first = self.curves[0]
        seen = f"{first.name} reaches AUC {first.auc} on {self.models} models and {self.records} records"
        if self.epsilon is None:
            return f"{seen}; no claim to refute"
        if self.claimed_curve is not None and not self.claimed_curve.passed:
            return f"{seen}; targets beat the trade-off curve of the claim"
        return f"{seen}; {'the bound passes' if self.refuted else 'no guaranteed test refutes'} the claim"

    def _halves(self) -> tuple[str, ...]:
        return () if self.claimed_curve is None else (HALVES,)

    def _figures(self) -> tuple[tuple[str, float], ...]:
        claimed = () if self.epsilon is None else ((CLAIMED, self.epsilon),)
        figures = [*claimed]
        for curve in self.curves:
            figures += [(f"{curve.name}: AUC", curve.auc.value)]
            for rate, at in zip(RATES, curve.at, strict=True):
                figures += [(f"{curve.name}: TPR at {rate:.1%} FPR", at.value)] if at.resolved else []
        return tuple(figures)

    def _exceeding(self) -> tuple[str, ...]:
        return tuple(
            f"{name} is above what the claim permits, beyond its approximate interval, from a false-positive "
            f"rate of {min(rates):.2g} on: look closer"
            for name, rates in self.exceeding
            if rates
        )


def attack_models(
    seen: Observations,
    *,
    attacks: Sequence[MembershipAttack] = ALL,
    event: DpEvent | None = None,
    epsilon: float | None = None,
    delta: float = 1e-5,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> AttackReport:
    """Attack every model with all others as shadows.

    Args:
        seen: what the models say of the pool.
        attacks: to mount; the verdict goes by what half of the models choose of them.
        event: what one training is accounted as, for the permitted curve and the test of it; None for none.
        epsilon: the claim for replaced records at ``delta``; None for none.
        delta: at which epsilon is meant.
        confidence: of the verdict: of the bound, or, with an event, of bound and claimed curve together.
        draws: of the curves' bootstrap.
        seed: of the bootstrap.

    Errors: ValueError.
    """
    start = time.process_time()
    curves = tuple(
        membership_curve(attack.scores(seen), seen.member, name=attack.name, draws=draws, seed=seed)
        for attack in attacks
    )
    rates = tuple(sorted({float(rate) for curve in curves for rate in curve.fpr}))
    permitted = _permitted(rates, event, epsilon, delta)
    most = {} if permitted is None else dict(zip(permitted.fpr, permitted.tpr, strict=True))
    least = FEWEST_WRONG / int((~seen.member).sum())
    exceeding = tuple((c.name, _above(c.row(), most, least)) for c in curves) if most else ()
    held, error = HeldOut(seen=seen, attacks=attacks), 1.0 - require_confidence(confidence)
    claimed_curve = None
    if event is not None:
        error /= 2.0
        claimed = profile(event, neighboring_relation=RELATION)
        claimed_curve = curve_from_targets(held, claimed, level=error)
    return AttackReport(
        curves=curves,
        bound=epsilon_from_targets(held, delta=delta, confidence=1.0 - error),
        claimed_curve=claimed_curve,
        permitted=permitted,
        exceeding=exceeding,
        epsilon=epsilon,
        delta=delta,
        models=seen.models,
        records=seen.records,
        seconds=time.process_time() - start,
    )


def _permitted(
    rates: Sequence[float], event: DpEvent | None, epsilon: float | None, delta: float
) -> CurveRow | None:
    if event is not None:
        return permitted_by_event(event, rates, neighboring_relation=RELATION)
    return None if epsilon is None else permitted_by_epsilon(epsilon, delta, rates)


def _above(curve: CurveRow, most: dict[float, float], least: float) -> tuple[float, ...]:
    allowed = CurveRow(name="permitted", fpr=curve.fpr, tpr=tuple(most[rate] for rate in curve.fpr))
    return above(curve, allowed, least=least)
