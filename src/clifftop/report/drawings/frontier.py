"""Utility against epsilon: every cell, the front with its band, the baseline, the knee."""

from __future__ import annotations

import math
from typing import Any

from clifftop.report.drawings.cells import tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered
from clifftop.report.drawings.marks import (
    PICKED,
    ZOOM,
    coloured,
    picked_opacity,
    ring_layer,
)
from clifftop.report.drawings.scene import FEW_CELLS, Scene
from clifftop.report.drawings.units import epsilon_number, number
from clifftop.report.wording import counted, epsilon_up

Json = dict[str, Any]


def draw_frontier(scene: Scene) -> Drawing:
    """Every private cell at its epsilon, and the best that each epsilon buys."""
    data = {**scene.tables, **_front_tables(scene)}
    y, x = scene.score(), scene.epsilon.x("x")
    shared = scene.epsilon.placed("epsilon", "x")
    hues = coloured(scene.cells, _hue(scene), shape=not scene.crowded)
    view = layered(
        *scene.without_privacy(y),
        _band(scene, x, y) if data["band"]["epsilon"] else None,
        _cells_layer(scene, x, y, hues, shared),
        _bars(x, y, hues, shared) if scene.has_intervals and len(scene.cells.items) <= FEW_CELLS else None,
        _front_line(x, y, scene),
        ring_layer(shared, {"x": x, "y": y}),
        *_knee(scene, x, y),
    )
    return Drawing(
        name="frontier",
        title=f"{scene.unit.name} against epsilon",
        caption=_caption(scene),
        panels=(Panel(title="", view=view, height=380, paper=(640, 400)),),
        data=data,
    )


def _front_tables(scene: Scene) -> dict[str, Table]:
    """The front's steps, up to the right end of the axis, and its band."""
    front: Table = {"cell": [], "epsilon": [], "mean": []}
    for index in scene.front:
        place = scene.cells.place[index]
        front["cell"].append(index)
        front["epsilon"].append(epsilon_number(float(scene.cells.epsilon[place])))
        front["mean"].append(number(float(scene.cells.mean[place])))
    band: Table = {"epsilon": [], "lower": [], "upper": []}
    for point in () if scene.frontier is None else scene.frontier.band:
        if point.lower is None or point.upper is None or not math.isfinite(point.epsilon):
            continue
        low, high = scene.unit.cut(*sorted(map(scene.unit.of_utility, (point.lower, point.upper))))
        band["epsilon"].append(epsilon_number(point.epsilon))
        band["lower"].append(number(low))
        band["upper"].append(number(high))
    return {"front": _prolonged(front, scene), "band": _prolonged(band, scene)}


def _prolonged(table: Table, scene: Scene) -> Table:
    """A table of steps with its last row once more at the right end of the axis."""
    end = number(scene.epsilon.domain[1])
    if not table["epsilon"] or table["epsilon"][-1] >= end:
        return table
    return {name: [*values, end if name == "epsilon" else values[-1]] for name, values in table.items()}


def _band(scene: Scene, x: Json, y: Json) -> Json:
    return {
        "data": {"name": "band"},
        "transform": scene.epsilon.placed("epsilon", "x"),
        "mark": {"type": "area", "style": "band-front", "interpolate": "step-after", "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "lower"}, "y2": {"field": "upper"}},
    }


def _cells_layer(scene: Scene, x: Json, y: Json, hues: dict[str, Json], shared: list[Json]) -> Json:
    crowd = scene.crowded
    size = 60 if not crowd else 28 if len(scene.cells.items) <= 1000 else 14
    return {
        "data": {"name": "cells"},
        "transform": shared,
        "params": [PICKED, ZOOM],
        "mark": {"type": "point", "filled": True, "size": size, "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            **hues,
            "opacity": picked_opacity(0.9 if not crowd else 0.55),
            "tooltip": tooltip(scene.cells),
        },
    }


def _bars(x: Json, y: Json, hues: dict[str, Json], shared: list[Json]) -> Json:
    colour = {name: channel for name, channel in hues.items() if name == "color"}
    ends = {"y": {**y, "field": "lower"}, "y2": {"field": "upper"}}
    return {
        "data": {"name": "cells"},
        "transform": shared,
        "mark": {"type": "rule", "strokeWidth": 1.2, "clip": True},
        "encoding": {"x": x, **ends, **colour, "opacity": picked_opacity(0.55)},
    }


def _front_line(x: Json, y: Json, scene: Scene) -> Json:
    return {
        "data": {"name": "front"},
        "transform": scene.epsilon.placed("epsilon", "x"),
        "mark": {"type": "line", "style": "rule-ink", "interpolate": "step-after", "clip": True},
        "encoding": {"x": x, "y": y},
    }


def _knee(scene: Scene, x: Json, y: Json) -> list[Json]:
    """A ring around the cell where the front bends, and its name."""
    knee = None if scene.frontier is None else scene.frontier.knee
    if knee is None or knee.cell not in scene.cells.place:
        return []
    only = [*scene.epsilon.placed("epsilon", "x"), {"filter": f"datum.cell === {knee.cell}"}]
    base: Json = {"data": {"name": "cells"}, "transform": only}
    words = {"type": "text", "style": "text-ink", "align": "left", "dx": 10, "dy": 14, "text": "knee"}
    ring = {"type": "point", "style": "ring", "shape": "diamond", "size": 260, "clip": True}
    where = {"x": x, "y": y}
    return [{**base, "mark": ring, "encoding": where}, {**base, "mark": words, "encoding": where}]


def _hue(scene: Scene) -> str | None:
    """The clip norm where it differs, however many there are."""
    return "clip_norm" if "clip_norm" in scene.cells.axes else scene.hue


def _caption(scene: Scene) -> str:
    shown, all_cells = len(scene.cells.items), len(scene.evidence.private)
    parts = [f"Each point is one of {counted(shown, 'private cell')}; {scene.seeds_text()}."]
    if shown < all_cells:
        parts.append(f"{counted(all_cells - shown, 'cell')} without a finite score left out.")
    parts.append("Steps: the best mean that each epsilon buys, chosen and measured on the same seeds.")
    if scene.frontier is not None and any(point.lower is not None for point in scene.frontier.band):
        parts.append("Shaded: 95% interval of the best that it truly buys.")
    without = scene.baseline
    if without is not None:
        interval = ", with its 95% interval" if without.ci95 is not None else ""
        parts.append(f"Dashed: training without privacy{interval}.")
    knee = None if scene.frontier is None else scene.frontier.knee
    if knee is not None:
        low, high = (epsilon_up(end, digits=3) for end in knee.interval)
        parts.append(
            f"Knee: beyond epsilon {epsilon_up(knee.epsilon, digits=3)} ({low} to {high}) more buys less."
        )
    infinite = sum(math.isinf(value) for value in scene.cells.epsilon.tolist())
    if infinite:
        parts.append(f"At ∞: {counted(infinite, 'cell')} of infinite epsilon.")
    return " ".join(parts)
