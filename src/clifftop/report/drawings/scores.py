"""Beyond the one metric: calibration, and scores by class and by group, against epsilon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clifftop.analysis.uncertainty import estimate
from clifftop.report.drawings.axes import score_axis
from clifftop.report.drawings.cells import shown_interval
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered
from clifftop.report.drawings.marks import HUES, PICKED, bottom_legend, picked_opacity
from clifftop.report.drawings.scene import Scene
from clifftop.report.drawings.units import epsilon_number, number, unit_of
from clifftop.report.shades import shapes

Json = dict[str, Any]
WHOLE = ("ece", "brier", "loss")
TITLES = {"ece": "expected calibration error", "brier": "Brier score", "loss": "loss"}
_PART = re.compile(r"(?P<score>[^\[]+)\[(?P<kind>class|group)=(?P<part>.*)\]")


def draw_calibration(scene: Scene) -> Drawing | None:
    """Calibration error, Brier score and loss of the front's cells."""
    names = [name for name in WHOLE if name != scene.evidence.metric and _measured(scene, name)]
    if not names:
        return None
    table = _table(scene, {name: (name, "") for name in names})
    panels = tuple(_panel(scene, name, TITLES[name], table, "whole_scores", []) for name in names)
    bars = " Bars: 95% interval over seeds." if scene.has_intervals else ""
    return Drawing(
        name="calibration",
        title=f"{_listed([TITLES[name] for name in names])} against epsilon",
        caption=f"{_which(scene)} Lower is better.{bars}",
        panels=panels,
        data={"whole_scores": table},
    )


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return text[:1].upper() + text[1:]


def draw_classes(scene: Scene) -> Drawing | None:
    """Scores by class."""
    return _by_part(scene, "class", "class_scores")


def draw_groups(scene: Scene) -> Drawing | None:
    """Scores by group."""
    return _by_part(scene, "group", "group_scores")


def _by_part(scene: Scene, kind: str, name: str) -> Drawing | None:
    found: dict[str, tuple[str, str]] = {}
    for metric in _metrics(scene):
        match = _PART.fullmatch(metric)
        if match is not None and match["kind"] == kind and _measured(scene, metric):
            found[metric] = (match["score"], match["part"])
    if not found:
        return None
    table = _table(scene, found)
    parts = sorted({part for _, part in found.values()}, key=_natural)
    kinds = list(dict.fromkeys(score for score, _ in found.values()))
    titles = {
        score: f"{'share clipped' if score == 'clipped' else score.replace('_', ' ')} by {kind}"
        for score in kinds
    }
    many = "" if len(parts) <= HUES else " Lines: the least, the middle and the greatest."
    plural = "classes" if kind == "class" else "groups"
    return Drawing(
        name=name,
        title=f"Who pays: scores of {len(parts)} {plural} against epsilon",
        caption=f"{_which(scene)} Means over seeds, one dot a {kind}.{many}",
        panels=tuple(_panel(scene, score, titles[score], table, name, parts, kind=kind) for score in kinds),
        data={name: table},
        per_row=2,
    )


def _natural(part: str) -> tuple[int, float, str]:
    return (0, float(part), "") if re.fullmatch(r"-?\d+(\.\d+)?", part) else (1, 0.0, part)


def _metrics(scene: Scene) -> list[str]:
    return list(dict.fromkeys(name for cell in scene.along for name in scene.evidence.cells[cell].scores))


def _measured(scene: Scene, metric: str) -> bool:
    evidence = scene.evidence
    return any(evidence.measured(evidence.cells[cell], metric)[1].size for cell in scene.along)


def _which(scene: Scene) -> str:
    text = scene.along_text
    return f"{text[:1].upper()}{text[1:]}, at their epsilons."


def _table(scene: Scene, metrics: dict[str, tuple[str, str]]) -> Table:
    """A row a cell and metric; scores as they are shown."""
    columns = ("cell", "epsilon", "score", "part", "mean", "lower", "upper")
    table: Table = {name: [] for name in columns}
    for index in scene.along:
        cell = scene.evidence.cells[index]
        epsilon = epsilon_number(float(scene.cells.epsilon[scene.cells.place[index]]))
        for metric, (score, part) in metrics.items():
            values = scene.evidence.measured(cell, metric)[1]
            if not values.size:
                continue
            shown, found = unit_of(metric, maximize=True), estimate(values)
            low, high = shown_interval(found, shown)
            row = (index, epsilon, score, part, number(shown.shown(found.mean)), number(low), number(high))
            for name, value in zip(columns, row, strict=True):
                table[name].append(value)
    return table


def _panel(
    scene: Scene,
    score: str,
    title: str,
    table: Table,
    data: str,
    parts: Sequence[str],
    *,
    kind: str = "",
) -> Panel:
    kept = [mean for mean, name in zip(table["mean"], table["score"], strict=True) if name == score]
    shown = unit_of(score, maximize=True)
    y = score_axis("mean", shown, kept, headroom=False, title=title + (", %" if shown.share else ""))
    x = scene.epsilon.x("x")
    only = [{"filter": {"field": "score", "equal": score}}, *scene.epsilon.placed("epsilon", "x")]
    hues = _hues(parts, kind)
    told = [
        *([{"field": "part", "title": kind, "type": "nominal"}] if kind else []),
        {"field": "mean", "title": title, "type": "quantitative", "format": ".4~g"},
        {"field": "lower", "title": "95% interval from", "type": "quantitative", "format": ".4~g"},
        {"field": "upper", "title": "to", "type": "quantitative", "format": ".4~g"},
        {"field": "epsilon", "title": "epsilon, upper end", "type": "nominal"},
    ]
    base: Json = {"data": {"name": data}, "transform": only}
    where = {"x": x, "y": y}
    dots = {
        **base,
        "params": [PICKED],
        "mark": {"type": "point", "filled": True, "size": 45 if len(parts) <= HUES else 22, "clip": True},
        "encoding": {**where, **hues, "opacity": picked_opacity(0.9), "tooltip": told},
    }
    view = layered(*_joins(base, where, hues, parts), dots)
    return Panel(title=title[:1].upper() + title[1:], view=view, height=260, paper=(330, 230))


def _hues(parts: Sequence[str], kind: str) -> dict[str, Json]:
    if not parts or len(parts) > HUES:
        return {}
    scale = {"domain": list(parts), "range": "category"}
    legend = bottom_legend(len(parts), longest=max(map(len, parts)))
    colour = {"field": "part", "type": "nominal", "title": kind, "scale": scale, "legend": legend}
    return {"color": colour, "shape": {**colour, "scale": {**scale, "range": list(shapes(len(parts)))}}}


def _joins(base: Json, where: Json, hues: dict[str, Json], parts: Sequence[str]) -> list[Json]:
    """Lines through the dots; bars of a lone score; of many parts the extremes and the middle."""
    line = {"type": "line", "strokeWidth": 1.6, "clip": True}
    if hues:
        return [{**base, "mark": line, "encoding": {**where, "color": hues["color"]}}]
    if not parts:
        ends = {"x": where["x"], "y": {**where["y"], "field": "lower"}, "y2": {"field": "upper"}}
        rule = {"type": "rule", "clip": True}
        return [{**base, "mark": rule, "encoding": ends}, {**base, "mark": line, "encoding": where}]
    muted = {**line, "style": "rule-muted"}
    return [
        {**base, "mark": muted, "encoding": {**where, "y": {**where["y"], "aggregate": how}}}
        for how in ("min", "median", "max")
    ]
