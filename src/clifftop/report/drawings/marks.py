"""Parts of charts: colours by a setting, what a pointer does, rules and bands of the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.uncertainty import Estimate, estimate
from clifftop.report.drawings.cells import FEW, Cells, shown_interval
from clifftop.report.drawings.units import Unit, column, number, setting_title
from clifftop.report.shades import shapes

Json = dict[str, Any]

PICKED: Json = {
    "name": "picked",
    "select": {"type": "point", "fields": ["cell"], "toggle": "event.shiftKey"},
}
ZOOM: Json = {
    "name": "zoom",
    "select": {
        "type": "interval",
        "zoom": "wheel![event.shiftKey]",
        "translate": "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!",
    },
    "bind": "scales",
}
HUES = 6
ONCE: Json = {"data": {"values": [{}]}}
"""The data of a mark that is drawn once."""


def picked_opacity(shown: float) -> Json:
    """Full where picked or nothing is; faint where something else is."""
    return {"condition": {"param": "picked", "value": shown}, "value": 0.15 * shown}


def ring_layer(transform: list[Json], where: Json, *, size: int = 170) -> Json:
    """A ring around every picked cell; ``transform`` and ``where`` are those of the cells' own layer."""
    return {
        "data": {"name": "cells"},
        "transform": [*transform, {"filter": {"param": "picked", "empty": False}}],
        "mark": {"type": "point", "style": "ring", "size": size, "clip": True},
        "encoding": where,
    }


def coloured(
    cells: Cells, name: str | None, *, shape: bool = False, legend: Json | None = None
) -> dict[str, Json]:
    """The channels of a setting: hues and shapes for few values, a sequence for more."""
    if name is None:
        return {}
    values = cells.distinct(name)
    field, title = column(name), setting_title(name)
    if len(values) > FEW and cells.is_number(name):
        positive = all(value > 0 for value in values)
        scale = {"type": "log" if positive else "linear", "range": "ramp"}
        legend = {"orient": "bottom", "gradientLength": 220, "gradientOpacity": 1, "tickCount": 4} | (
            legend or {}
        )
        return {
            "color": {
                "field": field,
                "type": "quantitative",
                "title": title,
                "scale": scale,
                "legend": legend,
            }
        }
    shown = bottom_legend(len(values)) | (legend or {})
    scale = {"domain": _domain(values), "range": "category" if len(values) <= HUES else "ordinal"}
    colour = {"field": field, "type": "nominal", "title": title, "scale": scale, "legend": shown}
    if not shape or len(values) > HUES:
        return {"color": colour}
    forms = {"domain": scale["domain"], "range": list(shapes(len(values)))}
    return {"color": colour, "shape": {**colour, "scale": forms}}


def _domain(values: Sequence[Any]) -> list[Any]:
    return [number(value) if isinstance(value, float) else value for value in values]


def bottom_legend(count: int, *, longest: int = 6) -> Json:
    """A legend below the plot, in columns that a narrow panel holds."""
    most = 5 if longest <= 8 else 3 if longest <= 16 else 2 if longest <= 30 else 1
    columns = math.ceil(count / math.ceil(count / most)) if count else 1
    short = "isNumber(datum.value) ? format(datum.value, '.3~g') : datum.label"
    places = {"orient": "bottom", "direction": "horizontal", "columns": columns}
    return {**places, "symbolOpacity": 1, "labelExpr": short}


def baseline(evidence: Evidence) -> Estimate | None:
    """The score without privacy at the setting where it does best, as measured; None where none was."""
    found = [(evidence.utilities(cell), evidence.values(cell)) for cell in evidence.of(Arm.NEITHER)]
    found = [(utilities, values) for utilities, values in found if utilities.size]
    if not found:
        return None
    best = max(found, key=lambda pair: float(pair[0].mean()))
    return estimate(best[1])


def baseline_layers(found: Estimate | None, shown: Unit, channel: Json) -> list[Json]:
    """The rule of training without privacy, its interval, and its name just above it."""
    if found is None:
        return []
    lower, upper = shown_interval(found, shown)
    level = {**channel, "datum": number(shown.shown(found.mean))}
    level.pop("field")
    layers: list[Json] = []
    if lower is not None and upper is not None:
        band = {"y": {**level, "datum": number(lower)}, "y2": {"datum": number(upper)}}
        layers.append(
            {**ONCE, "mark": {"type": "rect", "style": "band-muted", "clip": True}, "encoding": band}
        )
    rule = {"type": "rule", "style": "rule-muted", "strokeDash": [6, 4]}
    text = f"no privacy: {score_text(shown.shown(found.mean), shown)}"
    words = {
        "type": "text",
        "style": "text-muted",
        "align": "left",
        "baseline": "bottom",
        "dx": 4,
        "dy": -4,
        "text": text,
    }
    layers.append({**ONCE, "mark": rule, "encoding": {"y": level}})
    layers.append({**ONCE, "mark": words, "encoding": {"y": level, "x": {"value": 0}}})
    return layers


def score_text(value: float, unit: Unit) -> str:
    """A score as text."""
    return f"{value:.1f}%" if unit.share else f"{value:.4g}"
