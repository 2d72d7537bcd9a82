"""A reconstruction curve as an audit's document."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clifftop.audit.document import AuditDocument, AuditKind, BoundRow, CheckRow, Verdict
from clifftop.audit.inversion.measures import Identification

if TYPE_CHECKING:
    from clifftop.audit.inversion.curve import ReconstructionCurve, ReconstructionRow

NOTES = (
    "failing to invert says nothing about epsilon: an attacker with a list of candidates needs no inversion",
    "one step with a batch of one, in which the attacker knows the model, the clip norm and all else",
    "the permitted rate holds for every attack: 1 - f(1/n) of the step's own trade-off curve (Hayes 2023)",
)


def document_of(curve: ReconstructionCurve, subject: str) -> AuditDocument:
    """See `ReconstructionCurve.document`."""
    tests = [(row, kind, one) for row in curve.rows for kind, one in _identifications(row)]
    tail = (1.0 - curve.confidence) / max(1, len(tests))
    checks = tuple(_check(row, kind, one, tail) for row, kind, one in tests)
    broken = [check for check in checks if not check.passed]
    kept = f"each of {len(checks)} identification rates may be what is permitted"
    reason = f"{broken[0].name}: {broken[0].found}" if broken else kept
    return AuditDocument(
        kind=AuditKind.MODEL,
        subject=subject,
        claim=f"a step shows which of {curve.candidates} is its example no more often than its noise permits",
        verdict=Verdict.REFUTED if broken else Verdict.NOT_REFUTED,
        reason=reason,
        checks=checks,
        bounds=tuple(_bounds(curve)),
        figures=tuple(figure for row in curve.rows for figure in _figures(row)),
        notes=(f"checks hold together at confidence {curve.confidence:g}", *NOTES),
        seconds=curve.seconds,
    )


def _identifications(row: ReconstructionRow) -> tuple[tuple[str, Identification], ...]:
    return (("image", row.identified), ("gradient", row.matched))


def _title(row: ReconstructionRow) -> str:
    return f"{row.attack}, C={row.clip_norm:g}, sigma={row.noise_multiplier:g}"


def _check(row: ReconstructionRow, kind: str, one: Identification, tail: float) -> CheckRow:
    low, high = one.interval
    return CheckRow(
        name=f"identified by {kind}: {_title(row)}",
        passed=not one.exceeds(row.permitted, tail=tail),
        found=f"{one.successes} of {one.trials} ({low:.4f} to {high:.4f}; chance {one.chance:g})",
        must_hold=f"at most {row.permitted:.4f}",
    )


def _bounds(curve: ReconstructionCurve) -> list[BoundRow]:
    """One a clip norm and noise: the attack with the list is the same for all attacks of a setting."""
    settings = {(row.clip_norm, row.noise_multiplier): row for row in curve.rows}
    return [
        BoundRow(
            name=f"likeliest of {curve.candidates}, C={clip:g}, sigma={sigma:g} (epsilon {row.epsilon:.4g})",
            bound=row.matched.epsilon(delta=curve.delta),
        )
        for (clip, sigma), row in settings.items()
        if math.isfinite(row.epsilon)
    ]


def _figures(row: ReconstructionRow) -> list[tuple[str, float]]:
    title = _title(row)
    found = [
        (f"mean squared error: {title}", row.mean_squared_error),
        (f"PSNR in dB: {title}", row.psnr),
        (f"cosine: {title}", row.cosine),
        (f"residual cosine: {title}", row.residual_cosine),
        (f"labels found: {title}", row.labels),
    ]
    return [(name, value) for name, value in found if math.isfinite(value)]
