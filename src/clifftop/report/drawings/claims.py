"""Epsilons as once published, beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clifftop.report.drawings.axes import epsilon_axis
from clifftop.report.drawings.cells import tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, layered
from clifftop.report.drawings.marks import (
    PICKED,
    ZOOM,
    coloured,
    picked_opacity,
    ring_layer,
)
from clifftop.report.drawings.scene import Scene
from clifftop.report.wording import plain

Json = dict[str, Any]
TRUE = "true, upper end"
CLAIMED = "as published"


def draw_claims(scene: Scene) -> Drawing | None:
    """Every cell at its true epsilon and at the one that was published for it."""
    claimed = [cell.published for cell in scene.cells.items if cell.published is not None]
    if not claimed:
        return None
    delta = scene.evidence.delta
    both = epsilon_axis([*scene.cells.epsilon.tolist(), *claimed], delta=delta)
    at = "" if delta is None else f" at delta = {plain(delta)}"
    x = {**both.x("x"), "title": f"epsilon{at}, log scale"}
    y = scene.score(of=[*scene.cells.mean.tolist()])
    shared: list[Json] = [{"filter": "datum.tuned"}]
    true = [*shared, {"calculate": f"'{TRUE}'", "as": "kind"}, *both.placed("epsilon", "x")]
    stated = {"filter": "isValid(datum.published)"}
    published = [*shared, stated, {"calculate": f"'{CLAIMED}'", "as": "kind"}, *both.placed("published", "x")]
    hues = coloured(scene.cells, scene.hue, shape=True)
    dash = {
        "field": "kind",
        "type": "nominal",
        "title": "epsilon",
        "scale": {"domain": [TRUE, CLAIMED], "range": [[1, 0], [4, 3]]},
        "legend": {"orient": "bottom", "symbolType": "stroke", "columns": 2},
    }
    view = layered(
        *scene.without_privacy(y),
        _shift([*true, stated, {"calculate": "datum.published", "as": "claimed"}], x, y, hues),
        _line(published, {"x": x, "y": y, "strokeDash": dash}, hues, width=1.4),
        _line(true, {"x": x, "y": y, "strokeDash": dash}, hues, width=2),
        _dots(scene, published, {"x": x, "y": y}, hues, filled=False),
        {**_dots(scene, true, {"x": x, "y": y}, hues, filled=True), "params": [PICKED, ZOOM]},
        ring_layer(true, {"x": x, "y": y}),
    )
    return Drawing(
        name="published_epsilon",
        title="The same runs at the epsilons published and at the true ones",
        caption="Solid and filled: at the true epsilon; dashed and hollow: at the one published. "
        f"Thin lines join the two; {scene.seeds_text()}"
        f"{', at the best learning rate of each cell' if 'lr' in scene.cells.axes else ''}.",
        panels=(Panel(title="", view=view, height=360, paper=(640, 380)),),
        data=scene.tables,
    )


def _shift(transform: list[Json], x: Json, y: Json, hues: Mapping[str, Json]) -> Json:
    """From the epsilon published to the true one, a thin line a cell."""
    where = {"x": {**x, "field": "claimed"}, "x2": {"field": "x"}, "y": y, **_colour(hues)}
    rule = {"type": "rule", "strokeWidth": 0.7, "opacity": 0.35, "clip": True}
    return {"data": {"name": "cells"}, "transform": transform, "mark": rule, "encoding": where}


def _line(transform: list[Json], where: Json, hues: Mapping[str, Json], *, width: float) -> Json:
    return {
        "data": {"name": "cells"},
        "transform": transform,
        "mark": {"type": "line", "strokeWidth": width, "clip": True},
        "encoding": {**where, **_colour(hues)},
    }


def _dots(
    scene: Scene, transform: list[Json], where: Json, hues: Mapping[str, Json], *, filled: bool
) -> Json:
    told = tooltip(scene.cells, {"field": "published", "title": "epsilon as published"})
    return {
        "data": {"name": "cells"},
        "transform": transform,
        "mark": {"type": "point", "filled": filled, "size": 60, "strokeWidth": 1.5, "clip": True},
        "encoding": {**where, **hues, "opacity": picked_opacity(1 if filled else 0.7), "tooltip": told},
    }


def _colour(hues: Mapping[str, Json]) -> dict[str, Json]:
    return {name: channel for name, channel in hues.items() if name == "color"}
