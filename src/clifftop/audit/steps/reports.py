"""What a set of checks said, whatever they looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from clifftop.audit.document import AuditDocument, AuditKind, Verdict
from clifftop.audit.steps.findings import StepCheck


@dataclass(frozen=True, kw_only=True)
class ChecksReport(ABC):
    """What checks said. Nothing here proves anything private.

    Attributes:
        checks: all that were made, in order.
        level: the probability, at most, that what keeps its claim fails a statistical check.
        not_checked: what could not be looked at, and why.
        seconds: how long all took.
    """

    checks: tuple[StepCheck, ...]
    level: float
    not_checked: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def findings(self) -> tuple[StepCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @abstractmethod
    def document(self, subject: str) -> AuditDocument:
        """The audit in the form of all audits."""

    def as_document(
        self, kind: AuditKind, subject: str, *, claim: str, sound: str, notes: tuple[str, ...]
    ) -> AuditDocument:
        """The document; ``sound`` is the reason where nothing failed."""
        failed = ", ".join(check.name for check in self.findings)
        return AuditDocument(
            kind=kind,
            subject=subject,
            claim=claim,
            verdict=Verdict.NOT_REFUTED if self.ok else Verdict.REFUTED,
            reason=f"failed: {failed}" if failed else sound,
            checks=tuple(check.row() for check in self.checks),
            notes=(*notes, *(f"not checked: {what}" for what in self.not_checked)),
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        """One line a check, failed ones marked."""
        lines = [str(check.row()) for check in self.checks]
        lines += [f"--   not checked: {what}" for what in self.not_checked]
        return "\n".join([*lines, f"{self.seconds:.1f} s; false alarms in at most {self.level:g} of audits"])
