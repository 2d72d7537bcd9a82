"""What the audit of a training found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from clifftop.audit.document import (
    CLAIMED,
    AuditDocument,
    AuditKind,
    BoundRow,
    CheckRow,
    CurveRow,
    Verdict,
)
from clifftop.audit.runs.checks import may_compare, may_pool
from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.micro import MicroAudit
from clifftop.audit.runs.power import PowerRow

BLIND = 0.5
"""A canary that adds less than this part of the clip norm was not where the audit looked."""
POOLED = (
    "canaries of one run are counted as independent: so they are for canaries on axes of their own under "
    "independent noise and draws, which the checks look at; the bound of one canary a run does without"
)
AFTER_CLIPPING = (
    "how gradients are made and clipped is not seen where canaries are added after clipping; check_step "
    "looks at that"
)
PASSING = "a training that passes is not proven private: an audit bounds leakage from below"


@final
@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The evidence on a training's claim.

    Attributes:
        claim: what was audited.
        runs: R, how many models were trained.
        num_canaries: k in each of them.
        level: chance, at most, that a training which does as it claims is refuted, over all checks.
        confidence: of each bound on its own.
        checks: all tests; each may fail with a share of ``level``.
        bounds: lower bounds on epsilon.
        micro: the mechanism's parts, measured; None without known draws.
        curve: true against false positives of the likelihood score.
        permitted: the most that the claim permits.
        power: what it takes to see an error.
        training_seconds: CPU time of training and scoring.
        seconds: CPU time in all.
    """

    claim: TrainingClaim
    runs: int
    num_canaries: int
    level: float
    confidence: float
    checks: tuple[CheckRow, ...]
    bounds: tuple[BoundRow, ...]
    micro: MicroAudit | None
    curve: CurveRow
    permitted: CurveRow
    power: tuple[PowerRow, ...]
    training_seconds: float
    seconds: float

    @property
    def findings(self) -> tuple[CheckRow, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def ok(self) -> bool:
        """Whether nothing against the claim was found."""
        return not self.findings

    @property
    def canary_runs(self) -> int:
        """Canaries times runs."""
        return self.runs * self.num_canaries

    def bound(self, name: str) -> BoundRow:
        """A bound by its name. Errors: KeyError."""
        rows = {row.name: row for row in self.bounds}
        if name not in rows:
            raise KeyError(f"a bound must be one of {', '.join(rows)}, found {name!r}")
        return rows[name]

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
            curves=(self.curve,),
            permitted=self.permitted,
            figures=self._figures(),
            notes=self._notes(),
            seconds=self.seconds,
        )

    def _reason(self) -> str:
        if self.ok:
            return (
                f"{len(self.checks)} checks over {self.runs} runs with {self.num_canaries} canaries found "
                f"nothing; one that does as it claims fails any with a chance of at most {self.level:g}"
            )
        named = "; ".join(check.name for check in self.findings)
        return f"{len(self.findings)} of {len(self.checks)} checks failed: {named}"

    def _figures(self) -> tuple[tuple[str, float], ...]:
        figures = [
            (CLAIMED, self.claim.epsilon.upper),
            ("runs", float(self.runs)),
            ("canaries a run", float(self.num_canaries)),
        ]
        if self.micro is not None:
            figures += [
                ("noise, in clip norms", self.micro.noise),
                ("share of a canary, in clip norms", self.micro.share),
                ("sampling rate", self.micro.rate),
            ]
        for row in self.power:
            figures += [
                (f"canary-runs to see {row.missing:.0%} less noise by its scale", row.by_noise_scale),
                (f"canary-runs to see {row.missing:.0%} less noise by the claimed curve", row.by_curve),
            ]
        return (*figures, ("CPU seconds of training", self.training_seconds))

    def _notes(self) -> tuple[str, ...]:
        notes = [POOLED, AFTER_CLIPPING, *(row.sentence(self.canary_runs) for row in self.power)]
        if not may_compare(self.checks):
            notes.insert(
                0,
                "bounds by the noise family assume noise and draws of the claimed kind, which these are not "
                f"({', '.join(check.name for check in self.findings)}): they are no guarantee",
            )
        if not may_pool(self.checks):
            notes.insert(
                0,
                "bounds that pool canaries assume that these are independent, which is false here "
                f"({', '.join(check.name for check in self.findings)}): they are no guarantee",
            )
        if self.micro is None:
            notes.append(
                "the sampler's draws are not known, so rate, share and participation were not checked"
            )
        elif self.micro.share < BLIND:
            notes.insert(
                0,
                f"a canary that was drawn added {self.micro.share:.3g} clip norms instead of 1: the audit "
                "hardly sees its canaries, and a bound below the claim says little",
            )
        over = [row.name for row in self.bounds if row.bound.epsilon > self.claim.epsilon.upper]
        if over and self.ok:
            notes.append(
                f"above the claim, yet no refutation at level {self.level:g}: {', '.join(over)}; each "
                f"errs with a chance of {1.0 - self.confidence:.2g}, or by its assumptions; audit more runs"
            )
        return (*notes, PASSING)
