"""What audits of the runs of a folder found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clifftop.audit.estimators.values import rounded_down
from clifftop.report.page.blocks import Block, Details, Entry, Heading, Items, Paragraph, Section, StaticTable
from clifftop.report.wording import plain

if TYPE_CHECKING:
    from clifftop.audit.document import AuditDocument, CheckRow
    from clifftop.audit.estimators import LowerBound
    from clifftop.report.material import Material
    from clifftop.report.page.drawn import Drawn

_WHAT_IT_SAYS = (
    "An audit can refute a claim and never prove one. A bound that shows nothing is below the detection "
    "limit of its runs, the most that they could have shown; that says nothing about the true epsilon."
)


def audits_section(material: Material, drawn: Drawn) -> Section | None:
    """One part an audit: verdict, checks, bounds, curves."""
    if not material.audits:
        return None
    blocks: list[Block] = [Paragraph(text=_WHAT_IT_SAYS, cites=("nasr2023", "steinke2023"))]
    for place, audit in enumerate(material.audits):
        blocks += [
            Heading(text=f"{audit.subject} ({audit.kind}): {audit.verdict}"),
            *_paragraphs(audit),
            *drawn.charts(f"audit_curves_{place}", f"audit_bounds_{place}"),
            *_tables(audit),
        ]
    return Section(name="audits", title="Audits", blocks=tuple(blocks))


def _paragraphs(audit: AuditDocument) -> list[Block]:
    claim = (f"Claim: {audit.claim}.",) if audit.claim else ()
    reason = (f"{audit.reason[0].upper()}{audit.reason[1:]}.",) if audit.reason else ()
    said = " ".join((*claim, *reason))
    return [Paragraph(text=said)] if said else []


def _tables(audit: AuditDocument) -> list[Block]:
    found: list[Block] = []
    if audit.bounds:
        found.append(_bounds(audit))
    if audit.checks:
        failed = tuple(f"{check.name} failed: {check.found}; {check.must_hold}." for check in _failed(audit))
        if failed:
            found.append(Items(items=failed))
        found.append(Details(summary=f"{len(audit.checks)} checks", blocks=(_checks(audit),)))
    rest: list[Block] = []
    if audit.figures:
        rest.append(_figures(audit))
    if audit.notes:
        rest.append(Items(items=audit.notes))
    if rest:
        found.append(Details(summary="What to know to read it", blocks=tuple(rest)))
    return found


def _failed(audit: AuditDocument) -> list[CheckRow]:
    return [check for check in audit.checks if not check.passed]


def _bounds(audit: AuditDocument) -> StaticTable:
    rows = []
    for row in audit.bounds:
        shown = row.bound.detected
        rows.append(
            (
                Entry(text=row.name),
                Entry(
                    text=plain(rounded_down(row.bound.epsilon)) if shown else "below the detection limit",
                    value=row.bound.epsilon if shown else None,
                ),
                Entry(text=_limit(row.bound), value=row.bound.detection_limit),
                Entry(text="heuristic" if row.heuristic else f"{row.bound.confidence:.3g}"),
            )
        )
    delta = audit.bounds[0].bound.delta
    return StaticTable(
        caption=f"Lower bounds on epsilon at delta = {plain(delta)}",
        headers=("by", "epsilon at least", "detection limit", "confidence"),
        rows=tuple(rows),
    )


def _limit(bound: LowerBound) -> str:
    return plain(float(f"{bound.detection_limit:.4g}")) if math.isfinite(bound.detection_limit) else "none"


def _checks(audit: AuditDocument) -> StaticTable:
    return StaticTable(
        caption="Checks",
        headers=("check", "", "found", "p-value"),
        rows=tuple(
            (
                Entry(text=check.name),
                Entry(text="passed" if check.passed else "FAILED"),
                Entry(text=check.found),
                Entry(text="exact")
                if check.p_value is None
                else Entry(text=f"{check.p_value:.2g}", value=check.p_value),
            )
            for check in audit.checks
        ),
    )


def _figures(audit: AuditDocument) -> StaticTable:
    return StaticTable(
        caption="Other figures",
        headers=("figure", "value"),
        rows=tuple(
            (Entry(text=name), Entry(text=_figure(value), value=value)) for name, value in audit.figures
        ),
    )


def _figure(value: float) -> str:
    whole = math.isfinite(value) and value == round(value) and abs(value) < 1e9
    return f"{value:.0f}" if whole else plain(float(f"{value:.4g}"))
