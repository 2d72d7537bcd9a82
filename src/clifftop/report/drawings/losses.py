"""Where utility was lost: the parts of each cell's loss, stacked, beside their total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.report.drawings.axes import difference_axis
from clifftop.report.drawings.cells import FEW
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered, spread
from clifftop.report.drawings.marks import ONCE, PICKED, bottom_legend, picked_opacity
from clifftop.report.drawings.scene import Scene
from clifftop.report.drawings.units import number, value_text
from clifftop.report.wording import counted

if TYPE_CHECKING:
    from clifftop.analysis.decomposition import CellLoss
    from clifftop.analysis.uncertainty import Estimate

Json = dict[str, Any]
_MOST_CELLS = 21
_MOST_LRS = 3
OWN = "the cell's own learning rate in every arm"
TUNED = "every arm at its best learning rate"
PARTS = {
    "clipping": "clipping",
    "noise": "noise",
    "interaction": "interaction",
    "architecture": "architecture",
    "noise_given_clipping": "noise, after clipping",
    "clipping_given_noise": "clipping, after noise",
}
_ORDER = ("clip_norm", "clipping", "noise_multiplier", "target_epsilon")


def draw_decomposition(scene: Scene) -> Drawing | None:
    """The parts of every cell's loss, at its own learning rate and at the best of every arm."""
    found = scene.material.decomposition
    if found is None:
        return None
    panels = {**_by_lr(scene, found.fixed), **({TUNED: list(found.tuned)} if found.tuned else {})}
    panels = {name: _some(scene, losses) for name, losses in panels.items()}
    panels = {name: losses for name, losses in panels.items() if losses}
    if not panels:
        return None
    parts, totals = _tables(scene, panels)
    if not totals["cell"]:
        return None
    x = difference_axis("value", f"utility lost, {scene.unit.difference}", _reach(scene, panels))
    kinds = [title for name, title in PARTS.items() if title in set(parts["part"])]
    return Drawing(
        name="decomposition",
        title="Where utility was lost" if kinds else f"{scene.unit.name} lost to privacy",
        caption=_caption(scene, panels, totals, kinds),
        panels=tuple(_panel(name, losses, x, kinds, totals, len(panels)) for name, losses in panels.items()),
        data={"parts": parts, "losses": totals},
        per_row=2,
    )


def _by_lr(scene: Scene, fixed: Sequence[CellLoss]) -> dict[str, list[CellLoss]]:
    """The losses at fixed learning rates, a panel each, at most `_MOST_LRS`."""
    lrs = scene.cells.distinct("lr")
    if len(lrs) < 2:
        return {"": list(fixed)} if fixed else {}
    if len(lrs) > FEW:
        return {OWN: list(fixed)}
    wanted = spread(lrs, _MOST_LRS)
    return {
        f"learning rate {value_text(lr)} in every arm": [
            loss for loss in fixed if loss.setting.get("lr") == lr
        ]
        for lr in wanted
    }


def _some(scene: Scene, losses: Sequence[CellLoss]) -> list[CellLoss]:
    """At most `_MOST_CELLS` of the losses that are known: those of the front first."""
    known = [loss for loss in losses if loss.total is not None or loss.addends]
    if len(known) > _MOST_CELLS:
        front = set(scene.front)
        on_front = [loss for loss in known if front & set(loss.cells)][:_MOST_CELLS]
        others = [loss for loss in known if not front & set(loss.cells)]
        more = _MOST_CELLS - len(on_front)
        known = on_front + (spread(sorted(others, key=_by_setting), more) if more > 1 else [])
    return sorted(known, key=_by_setting)


def _by_setting(loss: CellLoss) -> tuple[tuple[int, float, str], ...]:
    found = []
    for name in (*_ORDER, *sorted(set(loss.setting) - set(_ORDER))):
        value = loss.setting.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        found.append((0, float(value), "") if is_number and value is not None else (1, 0.0, str(value)))
    return tuple(found)


def _tables(scene: Scene, panels: Mapping[str, Sequence[CellLoss]]) -> tuple[Table, Table]:
    parts: Table = {"cell": [], "panel": [], "label": [], "part": [], "value": [], "lower": [], "upper": []}
    totals: Table = {"cell": [], "panel": [], "label": []}
    totals |= {f"{name}{end}": [] for name in ("total", "undertraining") for end in ("", "_lower", "_upper")}
    for panel, losses in panels.items():
        for loss in losses:
            text = scene.cells.label(loss.cell, but=() if panel == OWN else ("lr",)) or "the private cell"
            for name, part in loss.addends.items():
                _append(parts, cell=loss.cell, panel=panel, label=text, part=PARTS.get(name, name))
                _append(parts, **dict(zip(("value", "lower", "upper"), _ends(scene, part), strict=True)))
            _append(totals, cell=loss.cell, panel=panel, label=text)
            for name, found in (("total", loss.total), ("undertraining", loss.undertraining)):
                keys = (name, f"{name}_lower", f"{name}_upper")
                _append(totals, **dict(zip(keys, _ends(scene, found), strict=True)))
    return parts, totals


def _append(table: Table, **values: object) -> None:
    for name, value in values.items():
        table[name].append(value)


def _ends(scene: Scene, found: Estimate | None) -> tuple[Any, Any, Any]:
    if found is None:
        return None, None, None
    low, high = (None, None) if found.ci95 is None else found.ci95
    factor = scene.unit.factor
    return (
        number(factor * found.mean),
        number(None if low is None else factor * low),
        number(None if high is None else factor * high),
    )


def _reach(scene: Scene, panels: Mapping[str, Sequence[CellLoss]]) -> list[float]:
    """How far the stacks reach both ways, and the totals with their intervals."""
    found: list[float] = [0.0]
    for loss in (loss for losses in panels.values() for loss in losses):
        values = [part.mean for part in loss.addends.values()]
        found += [sum(v for v in values if v > 0), sum(v for v in values if v < 0)]
        if loss.total is not None:
            found.append(loss.total.mean)
    reach = 1.6 * max(map(abs, found))
    for loss in (loss for losses in panels.values() for loss in losses):
        ends = () if loss.total is None or loss.total.ci95 is None else loss.total.ci95
        found += [min(reach, max(-reach, end)) for end in ends]
    return [scene.unit.factor * value for value in found]


def _panel(
    name: str, losses: Sequence[CellLoss], x: Json, kinds: Sequence[str], totals: Table, count: int
) -> Panel:
    order = [text for text, panel in zip(totals["label"], totals["panel"], strict=True) if panel == name]
    only = [{"filter": {"field": "panel", "equal": name}}]
    axis = {"labelLimit": 240, "grid": False, "domain": False, "ticks": False}
    y = {"field": "label", "type": "nominal", "title": None, "sort": order, "axis": axis}
    height = max(150, 21 * len(losses) + 20)
    return Panel(
        title=name[:1].upper() + name[1:],
        view=layered(
            _bars(only, x, y, kinds) if kinds else None, *_totals(only, x, y, totals, alone=not kinds)
        ),
        height=height,
        paper=(330 if count > 1 else 520, max(120, 18 * len(losses))),
    )


def _bars(only: Sequence[Json], x: Json, y: Json, kinds: Sequence[str]) -> Json:
    colour = {
        "field": "part",
        "type": "nominal",
        "title": "part of the loss",
        "scale": {"domain": list(kinds), "range": "category"},
        "legend": bottom_legend(len(kinds), longest=12),
    }
    told = [
        {"field": "label", "title": "cell", "type": "nominal"},
        {"field": "part", "type": "nominal"},
        *_interval_told("value", "lower", "upper", "points lost"),
    ]
    places = [{"calculate": f"indexof({list(kinds)}, datum.part)", "as": "place"}]
    return {
        "data": {"name": "parts"},
        "transform": [*only, *places],
        "params": [PICKED],
        "mark": {"type": "bar", "clip": True},
        "encoding": {
            "x": {**x, "stack": "zero"},
            "y": y,
            "color": colour,
            "order": {"field": "place", "type": "quantitative"},
            "opacity": picked_opacity(0.9),
            "tooltip": told,
        },
    }


def _interval_told(value: str, lower: str, upper: str, title: str) -> list[Json]:
    named = ((value, title), (lower, "95% interval from"), (upper, "to"))
    return [
        {"field": field, "title": text, "type": "quantitative", "format": ".3~g"} for field, text in named
    ]


def _totals(only: Sequence[Json], x: Json, y: Json, totals: Table, *, alone: bool) -> list[Json]:
    """Zero, the total with its interval, and the undertraining where it is known."""
    base: Json = {"data": {"name": "losses"}}
    zero = {**ONCE, "mark": {"type": "rule", "style": "rule-muted"}, "encoding": {"x": {"datum": 0}}}
    ends = {"x": {**x, "field": "total_lower"}, "x2": {"field": "total_upper"}, "y": y}
    told = [
        {"field": "label", "title": "cell", "type": "nominal"},
        *_interval_told("total", "total_lower", "total_upper", "points lost in all"),
        *_interval_told(
            "undertraining", "undertraining_lower", "undertraining_upper", "of these by undertraining"
        ),
    ]
    known = [*only, {"filter": "isValid(datum.total)"}]
    rule = {"type": "rule", "style": "rule-ink", "clip": True}
    dot = {"type": "point", "style": "dot-ink", "size": 42, "clip": True}
    layers: list[Json] = [
        zero,
        {
            **base,
            "transform": [*known, {"filter": "isValid(datum.total_lower)"}],
            "mark": rule,
            "encoding": ends,
        },
        {
            **base,
            **({"params": [PICKED]} if alone else {}),
            "transform": known,
            "mark": dot,
            "encoding": {"x": {**x, "field": "total"}, "y": y, "tooltip": told},
        },
    ]
    if any(value is not None for value in totals["undertraining"]):
        some = [*only, {"filter": "isValid(datum.undertraining)"}]
        diamond = {"type": "point", "style": "ring", "shape": "diamond", "size": 80, "clip": True}
        where = {"x": {**x, "field": "undertraining"}, "y": y, "tooltip": told}
        layers.append({**base, "transform": some, "mark": diamond, "encoding": where})
    return layers


def _caption(
    scene: Scene, panels: Mapping[str, Sequence[CellLoss]], totals: Table, kinds: Sequence[str]
) -> str:
    reference = "the original model" if "architecture" in kinds else "training without privacy"
    known = any(value is not None for value in totals["total_lower"])
    interval = ", with the 95% interval over seeds" if known else ""
    parts = [f"Dots: what a private cell loses against {reference}{interval}."]
    if kinds:
        parts.append("Bars: its parts, which add up to it; a bar left of zero spares what others cost.")
    if any(value is not None for value in totals["undertraining"]):
        parts.append("Diamonds: what the baseline loses when it is stopped at the same training fit.")
    if TUNED in panels:
        parts.append("Tuned: each arm at the learning rate that is best for it, chosen on the other seeds.")
    shown = {cell for losses in panels.values() for loss in losses for cell in loss.cells}
    if len(shown) < len(scene.cells.items):
        parts.append(
            f"{counted(len(shown), 'cell')} of {len(scene.cells.items):,}, those on the front first."
        )
    return " ".join(parts)
