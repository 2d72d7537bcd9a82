"""How every audit ends: printed, kept if asked, and an exit code that a build can go by."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop.cli.audit.settings import Save
from clifftop.cli.exits import EXIT_DOES_NOT_HOLD, EXIT_OK
from clifftop.cli.output import print_json, print_line
from clifftop.files import FileWriteError

if TYPE_CHECKING:
    from clifftop.audit.document import AuditDocument, BoundRow, CheckRow, CurveRow

__all__ = ["Save", "as_lines", "as_mapping", "finish"]


def finish(document: AuditDocument, *, as_json: bool, save: Path | None, table: str = "") -> int:
    """Print an audit, with a table for its figures, and keep it; 1 if it refutes the claim, 0 otherwise."""
    from clifftop.audit.document import Verdict

    if as_json:
        print_json(as_mapping(document))
    else:
        for line in as_lines(document, table):
            print_line(line)
    if save is not None:
        kept = _kept(document, save)
        if not as_json:
            print_line(kept)
    return EXIT_DOES_NOT_HOLD if document.verdict is Verdict.REFUTED else EXIT_OK


def _kept(document: AuditDocument, save: Path) -> str:
    """Keep it, after it was printed: a disk that is full by then loses no figure. What to say of it."""
    from clifftop.lab.store import STORE_FILE

    try:
        kept = document.save(save)
    except FileWriteError:
        raise
    except OSError as error:
        raise ValueError(
            f"--save must name a folder that can be written, found {str(save)!r} ({error.strerror}); the "
            "audit is not kept, name another folder"
        ) from error
    shown = f"; `clifftop report {save}` shows it" if (save / STORE_FILE).is_file() else ""
    return f"kept as {kept}{shown}"


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
    lines += [table] if table else [f"{name}: {in_full(value)}" for name, value in document.figures]
    lines += [f"-- {note}" for note in document.notes]
    return [*lines, f"{document.seconds:.1f} s", f"{document.verdict}: {document.reason}"]


def in_full(value: float) -> str:
    """A figure with four digits; a whole number, such as a count of runs, with all of its.

    >>> in_full(19671.0), in_full(2.28437), in_full(1.84e9), in_full(math.inf)
    ('19671', '2.284', '1.84e+09', 'inf')
    """
    whole = math.isfinite(value) and value == round(value) and abs(value) < 1e9
    return f"{value:.0f}" if whole else f"{value:.4g}"


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
