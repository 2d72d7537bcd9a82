"""What any audit found, in one form: for JSON, for a page, for a build that must fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import final

from clifftop.audit.estimators.values import LowerBound
from clifftop.codec import canonical_json, decode
from clifftop.files import write_all

FOLDER = "audits"
"""Where a folder of runs keeps its audits, one JSON file each."""
CLAIMED = "claimed epsilon"
"""The figure of a document that holds the epsilon that was claimed."""


class AuditKind(StrEnum):
    """What was audited."""

    STEP = "step"
    TRAINING = "training"
    RUN = "run"
    MODEL = "model"
    ACCOUNTANT = "accountant"


class Verdict(StrEnum):
    """What the evidence says of the claim. Nothing here ever proves a claim."""

    REFUTED = "refuted"
    NOT_REFUTED = "not refuted"
    NO_CLAIM = "no claim"


@final
@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One check that a subject passed or failed.

    Attributes:
        name: of the check.
        passed: whether nothing against it was found.
        found: what was seen, in words.
        must_hold: what must hold, in words.
        p_value: of a statistical check; None for an exact one.
        seconds: how long it took.
    """

    name: str
    passed: bool
    found: str
    must_hold: str
    p_value: float | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line, failed ones marked.

        >>> print(CheckRow(name="rate", passed=False, found="0.2", must_hold="the rate is 0.1"))
        FAIL rate: 0.2 -- the rate is 0.1
        """
        if not self.passed:
            return f"FAIL {self.name}: {self.found} -- {self.must_hold}"
        if self.p_value is None:
            return f"ok   {self.name}: {self.found}"
        return f"ok   {self.name}: nothing (p = {self.p_value:.2g}; most notable: {self.found})"


@final
@dataclass(frozen=True, kw_only=True)
class BoundRow:
    """A lower bound on epsilon, by name; ``heuristic`` where it has no guarantee and refutes nothing."""

    name: str
    bound: LowerBound
    heuristic: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """One curve of true against false positives; ``lower`` and ``upper`` are pointwise limits, or empty.

    Attributes:
        name: whose curve it is.
        fpr: rising false-positive rates.
        tpr: the true-positive rate at each.
        lower: lower limit of ``tpr`` at each, or empty.
        upper: upper limit, or empty.
    """

    name: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    lower: tuple[float, ...] = ()
    upper: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        sizes = {len(self.fpr), len(self.tpr)} | {len(limit) for limit in (self.lower, self.upper) if limit}
        if len(sizes) != 1:
            raise ValueError(
                f"a curve needs as many true as false positive rates, found lengths {sorted(sizes)} in "
                f"{self.name!r}; give one limit a point, or none"
            )


@final
@dataclass(frozen=True, kw_only=True)
class AuditDocument:
    """An audit: its subject, the claim, the evidence and what follows.

    Attributes:
        kind: what was audited.
        subject: its name, such as ``"my_audit:step"``; a file name is made of it.
        claim: the claim in one line; empty where there is none.
        verdict: what follows for the claim.
        reason: why, in one line.
        checks: checks passed and failed.
        bounds: lower bounds on epsilon.
        curves: what attacks reached.
        permitted: the most that the claim permits any attack, or None.
        figures: other numbers, by name.
        notes: what to know to read it: assumptions, what was not looked at.
        seconds: how long it took.
    """

    kind: AuditKind
    subject: str
    claim: str
    verdict: Verdict
    reason: str
    checks: tuple[CheckRow, ...] = ()
    bounds: tuple[BoundRow, ...] = ()
    curves: tuple[CurveRow, ...] = ()
    permitted: CurveRow | None = None
    figures: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def save(self, folder: Path) -> Path:
        """Write it into ``folder/audits``; an earlier audit of the same kind and subject is replaced.

        Raises:
            FileWriteError: the folder cannot be written.
        """
        where = folder / FOLDER
        where.mkdir(parents=True, exist_ok=True)
        name = f"{self.kind}-{''.join(c if c.isalnum() else '-' for c in self.subject)}.json"
        write_all(where, {name: canonical_json(self).encode("ascii")})
        return where / name


def load_audits(folder: Path) -> Iterator[AuditDocument]:
    """The audits that ``folder`` keeps, by name of their file.

    Raises:
        ValueError: a file holds none; one line that names it.
    """
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            yield decode(json.loads(path.read_text()), AuditDocument)
        except ValueError as error:
            raise ValueError(
                f"{path}: an audit's file must hold an audit, found {error}; delete it and audit again"
            ) from error
