"""How every audit ends: printed, kept if asked, and an exit code that a build can go by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.output import print_json, print_line

if TYPE_CHECKING:
    from clifftop.audit.document import AuditDocument, BoundRow, CheckRow, CurveRow

Save = Annotated[Path | None, Parameter(name="--save")]
"""The folder of runs that keeps the audit."""


def finish(document: AuditDocument, *, as_json: bool, save: Path | None, table: str = "") -> int:
    """Print an audit, with a table for its figures, and keep it; 1 if it refutes the claim, 0 otherwise."""
    from clifftop.audit.document import Verdict

    kept = None if save is None else document.save(save)
    if as_json:
        print_json(as_mapping(document))
    else:
        for line in as_lines(document, table):
            print_line(line)
        if kept is not None:
            print_line(f"kept as {kept}; `clifftop report {save}` shows it")
    return EXIT_DOES_NOT_HOLD if document.verdict is Verdict.REFUTED else EXIT_OK


def as_mapping(document: AuditDocument) -> dict[str, Any]:
    """The audit as plain JSON; a bound that shows nothing has no epsilon."""
    from clifftop.audit.document import Verdict

    return {
        "kind": str(document.kind),
        "subject": document.subject,
        "ok": document.verdict is not Verdict.REFUTED,
        "verdict": str(document.verdict),
        "claim": document.claim,
        "reason": document.reason,
        "checks": [_check(check) for check in document.checks],
        "bounds": [_bound(row) for row in document.bounds],
        "curves": [_curve(curve) for curve in document.curves],
        "permitted": None if document.permitted is None else _curve(document.permitted),
        "figures": dict(document.figures),
        "notes": list(document.notes),
        "seconds": round(document.seconds, 3),
    }


def as_lines(document: AuditDocument, table: str = "") -> list[str]:
    """The audit for people: checks, bounds, figures, and the verdict last."""
    lines = [f"{document.kind} {document.subject}"]
    lines += [f"claim: {document.claim}"] if document.claim else []
    lines += [str(check) for check in document.checks]
    lines += [f"{row.name}{' (heuristic)' if row.heuristic else ''}: {row.bound}" for row in document.bounds]
    lines += [table] if table else [f"{name}: {value:.4g}" for name, value in document.figures]
    lines += [f"-- {note}" for note in document.notes]
    return [*lines, f"{document.seconds:.1f} s", f"{document.verdict}: {document.reason}"]


def _check(check: CheckRow) -> dict[str, Any]:
    return {
        "name": check.name,
        "passed": check.passed,
        "found": check.found,
        "must_hold": check.must_hold,
        "p_value": check.p_value,
        "seconds": round(check.seconds, 4),
    }


def _bound(row: BoundRow) -> dict[str, Any]:
    bound = row.bound
    return {
        "name": row.name,
        "heuristic": row.heuristic,
        "detected": bound.detected,
        "epsilon": bound.epsilon if bound.detected else None,
        "delta": bound.delta,
        "confidence": bound.confidence,
        "detection_limit": bound.detection_limit,
        "assumptions": list(bound.assumptions),
        "detail": dict(bound.detail),
    }


def _curve(curve: CurveRow) -> dict[str, Any]:
    return {
        "name": curve.name,
        "fpr": list(curve.fpr),
        "tpr": list(curve.tpr),
        "lower": list(curve.lower),
        "upper": list(curve.upper),
    }
