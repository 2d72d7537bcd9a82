"""What attacks reached beside what the claim permits, and lower bounds on epsilon beside the claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clifftop.audit.document import CLAIMED, AuditKind
from clifftop.report.drawings.axes import log_domain, log_ticks
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered
from clifftop.report.drawings.marks import HUES, ONCE, ZOOM, bottom_legend

if TYPE_CHECKING:
    from clifftop.audit.document import AuditDocument, CurveRow

Json = dict[str, Any]
LEAST_RATE = 1e-3
"""Rates below are drawn here; a pool of some thousand records says nothing about smaller ones."""
MOST_POINTS = 200
_BELOW = 1e-9
"""Where nothing at all was found: outside the plot, since a log scale has no zero."""
PERMITTED = "the most that the claim permits"
SHOWN, HEURISTIC = "guaranteed", "heuristic"
_DASHES = ([1, 0], [9, 2, 2, 2], [2, 2])
"""Lines of the first hues, and of those that come after the last hue, in the same hues again."""
_STROKES = {"symbolType": "stroke", "symbolSize": 600, "symbolStrokeWidth": 2}
_MEMBERS = "The share of members found against the share of others taken for members"
_CANARIES = "The share of present canaries found against the share of absent ones taken for present"


def draw_audits(audits: Sequence[AuditDocument]) -> tuple[Drawing, ...]:
    """A chart of curves and one of bounds for each audit that has some."""
    found = [draw(audit, place) for place, audit in enumerate(audits) for draw in (_curves, _bounds)]
    return tuple(drawing for drawing in found if drawing is not None)


# ---------------------------------------------------------------- curves


def _curves(audit: AuditDocument, place: int) -> Drawing | None:
    if not audit.curves:
        return None
    name = f"audit_curves_{place}"
    permitted = () if audit.permitted is None else (audit.permitted,)
    least = _least(audit.curves)
    tables = {
        name: _table(audit.curves, least),
        f"{name}_permitted": _table(permitted, least, name=PERMITTED),
    }
    counted = _CANARIES if audit.kind is AuditKind.RUN else _MEMBERS
    said = " Dashed: the most that the claim permits any attack." if permitted else ""
    return Drawing(
        name=name,
        title=f"What attacks reach: {audit.subject}",
        caption=f"{counted}, both on log scales, since what an attack finds with hardly "
        f"any false alarm is what harms.{said} Dotted: guessing. Bands: pointwise limits.",
        panels=(Panel(title="", view=_curves_view(name, audit.curves, least), height=400, paper=(560, 440)),),
        data=tables,
    )


def _curves_view(name: str, curves: Sequence[CurveRow], least: float) -> Json:
    x, y = _rate("fpr", "false-positive rate", least), _rate("tpr", "true-positive rate", least)
    labels = [curve.name for curve in curves]
    colour = {
        "field": "attack",
        "type": "nominal",
        "title": "attack",
        "scale": {"domain": labels, "range": "category"},
        "legend": {**bottom_legend(len(labels), longest=max(map(len, labels))), **_STROKES},
    }
    dashes = [_DASHES[min(place // HUES, len(_DASHES) - 1)] for place in range(len(labels))]
    dash = {**colour, "scale": {"domain": labels, "range": dashes}}
    where = {"x": x, "y": y, "color": colour, "strokeDash": dash}
    band = {
        "data": {"name": name},
        "transform": [{"filter": "isValid(datum.lower)"}],
        "mark": {"type": "area", "opacity": 0.13, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "lower"}, "y2": {"field": "upper"}, "color": colour},
    }
    told = [{"field": field, "type": "nominal"} for field in ("attack", "fpr", "tpr")]
    lines = {
        "data": {"name": name},
        "params": [ZOOM],
        "mark": {"type": "line", "strokeWidth": 2, "clip": True},
        "encoding": {**where, "tooltip": told},
    }
    permitted = {
        "data": {"name": f"{name}_permitted"},
        "mark": {"type": "line", "style": "rule-ink", "strokeDash": [6, 4], "clip": True},
        "encoding": {"x": x, "y": y},
    }
    chance = {
        "data": {"values": [{"fpr": least, "tpr": least}, {"fpr": 1.0, "tpr": 1.0}]},
        "mark": {"type": "line", "style": "rule-muted", "strokeDash": [1, 3], "clip": True},
        "encoding": {"x": x, "y": y},
    }
    return layered(chance, band, permitted, lines)


def _rate(field: str, title: str, least: float) -> Json:
    domain = (least, 1.0)
    percent = "datum.value >= 0.01 ? format(datum.value, '.0%') : format(datum.value, '~%')"
    axis = {"values": log_ticks(domain), "labelExpr": percent, "grid": True}
    scale = {"type": "log", "domain": list(domain), "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _least(curves: Sequence[CurveRow]) -> float:
    """The smallest rate that is drawn: what the finest curve resolves, by powers of ten."""
    positive = [rate for curve in curves for rate in curve.fpr if rate > 0]
    return max(LEAST_RATE, 10 ** math.floor(math.log10(min(positive, default=LEAST_RATE))))


def _table(curves: Sequence[CurveRow], least: float, *, name: str | None = None) -> Table:
    table: Table = {"attack": [], "fpr": [], "tpr": [], "lower": [], "upper": []}
    for curve in curves:
        limits = (curve.lower or (None,) * len(curve.fpr), curve.upper or (None,) * len(curve.fpr))
        points = list(zip(curve.fpr, curve.tpr, *limits, strict=True))
        for fpr, tpr, lower, upper in _thinned([point for point in points if point[0] >= least], least):
            table["attack"].append(name or curve.name)
            table["fpr"].append(_digits(fpr))
            table["tpr"].append(_digits(max(_BELOW, tpr)))
            table["lower"].append(None if lower is None else _digits(max(_BELOW, lower)))
            table["upper"].append(None if upper is None else _digits(max(_BELOW, upper)))
    return table


_Point = tuple[float, float, float | None, float | None]


def _thinned(points: list[_Point], least: float) -> list[_Point]:
    """At most so many points a curve, evenly spread on the log scale."""
    if len(points) <= MOST_POINTS:
        return points
    kept: list[_Point] = []
    width = -math.log(least) / MOST_POINTS
    seen: int | None = None
    for point in points:
        at = int(math.log(point[0]) / width)
        if at != seen:
            kept.append(point)
            seen = at
    return [*kept, points[-1]]


def _digits(rate: float) -> float:
    return float(f"{rate:.4g}")


# ---------------------------------------------------------------- bounds


def _bounds(audit: AuditDocument, place: int) -> Drawing | None:
    shown = [row for row in audit.bounds if row.bound.detected]
    if not shown:
        return None
    name = f"audit_bounds_{place}"
    claimed = dict(audit.figures).get(CLAIMED)
    table: Table = {
        "method": [row.name for row in shown],
        "epsilon": [_digits(row.bound.epsilon) for row in shown],
        "ceiling": [_digits(row.bound.detection_limit) for row in shown],
        "kind": [HEURISTIC if row.heuristic else SHOWN for row in shown],
    }
    silent = [row.name for row in audit.bounds if not row.bound.detected]
    below = f" Below the detection limit: {'; '.join(silent)}." if silent else ""
    line = "" if claimed is None else " Dashed: the epsilon that was claimed."
    return Drawing(
        name=name,
        title=f"Lower bounds on epsilon: {audit.subject}",
        caption="Filled: a lower bound with its confidence; hollow: heuristic, it refutes nothing. The thin "
        f"line ends at the most that so many runs could have shown.{line}{below}",
        panels=(
            Panel(
                title="",
                view=_bounds_view(name, table, claimed),
                height=40 + 34 * len(shown),
                paper=(560, 40 + 34 * len(shown)),
            ),
        ),
        data={name: table},
    )


def _bounds_view(name: str, table: Table, claimed: float | None) -> Json:
    finite = [claimed] if claimed is not None and math.isfinite(claimed) else []
    domain = log_domain([*table["epsilon"], *table["ceiling"], *finite])
    axis = {"values": log_ticks(domain), "grid": True, "labelOverlap": "greedy"}
    scale = {"type": "log", "domain": list(domain), "nice": False}
    x: Json = {"field": "epsilon", "type": "quantitative", "title": "epsilon, log scale", "scale": scale}
    x["axis"] = axis
    y: Json = {"field": "method", "type": "nominal", "title": None, "sort": table["method"]}
    y["axis"] = {"labelLimit": 260}
    reach = {
        "data": {"name": name},
        "mark": {"type": "rule", "style": "rule-muted"},
        "encoding": {"x": x, "x2": {"field": "ceiling"}, "y": y},
    }
    told = [{"field": field, "type": "nominal"} for field in ("method", "epsilon", "ceiling", "kind")]
    dots = [
        {
            "data": {"name": name},
            "transform": [{"filter": f"datum.kind == '{kind}'"}],
            "mark": {"type": "point", "filled": kind == SHOWN, "size": 90, "strokeWidth": 2, "opacity": 1},
            "encoding": {"x": x, "y": y, "tooltip": told},
        }
        for kind in dict.fromkeys(table["kind"])
    ]
    if not finite:
        return layered(reach, *dots)
    rule = {"type": "rule", "style": "rule-ink", "strokeDash": [6, 4]}
    where = {key: value for key, value in x.items() if key != "field"} | {"datum": finite[0]}
    said = {**ONCE, "mark": rule, "encoding": {"x": where}}
    return layered(reach, said, *dots)
