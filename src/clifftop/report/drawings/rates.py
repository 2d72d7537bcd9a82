"""Utility against the learning rate and against the clip norm, which act together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from clifftop.analysis.evidence import Arm
from clifftop.report.drawings.axes import number_axis
from clifftop.report.drawings.cells import FEW, tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered, spread
from clifftop.report.drawings.marks import (
    PICKED,
    ZOOM,
    bottom_legend,
    coloured,
    picked_opacity,
    ring_layer,
)
from clifftop.report.drawings.scene import Scene
from clifftop.report.drawings.units import column, number, setting_title, value_text

Json = dict[str, Any]
_MOST_PANELS = 4
_MOST_BASELINES = 40
_PAPER = (270, 220)


def draw_learning_rate(scene: Scene) -> Drawing | None:
    """Utility against the learning rate, and against its product with the clip norm."""
    if "lr" not in scene.cells.axes or not scene.cells.is_number("lr"):
        return None
    panels = _noise_panels(scene)
    tables: dict[str, Table] = {**scene.tables, "baselines": _baselines(scene)}
    rates = [value for value in scene.cells.numbers("lr").tolist() if value > 0]
    x = number_axis("lr", "learning rate", [*rates, *tables["baselines"]["lr"]])
    drawn = [_rate_panel(scene, name, only, x, tables) for name, only in panels.items()]
    note = ""
    if scene.cells.is_number("clip_norm") and "clip_norm" in scene.cells.axes:
        lengths = scene.cells.numbers("lr") * scene.cells.numbers("clip_norm")
        along = number_axis("length", "learning rate × clip norm C", lengths.tolist())
        drawn += [_length_panel(scene, name, only, along) for name, only in panels.items()]
        note = (
            "Second row: the same cells against learning rate × C, the longest step that one clipped example "
            "can cause; where lines meet there, the step's length alone tells them apart."
        )
    others = [name for name in scene.cells.axes if name not in (*_kept(scene), "lr", scene.noise)]
    best = f"Each point is the best over {', '.join(map(setting_title, others))}. " if others else ""
    text = scene.seeds_text()
    return Drawing(
        name="learning_rate",
        title=f"{scene.unit.name} against the learning rate",
        caption=f"{best}{text[:1].upper()}{text[1:]}. Dashed: training without privacy. {note}".strip(),
        panels=tuple(drawn),
        data=tables,
        per_row=max(2, len(panels)),
    )


def _kept(scene: Scene) -> tuple[str, ...]:
    return tuple(name for name in ("clip_norm", "clipping") if name in scene.cells.axes)


def _noise_panels(scene: Scene) -> dict[str, list[Json]]:
    """A panel for some values of the noise; all cells in one where there are many values."""
    if scene.noise is None:
        return {"": []}
    values = scene.cells.distinct(scene.noise)
    if len(values) > 2 * FEW:
        return {"": []}
    field, title = column(scene.noise), setting_title(scene.noise)
    return {
        f"{title} = {value_text(value)}": [{"filter": {"field": field, "equal": number(float(value))}}]
        for value in spread(values, _MOST_PANELS)
    }


def _baselines(scene: Scene) -> Table:
    """Training without privacy at each learning rate, at the best of its other settings."""
    best: dict[float, float] = {}
    for cell in scene.evidence.of(Arm.NEITHER):
        lr, utilities = cell.number("lr"), scene.evidence.utilities(cell)
        if lr is None or lr <= 0 or not utilities.size:
            continue
        best[lr] = max(best.get(lr, -math.inf), float(utilities.mean()))
    rates = _thinned(best)
    return {"lr": rates, "mean": [number(scene.unit.of_utility(best[lr])) for lr in rates]}


def _thinned(best: Mapping[float, float]) -> list[float]:
    """All learning rates, or where they are many the best of each of `_MOST_BASELINES` ranges."""
    rates = sorted(best)
    if len(rates) <= _MOST_BASELINES:
        return rates
    edges = [round(place * len(rates) / _MOST_BASELINES) for place in range(_MOST_BASELINES + 1)]
    return [max(rates[a:b], key=lambda lr: best[lr]) for a, b in itertools.pairwise(edges)]


def _rate_panel(scene: Scene, name: str, only: Sequence[Json], x: Json, tables: Mapping[str, Table]) -> Panel:
    y = scene.score()
    without = {
        "data": {"name": "baselines"},
        "mark": {"type": "line", "style": "rule-muted", "strokeDash": [6, 4], "point": False, "clip": True},
        "encoding": {"x": x, "y": y},
    }
    several = len(tables["baselines"]["lr"]) > 1
    under = [without] if several else scene.without_privacy(y)
    return Panel(title=name, view=layered(*under, *_lines(scene, only, x, y)), height=260, paper=_PAPER)


def _length_panel(scene: Scene, name: str, only: Sequence[Json], x: Json) -> Panel:
    y = scene.score()
    product = [*only, {"calculate": "datum.lr * datum.clip_norm", "as": "length"}]
    view = layered(*scene.without_privacy(y), *_lines(scene, product, x, y))
    return Panel(title=name, view=view, height=260, paper=_PAPER)


def _lines(scene: Scene, only: Sequence[Json], x: Json, y: Json) -> list[Json]:
    """Points of the cells, joined by colour where there is a line to draw."""
    hues = coloured(scene.cells, None if scene.hue == "lr" else scene.hue, shape=True)
    shown: list[Json] = [{"filter": "datum.rate"}, *only]
    where = {"x": x, "y": y}
    colour = {name: channel for name, channel in hues.items() if name == "color"}
    lines = colour.get("color", {}).get("type") != "quantitative" and (bool(only) or scene.noise is None)
    base: Json = {"data": {"name": "cells"}, "transform": shown}
    dots = {
        **base,
        "params": [PICKED, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 50 if lines else 20, "clip": True},
        "encoding": {
            **where,
            **hues,
            "opacity": picked_opacity(0.95 if lines else 0.55),
            "tooltip": tooltip(scene.cells),
        },
    }
    return [
        *(_joined(scene, base, where, colour) if lines else []),
        dots,
        ring_layer(shown, where),
    ]


def _joined(scene: Scene, base: Json, where: Json, colour: Json) -> list[Json]:
    ends = {"x": where["x"], "y": {**where["y"], "field": "lower"}, "y2": {"field": "upper"}}
    band = {**base, "mark": {"type": "area", "opacity": 0.12, "clip": True}, "encoding": {**ends, **colour}}
    line = {**base, "mark": {"type": "line", "strokeWidth": 2, "clip": True}, "encoding": {**where, **colour}}
    return [band, line] if scene.has_bands else [line]


def draw_clipping(scene: Scene) -> Drawing | None:
    """Utility against the clip norm, one line a noise level."""
    cells = scene.cells
    if "clip_norm" not in cells.axes or not cells.is_number("clip_norm") or scene.noise is None:
        return None
    if max(len(cells.distinct("clip_norm")), len(cells.distinct(scene.noise))) > FEW:
        return None
    x = number_axis("clip_norm", "clip norm C", cells.numbers("clip_norm").tolist())
    values = cells.distinct(scene.noise)
    scale = {"domain": [number(float(value)) for value in values], "range": "ordinal"}
    colour = {
        "field": column(scene.noise),
        "type": "nominal",
        "title": setting_title(scene.noise),
        "scale": scale,
        "legend": bottom_legend(len(values)),
    }
    panels: dict[str, list[Json]] = {"": [{"filter": "datum.tuned"}]}
    if "lr" in cells.axes:
        panels = {"Best learning rate of each cell": panels[""]}
        for lr in spread(cells.distinct("lr"), _MOST_PANELS - 1):
            only = {"filter": {"field": "lr", "equal": number(float(lr))}}
            panels[f"Learning rate {value_text(lr)}"] = [{"filter": "datum.rate"}, only]
    drawn = (_clip_panel(scene, name, only, x, colour) for name, only in panels.items())
    return Drawing(
        name="clipping",
        title=f"{scene.unit.name} against the clip norm",
        caption=f"One line a noise level; {scene.seeds_text()}. Clip norm and learning rate act together: a "
        "clipped example moves the model by at most their product.",
        panels=tuple(drawn),
        data=scene.tables,
        per_row=min(2, len(panels)) if len(panels) != 3 else 3,
    )


def _clip_panel(scene: Scene, name: str, only: Sequence[Json], x: Json, colour: Json) -> Panel:
    y = scene.score()
    where = {"x": x, "y": y, "color": colour}
    base: Json = {"data": {"name": "cells"}, "transform": list(only)}
    line = {**base, "mark": {"type": "line", "strokeWidth": 2, "clip": True}, "encoding": where}
    dots = {
        **base,
        "params": [PICKED, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 50, "clip": True},
        "encoding": {**where, "opacity": picked_opacity(1), "tooltip": tooltip(scene.cells)},
    }
    ring = ring_layer(list(only), {"x": x, "y": y})
    view = layered(*scene.without_privacy(y), line, dots, ring)
    return Panel(title=name, view=view, height=280, paper=(300, 240) if name else (560, 340))
