"""Seeds as a sample: the scores of the front's cells seed by seed, and how their intervals shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clifftop.analysis.uncertainty import t_half_width
from clifftop.report.drawings.axes import number_axis, score_axis
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered, spread
from clifftop.report.drawings.marks import HUES, PICKED, bottom_legend, picked_opacity
from clifftop.report.drawings.scene import NOISE, Scene
from clifftop.report.drawings.units import number
from clifftop.report.wording import epsilon_up

Json = dict[str, Any]
_CELLS = 12
_DOTS = 100
_GROWTH = 2.0**0.5
_BEYOND = 4


def draw_seeds(scene: Scene) -> Drawing | None:
    """The scores of each seed for the front's cells, and the interval's half width against seeds."""
    cells = [cell for cell in spread(scene.along, _CELLS) if scene.cells.n[scene.cells.place[cell]] > 1]
    if not cells:
        return None
    labels = _labels(scene, cells)
    scores, widths = _scores(scene, cells, labels), _widths(scene, cells, labels)
    cut = int(scene.cells.n.max()) > _DOTS
    dots = f"{_DOTS} of the seeds, evenly spaced by rank" if cut else "one seed each"
    return Drawing(
        name="seeds",
        title="How far seeds differ, and what more of them would tell",
        caption=f"Left: {scene.along_text}, by rising epsilon; dots are {dots}, diamonds their mean with its "
        "95% interval. Right: half the width of that interval over the first seeds, and dashed what the "
        "spread over all seeds foretells for more.",
        panels=(_strip(scene, labels, scores), _shrinking(scene, labels, widths)),
        data={**scene.tables, "seed_scores": scores, "seed_widths": widths},
        per_row=2,
    )


def _labels(scene: Scene, cells: Sequence[int]) -> dict[int, str]:
    """The cells' names: epsilon first, for it orders them."""
    found: dict[int, str] = {}
    for cell in cells:
        epsilon = epsilon_up(float(scene.cells.epsilon[scene.cells.place[cell]]), digits=3)
        found[cell] = f"ε {epsilon}: {scene.cells.label(cell, but=NOISE)}".rstrip(": ")
    return found


def _scores(scene: Scene, cells: Sequence[int], labels: Mapping[int, str]) -> Table:
    table: Table = {"cell": [], "label": [], "seed": [], "score": []}
    for cell in cells:
        seeds, values = scene.evidence.measured(scene.evidence.cells[cell])
        order = spread(np.argsort(values, kind="stable").tolist(), _DOTS)
        for place in order:
            table["cell"].append(cell)
            table["label"].append(labels[cell])
            table["seed"].append(int(seeds[place]))
            table["score"].append(number(scene.unit.shown(float(values[place]))))
    return table


def _widths(scene: Scene, cells: Sequence[int], labels: Mapping[int, str]) -> Table:
    """Half widths over the first n seeds, and, ``kind`` "expected", those that all seeds' spread gives."""
    table: Table = {"cell": [], "label": [], "seeds": [], "half": [], "kind": []}
    for cell in spread(cells, HUES):
        values = scene.evidence.values(scene.evidence.cells[cell])
        whole = float(values.std(ddof=1))
        rows = [(n, float(values[:n].std(ddof=1)), "measured") for n in _steps(2, values.size)]
        rows += [(n, whole, "expected") for n in _steps(values.size, _BEYOND * values.size)]
        for n, std, kind in rows:
            half = scene.unit.factor * t_half_width(std=std, n=n)
            if half <= 0:
                continue
            new = (cell, labels[cell], n, number(half), kind)
            for name, value in zip(table, new, strict=True):
                table[name].append(value)
    return table


def _steps(first: int, last: int) -> list[int]:
    """Whole numbers from the first to the last, each about `_GROWTH` times the one before.

    >>> _steps(2, 10)
    [2, 3, 4, 6, 8, 10]
    """
    found = [first]
    while found[-1] < last:
        found.append(min(last, max(found[-1] + 1, int(found[-1] * _GROWTH + 0.5))))
    return found


def _strip(scene: Scene, labels: Mapping[int, str], scores: Table) -> Panel:
    order = list(labels.values())
    places = [scene.cells.place[cell] for cell in labels]
    ends = [*scene.cells.lower[places].tolist(), *scene.cells.upper[places].tolist()]
    x = score_axis("score", scene.unit, [*scores["score"], *ends], headroom=False)
    axis = {"labelLimit": 260, "grid": False, "ticks": False, "domain": False}
    y = {"field": "label", "type": "nominal", "title": None, "sort": order, "axis": axis}
    told = [
        {"field": "label", "title": "cell", "type": "nominal"},
        {"field": "seed", "type": "nominal"},
        {"field": "score", "title": scene.unit.title, "type": "quantitative", "format": scene.unit.format},
    ]
    dots = {
        "data": {"name": "seed_scores"},
        "params": [PICKED],
        "mark": {"type": "point", "filled": True, "size": 30, "clip": True},
        "encoding": {"x": x, "y": y, "opacity": picked_opacity(0.35), "tooltip": told},
    }
    named = [
        {"filter": {"field": "cell", "oneOf": list(labels)}},
        {"calculate": f"{_lookup(labels)}[datum.cell]", "as": "label"},
    ]
    base: Json = {"data": {"name": "cells"}, "transform": named}
    ends = {"x": {**x, "field": "lower"}, "x2": {"field": "upper"}, "y": y}
    rule = {**base, "mark": {"type": "rule", "style": "rule-ink", "clip": True}, "encoding": ends}
    mark = {"type": "point", "style": "dot-ink", "shape": "diamond", "size": 70, "clip": True}
    mean = {**base, "mark": mark, "encoding": {"x": {**x, "field": "mean"}, "y": y}}
    height = max(140, 24 * len(labels) + 30)
    return Panel(
        title="Seed by seed",
        view=layered(dots, rule, mean),
        height=height,
        paper=(330, max(160, 20 * len(labels))),
    )


def _lookup(labels: Mapping[int, str]) -> str:
    """A Vega expression of an object from cell to name."""
    quoted = (f"{cell}: '{name.translate(_ESCAPED)}'" for cell, name in labels.items())
    return "({" + ", ".join(quoted) + "})"


_ESCAPED = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": " "})


def _shrinking(scene: Scene, labels: Mapping[int, str], widths: Table) -> Panel:
    shown = list(dict.fromkeys(widths["label"]))
    longest = max(map(len, shown), default=0)
    x = number_axis("seeds", "seeds", widths["seeds"], grid=True)
    y = number_axis("half", "half width", widths["half"], grid=True)
    colour = {
        "field": "label",
        "type": "nominal",
        "title": "cell",
        "scale": {"domain": shown, "range": "category"},
        "legend": bottom_legend(len(shown), longest=longest),
    }
    return Panel(
        title=f"Half width of the 95% interval, {scene.unit.difference}",
        view=layered(*_width_layers({"x": x, "y": y, "color": colour})),
        height=max(220, 24 * len(labels) + 30),
        paper=(300, 220),
    )


def _width_layers(where: Json) -> list[Json]:
    """What more seeds are expected to do, what these did, and a dot each."""
    base: Json = {"data": {"name": "seed_widths"}}
    line = {"type": "line", "strokeWidth": 1.8, "clip": True}
    measured = {
        **base,
        "transform": [{"filter": "datum.kind === 'measured'"}],
        "mark": line,
        "encoding": {**where, "opacity": picked_opacity(1)},
    }
    expected = {
        **base,
        "transform": [{"filter": "datum.kind === 'expected'"}],
        "mark": {**line, "strokeDash": [4, 3]},
        "encoding": {**where, "opacity": picked_opacity(0.8)},
    }
    told = [
        {"field": "label", "title": "cell", "type": "nominal"},
        {"field": "seeds", "type": "quantitative"},
        {"field": "half", "title": "half width", "type": "quantitative", "format": ".3~g"},
        {"field": "kind", "type": "nominal"},
    ]
    dots = {
        **base,
        "params": [PICKED],
        "mark": {"type": "point", "filled": True, "size": 26, "clip": True},
        "encoding": {**where, "opacity": picked_opacity(0.7), "tooltip": told},
    }
    return [expected, measured, dots]
