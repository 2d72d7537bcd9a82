"""What the audit of one run found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from clifftop.audit.document import CLAIMED, AuditDocument, AuditKind, BoundRow, CheckRow, Verdict
from clifftop.audit.estimators.one_run_power import Expected
from clifftop.audit.estimators.values import rounded_down
from clifftop.audit.one_run.protocol import CanaryKind
from clifftop.audit.runs import TrainingClaim

HEADLINE = {True: "order statistics, accounted family", False: "f-DP, accounted family"}
"""The bound told first, by whether canaries are independent: fixed, as the largest has no confidence."""
EACH = "each bound holds at its confidence by itself; their largest does not"
LITTLE = "one run shows a part of what leaks, at most its ceiling; passing proves nothing"
SHARED = "canaries that are not independent can make rows marked heuristic too large, or too small"


@final
@dataclass(frozen=True, kw_only=True)
class Needed:
    """How many canaries would refute the claim about every other time.

    Attributes:
        estimator: its name.
        factor: claimed over true noise.
        canaries: how many, of canaries that betray all; None where no number does, or none up to a million.
    """

    estimator: str
    factor: float
    canaries: int | None


@final
@dataclass(frozen=True, kw_only=True)
class OneRunReport:
    """The evidence of one run.

    Attributes:
        claim: what was audited.
        kind: what the canaries were.
        registration: digest of what was fixed before the run.
        confidence: of each bound, and of the verdict over all checks.
        included: how many of the canaries the coins let in.
        expected: what was planned.
        checks: tests of the claimed curve with a guarantee.
        bounds: lower bounds on epsilon.
        needed: canaries to see an error.
        training_seconds: CPU time of training and scoring.
        seconds: CPU time in all.
    """

    claim: TrainingClaim
    kind: CanaryKind
    registration: str
    confidence: float
    included: int
    expected: tuple[Expected, ...]
    checks: tuple[CheckRow, ...]
    bounds: tuple[BoundRow, ...]
    needed: tuple[Needed, ...]
    training_seconds: float
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing against the claim was found."""
        return all(check.passed for check in self.checks)

    def bound(self, name: str) -> BoundRow:
        """A bound by its name. Errors: KeyError."""
        for row in self.bounds:
            if row.name == name:
                return row
        raise KeyError(f"a bound must be one of {', '.join(row.name for row in self.bounds)}, found {name!r}")

    def share(self, name: str) -> float:
        """A bound as a part of the claimed epsilon. Errors: KeyError."""
        return self.bound(name).bound.epsilon / self.claim.epsilon.upper

    def document(self, subject: str) -> AuditDocument:
        """The audit in the form that all audits have."""
        return AuditDocument(
            kind=AuditKind.RUN,
            subject=subject,
            claim=str(self.claim),
            verdict=Verdict.NOT_REFUTED if self.ok else Verdict.REFUTED,
            reason=self._reason(),
            checks=self.checks,
            bounds=self.bounds,
            figures=self._figures(),
            notes=self._notes(),
            seconds=self.seconds,
        )

    def _reason(self) -> str:
        failed = [check.name for check in self.checks if not check.passed]
        if failed:
            return (
                f"one run with {self.kind.name} refutes the claim at confidence {self.confidence:g} by "
                f"{'; '.join(failed)}"
            )
        told = self.bound(HEADLINE[self.kind.independent])
        shown = (
            f"epsilon >= {rounded_down(told.bound.epsilon):.4g}"
            if told.bound.detected
            else "nothing above the detection limit"
        )
        claimed = f"{self.claim.epsilon.upper:.3g} claimed"
        return f"one run with {self.kind.name} shows {shown} by {told.name}, of {claimed}"

    def _figures(self) -> tuple[tuple[str, float], ...]:
        spec = next(one.spec for one in self.expected if one.spec is not None)
        figures = [
            (CLAIMED, self.claim.epsilon.upper),
            ("canaries", float(spec.num_canaries)),
            ("canaries included", float(self.included)),
        ]
        for one in self.expected:
            if one.spec is not None:
                figures.append((f"guesses, {one.name}", float(one.spec.num_guesses)))
            figures.append((f"planned bound, {one.name}", one.epsilon))
        for need in self.needed:
            name = f"canaries to see {need.factor:g} times too little noise, {need.estimator}"
            figures.append((name, math.inf if need.canaries is None else float(need.canaries)))
        return (*figures, ("CPU seconds of training", self.training_seconds))

    def _notes(self) -> tuple[str, ...]:
        shared = () if self.kind.independent else (SHARED,)
        below = [row.name for row in self.bounds if not row.bound.detected]
        nothing = (f"below the detection limit: {'; '.join(below)}",) if below else ()
        sees = f"{self.kind.name} see: {self.kind.sees}"
        return (sees, *nothing, EACH, *shared, LITTLE, f"fixed before the run: sha256 {self.registration}")
