"""What a budget buys: gain per doubling of epsilon, and the front within limits on compute or epsilon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clifftop.analysis.frontier import Told
from clifftop.report.drawings.axes import difference_axis, number_axis
from clifftop.report.drawings.cells import tooltip
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered
from clifftop.report.drawings.marks import ONCE, PICKED, ZOOM, bottom_legend, picked_opacity
from clifftop.report.drawings.scene import Scene
from clifftop.report.drawings.units import epsilon_number, number
from clifftop.report.wording import epsilon_up

if TYPE_CHECKING:
    from clifftop.analysis.frontier import Curve

Json = dict[str, Any]


def draw_marginal(scene: Scene) -> Drawing | None:
    """Gain per doubling of epsilon, step by step."""
    if scene.frontier is None or not scene.frontier.marginal:
        return None
    table = _marginal_table(scene)
    y = difference_axis("gain", f"gain per doubling of epsilon, {scene.unit.difference}", _in_sight(table))
    x = {**scene.epsilon.x("epsilon_low"), "title": scene.epsilon.title}
    several = any(value is not None for value in table["lower"])
    told = (
        " They are chosen on the other seeds. Lines: 95% interval, cut where they leave the plot. "
        "Faint: cannot be told from zero."
        if several
        else " One seed, so nothing tells a gain from luck."
    )
    return Drawing(
        name="marginal",
        title="What the next doubling of epsilon buys",
        caption="Each bar spans a step of the budget; its area is the whole gain, paired by seed, between "
        f"the best settings within both budgets.{told}",
        panels=(Panel(title="", view=layered(*_marginal_layers(x, y)), height=280, paper=(620, 300)),),
        data={"marginal": table},
    )


def _marginal_layers(x: Json, y: Json) -> list[Json]:
    """Bars, zero, and the intervals."""
    told = [{"field": name, "title": title, "type": "nominal"} for name, title in _TOLD.items()]
    bars = {
        "data": {"name": "marginal"},
        "params": [PICKED],
        "mark": {"type": "rect", "style": "step", "clip": True},
        "encoding": {
            "x": x,
            "x2": {"field": "epsilon_high"},
            "y": y,
            "y2": {"datum": 0},
            "opacity": {"condition": {"test": "datum.told", "value": 0.75}, "value": 0.3},
            "strokeWidth": {"condition": {"param": "picked", "empty": False, "value": 2}, "value": 0},
            "tooltip": told,
        },
    }
    middle = [{"calculate": "sqrt(datum.epsilon_low * datum.epsilon_high)", "as": "middle"}]
    ends_of = {"y": {**y, "field": "lower"}, "y2": {"field": "upper"}}
    rules = {
        "data": {"name": "marginal"},
        "transform": [*middle, {"filter": "isValid(datum.lower)"}],
        "mark": {"type": "rule", "style": "rule-ink", "clip": True},
        "encoding": {"x": {**x, "field": "middle"}, **ends_of},
    }
    zero = {**ONCE, "mark": {"type": "rule", "style": "rule-muted"}, "encoding": {"y": {"datum": 0}}}
    return [bars, zero, rules]


_TOLD = {
    "epsilon_low": "from epsilon",
    "epsilon_high": "to epsilon",
    "gain": "gain per doubling",
    "lower": "95% interval from",
    "upper": "to",
}


def _in_sight(table: Table) -> list[float]:
    """All gains, and their intervals as far as they leave the gains readable."""
    reach = 4 * max(map(abs, table["gain"]), default=1.0) or 1.0
    ends = [value for name in ("lower", "upper") for value in table[name] if value is not None]
    return [*table["gain"], *(min(reach, max(-reach, end)) for end in ends)]


def _marginal_table(scene: Scene) -> Table:
    table: Table = {
        "cell": [],
        "epsilon_low": [],
        "epsilon_high": [],
        "gain": [],
        "lower": [],
        "upper": [],
        "told": [],
    }
    assert scene.frontier is not None
    for step in scene.frontier.marginal:
        if not (step.epsilon_low > 0 and math.isfinite(step.epsilon_high)):
            continue
        gain = step.per_doubling
        low, high = (None, None) if gain.ci95 is None else gain.ci95
        table["cell"].append(step.cell_high)
        table["epsilon_low"].append(epsilon_number(step.epsilon_low))
        table["epsilon_high"].append(epsilon_number(step.epsilon_high))
        for name, value in (("gain", gain.mean), ("lower", low), ("upper", high)):
            table[name].append(number(None if value is None else scene.unit.factor * value))
        table["told"].append(step.told is not Told.NOTHING)
    return table


def draw_iso_compute(scene: Scene) -> Drawing | None:
    """The front within each limit on compute."""
    curves = () if scene.frontier is None else scene.frontier.iso_compute()
    if len(curves) < 2:
        return None
    names = [f"{curve.limit:,.0f}" for curve in curves]
    return _iso(
        scene,
        curves,
        names,
        name="iso_compute",
        legend="examples processed, at most",
        x=scene.epsilon.x("epsilon"),
        title=f"Best {scene.unit.title.partition(',')[0]} against epsilon, by compute",
        caption="One line a limit on compute (steps × expected batch size): the best mean within the limit "
        "and each epsilon, chosen and measured on the same seeds.",
    )


def draw_iso_epsilon(scene: Scene) -> Drawing | None:
    """Utility against compute within each limit on epsilon."""
    curves = () if scene.frontier is None else scene.frontier.iso_epsilon()
    computes = {cell.compute for cell in scene.cells.items}
    if len(curves) < 2 or len(computes) < 2:
        return None
    names = [epsilon_up(curve.limit, digits=3) for curve in curves]
    return _iso(
        scene,
        curves,
        names,
        name="iso_epsilon",
        legend="epsilon, at most",
        x=number_axis("compute", "examples processed by a run (steps × batch)", computes, grid=True),
        title=f"Best {scene.unit.title.partition(',')[0]} against compute, by epsilon",
        caption="One line a limit on epsilon: the best mean within the limit and each compute, chosen and "
        "measured on the same seeds.",
    )


def _iso(
    scene: Scene,
    curves: Sequence[Curve],
    names: Sequence[str],
    *,
    name: str,
    legend: str,
    x: Json,
    title: str,
    caption: str,
) -> Drawing:
    table: Table = {"cell": [], "limit": [], x["field"]: [], "mean": []}
    for label, curve in zip(names, curves, strict=True):
        for point in curve.points:
            along = epsilon_number(point.epsilon) if x["field"] == "epsilon" else number(point.compute, 7)
            for key, value in (("cell", point.cell), ("limit", label), (x["field"], along)):
                table[key].append(value)
            table["mean"].append(number(scene.unit.of_utility(point.utility.mean)))
    y = scene.score(of=table["mean"])
    scale = {"domain": list(dict.fromkeys(names)), "range": "ordinal"}
    colour = {
        "field": "limit",
        "type": "nominal",
        "title": legend,
        "scale": scale,
        "legend": bottom_legend(len(names), longest=max(map(len, names))),
    }
    base: Json = {"data": {"name": name}}
    where = {"x": x, "y": y, "color": colour}
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": 2, "clip": True}
    joined = [{**scene.joined, "from": {**scene.joined["from"], "fields": _told_fields(scene, x["field"])}}]
    dots = {
        **base,
        "transform": joined,
        "params": [PICKED, ZOOM],
        "mark": {"type": "point", "filled": True, "size": 48, "clip": True},
        "encoding": {**where, "opacity": picked_opacity(1), "tooltip": tooltip(scene.cells)},
    }
    view = layered(*scene.without_privacy(y), {**base, "mark": line, "encoding": where}, dots)
    return Drawing(
        name=name,
        title=title,
        caption=caption,
        panels=(Panel(title="", view=view),),
        data={**scene.tables, name: table},
    )


def _told_fields(scene: Scene, own: str) -> list[str]:
    """What is looked up for a tooltip, but for what a row has itself."""
    return [field for field in scene.cells.names if field not in ("mean", own)]
