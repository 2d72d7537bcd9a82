"""Utility over two settings, each place the best cell that there is of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clifftop.report.drawings.cells import tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered, spread
from clifftop.report.drawings.groups import Classes, classes, influence
from clifftop.report.drawings.marks import PICKED
from clifftop.report.drawings.scene import NOISE, Scene
from clifftop.report.drawings.units import number, setting_title

Json = dict[str, Any]
_MOST_PANELS = 4
_WRITTEN = 72
"""Places that still have room for their numbers."""
BEST = "best of all"


def draw_heat_maps(scene: Scene) -> Drawing | None:
    """Utility over noise and clip norm, or over the two settings that matter most."""
    pair = _pair(scene)
    if pair is None:
        return None
    down, across = (classes(scene.cells, name) for name in pair)
    split = "lr" if "lr" in scene.cells.axes and "lr" not in pair else None
    within = None if split is None else _panel_classes(scene, split)
    heat = _table(scene, down, across, within)
    panels = list(dict.fromkeys(heat["panel"]))
    shown = [scene.cells.mean[scene.cells.place[cell]] for cell in heat["cell"]]
    domain = [number(float(np.min(shown)), 4), number(float(np.max(shown)), 4)]
    words = [setting_title(name).partition(" (")[0] for name in pair]
    return Drawing(
        name="heat_map",
        title=f"{scene.unit.name} over {words[0]} and {words[1]}",
        caption=_caption(scene, pair, split, down, across),
        panels=tuple(_panel(scene, down, across, panel, domain, len(panels)) for panel in panels),
        data={**scene.tables, "heat": heat},
    )


def _panel_classes(scene: Scene, split: str) -> Classes:
    """The values of a setting where they are few, else as many ranges as there are panels."""
    found = classes(scene.cells, split)
    return classes(scene.cells, split, most=_MOST_PANELS) if found.ranges else found


def _pair(scene: Scene) -> tuple[str, str] | None:
    """The settings down and across."""
    axes = scene.cells.axes
    if scene.noise is not None and "clip_norm" in axes:
        return scene.noise, "clip_norm"
    free = [name for name in axes if name not in NOISE or name == scene.noise]
    ranked = sorted(free, key=lambda name: -influence(scene.cells, name))
    if len(ranked) < 2:
        return None
    return (ranked[0], ranked[1]) if ranked[1] not in NOISE else (ranked[1], ranked[0])


def _table(scene: Scene, down: Classes, across: Classes, split: Classes | None) -> Table:
    """The best cell of every place: over everything, then within some classes of ``split``."""
    heat: Table = {"cell": [], "down": [], "across": [], "panel": []}
    for value in (None, *(() if split is None else spread(split.names, _MOST_PANELS))):
        within = None if split is None or value is None else split
        name = BEST if within is None else f"learning rate {value}"
        for (row, column), place in _best(scene, down, across, within, value).items():
            new = (scene.cells.items[place].index, row, column, name)
            for key, item in zip(heat, new, strict=True):
                heat[key].append(item)
    return heat


def _best(
    scene: Scene, down: Classes, across: Classes, split: Classes | None, value: str | None
) -> dict[tuple[str, str], int]:
    """The place of the best cell of each row and column, among those of one class of ``split``."""
    best: dict[tuple[str, str], int] = {}
    utility = scene.cells.utility
    for place, (row, column) in enumerate(zip(down.of, across.of, strict=True)):
        if row is None or column is None or (split is not None and split.of[place] != value):
            continue
        held = best.get((row, column))
        if held is None or utility[place] > utility[held]:
            best[row, column] = place
    return best


def _panel(
    scene: Scene, down: Classes, across: Classes, panel: str, domain: Sequence[Any], count: int
) -> Panel:
    source: Json = {"name": "heat"}
    only = [{"filter": {"field": "panel", "equal": panel}}, scene.joined]
    where = {
        "x": _band("across", across, angle=-35 if _long(across) else 0),
        "y": _band("down", down, angle=0),
    }
    colour = {
        "field": "mean",
        "type": "quantitative",
        "title": scene.unit.title,
        "scale": {"domain": list(domain), "range": "heatmap"},
        "legend": {"orient": "bottom", "gradientLength": 200, "tickCount": 4},
    }
    rect = {
        "data": source,
        "transform": only,
        "params": [PICKED],
        "mark": {"type": "rect", "style": "tile"},
        "encoding": {
            **where,
            "color": colour,
            "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.35},
            "tooltip": tooltip(scene.cells),
        },
    }
    written = len(down.names) * len(across.names) <= _WRITTEN and not _long(across)
    numbers = _numbers(scene, source, only, where, domain) if written else []
    height = max(180, 30 * len(down.names))
    alone = count == 1
    return Panel(
        title="" if alone else panel[:1].upper() + panel[1:],
        view=layered(rect, *numbers),
        height=height,
        paper=(
            max(240, min(460, 46 * len(across.names))) if not alone else 480,
            max(180, 26 * len(down.names)),
        ),
    )


def _numbers(
    scene: Scene, source: Json, only: Sequence[Json], where: Json, domain: Sequence[Any]
) -> list[Json]:
    """The means in their places, in a colour that can be read on theirs."""
    middle = (domain[0] + domain[1]) / 2
    form = ".1f" if scene.unit.share else ".3~g"
    text = {"text": {"field": "mean", "type": "quantitative", "format": form}}
    return [
        {
            "data": source,
            "transform": [*only, {"filter": f"datum.mean {sign} {middle:.6g}"}],
            "mark": {"type": "text", "style": style},
            "encoding": {**where, **text},
        }
        for sign, style in (("<=", "text-on-low"), (">", "text-on-high"))
    ]


def _band(field: str, of: Classes, *, angle: int) -> Json:
    order = list(of.names) if field == "across" else list(reversed(of.names))
    title = setting_title(of.setting)
    axis = {"labelAngle": angle, "grid": False, "labelOverlap": "greedy"}
    return {"field": field, "type": "nominal", "title": title, "sort": order, "axis": axis}


def _long(of: Classes) -> bool:
    return max(map(len, of.names)) > 5


def _caption(scene: Scene, pair: tuple[str, str], split: str | None, down: Classes, across: Classes) -> str:
    others = [setting_title(name) for name in scene.cells.axes if name not in (*pair, split, *NOISE)]
    over = [*others, *([setting_title(split)] if split else [])]
    parts = []
    if over or down.ranges or across.ranges:
        within = f" over {', '.join(over)}" if over else " of its range"
        parts.append(f"Each place shows its best cell{within}, chosen and measured on the same seeds.")
    if split:
        parts.append("First panel: the best learning rate for each place; the others: within one each.")
    parts.append(f"Colour: {scene.seeds_text()}; {scene.unit.better} is better.")
    return " ".join(parts)
