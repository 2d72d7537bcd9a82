"""Utility against epsilon for every clipping rule and clip norm, and where it falls most steeply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clifftop.analysis.cliffs import COLLAPSE_FRACTION, SAFE_FRACTION
from clifftop.report.drawings.cells import tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered
from clifftop.report.drawings.marks import (
    ONCE,
    PICKED,
    ZOOM,
    coloured,
    picked_opacity,
    ring_layer,
)
from clifftop.report.drawings.scene import CROWD, Scene
from clifftop.report.drawings.units import epsilon_number, number
from clifftop.report.wording import epsilon_up

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest
    from clifftop.analysis.evidence import Cell

Json = dict[str, Any]
_IN_CAPTION = 4
_OUTLINED = 12


def draw_cliffs(scene: Scene) -> Drawing | None:
    """The best of every noise level and clip norm, the published study's lines, the steepest falls."""
    tests = scene.material.cliffs
    tuned = sum(scene.tables["cells"]["tuned"])
    if len(set(scene.cells.epsilon.tolist())) < 2 or (not tests and (scene.noise is None or tuned > CROWD)):
        return None
    shown = [
        float(score)
        for score, kept in zip(scene.cells.mean, scene.tables["cells"]["tuned"], strict=True)
        if kept
    ]
    levels = _levels(scene)
    y = scene.score(of=[*shown, *(value for _, value in levels)])
    x = scene.epsilon.x("x")
    only = [{"filter": "datum.tuned"}, *scene.epsilon.placed("epsilon", "x")]
    falls = _falls(scene, tests)
    view = layered(
        *scene.without_privacy(y),
        *(_level(text, value, y) for text, value in levels),
        _fall_layer(scene, x, y) if falls["epsilon_low"] else None,
        *_lines(scene, only, {"x": x, "y": y}),
        ring_layer(only, {"x": x, "y": y}),
    )
    return Drawing(
        name="cliff",
        title=_title(scene, tests),
        caption=_caption(scene, tests, drawn=bool(falls["epsilon_low"])),
        panels=(Panel(title="", view=view, height=360, paper=(640, 380)),),
        data={**scene.tables, "falls": falls},
    )


def _levels(scene: Scene) -> list[tuple[str, float]]:
    """The published study's lines, where utility is a share: 90% and 50% of the baseline."""
    found = scene.baseline
    if found is None or not scene.unit.share:
        return []
    whole = scene.unit.shown(found.mean)
    return [(f"{share:.0%} of no privacy", share * whole) for share in (SAFE_FRACTION, COLLAPSE_FRACTION)]


def _level(text: str, value: float, y: Json) -> Json:
    level = {key: item for key, item in y.items() if key != "field"} | {"datum": number(value)}
    rule = {"mark": {"type": "rule", "style": "rule-muted", "strokeDash": [2, 4]}, "encoding": {"y": level}}
    words = {
        "type": "text",
        "style": "text-muted",
        "align": "right",
        "baseline": "bottom",
        "dx": -4,
        "dy": -4,
    }
    named = {"mark": {**words, "text": text}, "encoding": {"y": level, "x": {"value": "width"}}}
    return {**ONCE, "layer": [rule, named]}


def _lines(scene: Scene, only: list[Json], where: Json) -> list[Json]:
    hues = coloured(scene.cells, scene.hue if scene.hue != "lr" else None, shape=True)
    colour = {name: channel for name, channel in hues.items() if name == "color"}
    rules = scene.cells.distinct("clipping") if "clipping" in scene.cells.axes else []
    dash: Json = {}
    if 1 < len(rules) <= 4 and scene.hue != "clipping":
        styles = [[1, 0], [6, 3], [2, 3], [8, 3, 2, 3]][: len(rules)]
        legend = {"orient": "bottom", "symbolType": "stroke"}
        scale = {"domain": rules, "range": styles}
        dash = {
            "strokeDash": {
                "field": "clipping",
                "type": "nominal",
                "title": "clipping rule",
                "scale": scale,
                "legend": legend,
            }
        }
    base: Json = {"data": {"name": "cells"}, "transform": only}
    tuned = sum(scene.tables["cells"]["tuned"])
    lines = tuned <= CROWD and colour.get("color", {}).get("type") != "quantitative"
    dots = {
        **base,
        "params": [PICKED, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 50 if lines else 18, "clip": True},
        "encoding": {
            **where,
            **hues,
            "opacity": picked_opacity(0.95 if lines else 0.4),
            "tooltip": tooltip(scene.cells),
        },
    }
    if not lines:
        return [dots]
    ends = {"x": where["x"], "y": {**where["y"], "field": "lower"}, "y2": {"field": "upper"}}
    area = {"type": "area", "opacity": 0.1, "clip": True}
    stroke = {"type": "line", "strokeWidth": 2, "clip": True}
    band = {**base, "mark": area, "encoding": {**ends, **colour, **_detail(dash)}}
    line = {**base, "mark": stroke, "encoding": {**where, **colour, **dash}}
    return [*([band] if scene.has_bands else []), line, dots]


def _detail(dash: Json) -> Json:
    return {"detail": {"field": "clipping", "type": "nominal"}} if dash else {}


def _falls(scene: Scene, tests: Mapping[str, CliffTest]) -> Table:
    """The steepest fall of every search: its corner points, and what was found."""
    names = ("search", "epsilon_low", "epsilon_high", "low", "high", "drop", "drop_lower", "drop_upper")
    table: Table = {name: [] for name in (*names, "verdict", "p_value")}
    for search, test in _fewer(tests).items():
        found = test.steepest
        if found is None or not (found.epsilon_low > 0 and math.isfinite(found.epsilon_high)):
            continue
        high = _best_within(scene, _searched(scene, search), found.epsilon_high)
        if high is None or found.drop.mean <= 0:
            continue
        factor = scene.unit.factor
        low_end, high_end = (None, None) if found.drop.ci95 is None else found.drop.ci95
        row = {
            "search": search,
            "epsilon_low": epsilon_number(found.epsilon_low),
            "epsilon_high": epsilon_number(found.epsilon_high),
            "low": number(scene.unit.of_utility(high - found.drop.mean)),
            "high": number(scene.unit.of_utility(high)),
            "drop": number(factor * found.drop.mean),
            "drop_lower": number(None if low_end is None else factor * low_end),
            "drop_upper": number(None if high_end is None else factor * high_end),
            "verdict": test.verdict.value,
            "p_value": number(test.p_value, 2),
        }
        for name, value in row.items():
            table[name].append(value)
    return table


def _fewer(tests: Mapping[str, CliffTest]) -> Mapping[str, CliffTest]:
    """Those of single clip norms; where these are many, or there are none, those of whole rules."""
    single = {name: test for name, test in tests.items() if ", " in name}
    whole = {name: test for name, test in tests.items() if name not in single}
    return single if 0 < len(single) <= _OUTLINED else whole


def _searched(scene: Scene, search: str) -> list[Cell]:
    """The cells that a search by that name looked at: see `cliffs_by_rule`."""
    rule, _, norm = search.partition(", clip norm ")
    return [
        cell
        for cell in scene.cells.items
        if str(cell.setting.get("clipping", "clipped")) == rule
        and (not norm or f"{cell.number('clip_norm') or 0.0:g}" == norm)
    ]


def _best_within(scene: Scene, cells: list[Cell], epsilon: float) -> float | None:
    """The best mean utility of some cells at an epsilon or less, as a utility."""
    within = [cell for cell in cells if cell.epsilon is not None and cell.epsilon.upper <= 1.01 * epsilon]
    return max((float(scene.evidence.utilities(cell).mean()) for cell in within), default=None)


def _fall_layer(scene: Scene, x: Json, y: Json) -> Json:
    told = {
        "search": "search among",
        "verdict": "verdict",
        "p_value": "p of no cliff",
        "epsilon_low": "steepest fall from epsilon",
        "epsilon_high": "to epsilon",
        "drop": f"drop, {scene.unit.difference}",
        "drop_lower": "95% interval from",
        "drop_upper": "to ",
    }
    place = {"x": {**x, "field": "epsilon_low"}, "x2": {"field": "epsilon_high"}}
    return {
        "data": {"name": "falls"},
        "mark": {"type": "rect", "style": "fall", "clip": True},
        "encoding": {
            **place,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "tooltip": [{"field": field, "title": title, "type": "nominal"} for field, title in told.items()],
        },
    }


def _title(scene: Scene, tests: Mapping[str, CliffTest]) -> str:
    found = [name for name, test in tests.items() if test.is_cliff]
    if not tests:
        return f"{scene.unit.name} by noise level and clip norm"
    if found:
        return f"Cliff search: {len(found)} of {len(tests)} searches find one"
    return "Cliff search: none is found"


def _caption(scene: Scene, tests: Mapping[str, CliffTest], *, drawn: bool) -> str:
    others = [name for name in scene.cells.axes if name not in ("clip_norm", "clipping", scene.noise)]
    parts = [
        "Points: the best cell of each noise level"
        + (" and clip norm" if "clip_norm" in scene.cells.axes else "")
    ]
    parts[0] += f" over {', '.join(map(_plain_title, others))}." if others else "."
    if drawn:
        parts.append("Outlined: the steepest fall within a factor of three in epsilon, for each clip norm.")
    if tests and len(tests) <= _IN_CAPTION:
        parts.append("; ".join(_said(scene, name, test) for name, test in tests.items()) + ".")
        parts.append("Each search alone at its own 5%.")
    return " ".join(parts)


def _plain_title(name: str) -> str:
    return {"lr": "learning rate"}.get(name, name.replace("_", " ").replace(".", " "))


def _said(scene: Scene, name: str, test: CliffTest) -> str:
    steepest = test.steepest
    if steepest is None:
        return f"{name}: {test.verdict.value}"
    low, high = (epsilon_up(end, digits=3) for end in (steepest.epsilon_low, steepest.epsilon_high))
    drop = scene.unit.factor * steepest.drop.mean
    ends = steepest.drop.ci95
    within = (
        "" if ends is None else f" ({scene.unit.factor * ends[0]:.3g} to {scene.unit.factor * ends[1]:.3g})"
    )
    return f"{name}: {test.verdict.value}, steepest from {high} to {low} by {drop:.3g}{within}"
