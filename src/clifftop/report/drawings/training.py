"""What clipping and noise did to gradients over training, for a handful of cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.report.drawings.axes import log_domain, log_ticks
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered, spread
from clifftop.report.drawings.marks import PICKED, bottom_legend, picked_opacity
from clifftop.report.drawings.scene import Scene
from clifftop.report.drawings.units import number
from clifftop.report.wording import counted

if TYPE_CHECKING:
    from clifftop.lab.reading.curves import Trace

Json = dict[str, Any]
_SHOWN = 6
_LAYERS = 8
_WIDE = 30.0
QUANTITIES = {
    "fraction_clipped": "share of examples clipped",
    "clipping_bias": "norm of the clipping bias",
    "bias_cosine": "cosine of clipped and true mean",
    "noise_to_signal": "noise to signal, per step",
}


def draw_training(scene: Scene) -> Drawing | None:
    """Every diagnostic of the whole gradient over training."""
    traces = _traces(scene, layered_ones=False)
    names = [name for name in QUANTITIES if any(trace.name == name for trace in traces)]
    if not names:
        return None
    shown = _shown(scene, traces)
    table = _table(scene, traces, shown)
    labels = [scene.cells.label(cell) for cell in shown]
    panels = tuple(
        _panel(
            name,
            _capital(QUANTITIES[name]),
            [{"filter": {"field": "name", "equal": name}}],
            traces,
            labels,
            "gradients",
        )
        for name in names
    )
    return Drawing(
        name="gradient_level",
        title="What clipping and noise do to gradients over training",
        caption=_caption(scene, traces, shown),
        panels=panels,
        data={"gradients": table},
        per_row=2,
    )


def draw_layers(scene: Scene) -> Drawing | None:
    """Noise to signal, or else the clipped share, layer by layer."""
    traces = _traces(scene, layered_ones=True)
    name = next(
        (name for name in ("noise_to_signal", *QUANTITIES) if any(t.name == name for t in traces)), None
    )
    if name is None:
        return None
    kept = [trace for trace in traces if trace.name == name]
    layers = list(dict.fromkeys(str(trace.layer) for trace in kept))
    some = spread(layers, _LAYERS)
    shown = _shown(scene, kept)
    kept = [trace for trace in kept if trace.layer in some]
    labels = [scene.cells.label(cell) for cell in shown]
    panels = tuple(
        _panel(
            name,
            f"layer {layer}",
            [{"filter": {"field": "layer", "equal": layer}}],
            kept,
            labels,
            "layers",
            small=True,
        )
        for layer in some
    )
    all_of = "" if len(some) == len(layers) else f" {counted(len(some), 'layer')} of {len(layers)}."
    return Drawing(
        name="layer_gradients",
        title=f"{_capital(QUANTITIES[name])}, layer by layer",
        caption=f"One panel a layer, on one scale.{all_of} {_caption(scene, kept, shown)}",
        panels=panels,
        data={"layers": _table(scene, kept, shown)},
        per_row=4,
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _traces(scene: Scene, *, layered_ones: bool) -> list[Trace]:
    curves = scene.material.curves
    found = () if curves is None else curves.traces
    return [t for t in found if (t.layer is not None) == layered_ones and t.cell in scene.cells.place]


def _shown(scene: Scene, traces: Iterable[Trace]) -> list[int]:
    """The cells drawn before one is picked: the front's, a handful, by rising epsilon."""
    traced = list(dict.fromkeys(trace.cell for trace in traces))
    front = [cell for cell in scene.front if cell in traced]
    kept = spread(front or traced, _SHOWN)
    return sorted(kept, key=lambda cell: float(scene.cells.epsilon[scene.cells.place[cell]]))


def _table(scene: Scene, traces: Iterable[Trace], shown: Sequence[int]) -> Table:
    columns = ("cell", "label", "shown", "name", "layer", "step", "value")
    table: Table = {name: [] for name in columns}
    for trace in traces:
        label = scene.cells.label(trace.cell)
        for step, value in zip(trace.steps.tolist(), trace.values.tolist(), strict=True):
            row = (
                trace.cell,
                label,
                int(trace.cell in shown),
                trace.name,
                trace.layer,
                step,
                number(value, 4),
            )
            for name, item in zip(columns, row, strict=True):
                table[name].append(item)
    if all(layer is None for layer in table["layer"]):
        del table["layer"]
    return table


def _panel(
    name: str,
    title: str,
    only: Sequence[Json],
    traces: Iterable[Trace],
    labels: Sequence[str],
    data: str,
    *,
    small: bool = False,
) -> Panel:
    values = [v for trace in traces if trace.name == name for v in trace.values.tolist() if math.isfinite(v)]
    y = _value_axis(name, values)
    x = {"field": "step", "type": "quantitative", "title": "step", "axis": {"grid": False, "tickCount": 5}}
    legend = bottom_legend(len(labels), longest=max(map(len, labels), default=0))
    colour = {
        "field": "label",
        "type": "nominal",
        "title": "cell",
        "scale": {"domain": list(labels), "range": "category"},
        "legend": legend,
    }
    told = [
        {"field": "label", "title": "cell", "type": "nominal"},
        {"field": "step", "type": "quantitative"},
        {"field": "value", "title": QUANTITIES[name], "type": "quantitative", "format": ".3~g"},
    ]
    base: Json = {"data": {"name": data}}
    line = {
        **base,
        "transform": [*only, {"filter": "datum.shown"}],
        "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
        "encoding": {"x": x, "y": y, "color": colour, "opacity": picked_opacity(1)},
    }
    dots = {
        **base,
        "transform": [*only, {"filter": "datum.shown"}],
        "params": [PICKED],
        "mark": {"type": "point", "filled": True, "size": 30, "clip": True},
        "encoding": {"x": x, "y": y, "color": colour, "opacity": picked_opacity(0.5), "tooltip": told},
    }
    own = {
        **base,
        "transform": [*only, {"filter": {"param": "picked", "empty": False}}],
        "mark": {"type": "line", "style": "rule-ink", "strokeWidth": 2.2, "clip": True},
        "encoding": {"x": x, "y": y, "detail": {"field": "cell", "type": "nominal"}},
    }
    paper = (210, 150) if small else (330, 210)
    return Panel(title=title, view=layered(line, own, dots), height=220, paper=paper)


def _value_axis(name: str, values: Sequence[float]) -> Json:
    """Shares from 0 to 1, cosines up to 1, norms on a log scale where they differ."""
    channel: Json = {"field": "value", "type": "quantitative", "title": None}
    if name == "fraction_clipped":
        return {
            **channel,
            "scale": {"domain": [0, 1.02], "nice": False},
            "axis": {"format": "%", "tickCount": 5},
        }
    low, high = min(values, default=0.0), max(values, default=1.0)
    if name == "bias_cosine":
        return {
            **channel,
            "scale": {"domain": [min(0.0, low), 1.02], "nice": False},
            "axis": {"tickCount": 5},
        }
    positive = [value for value in values if value > 0]
    if len(positive) == len(values) and values and high / low > _WIDE:
        domain = log_domain(values)
        axis = {"values": log_ticks(domain), "format": "~g"}
        scale = {"type": "log", "domain": list(domain), "nice": False}
        return {**channel, "title": "log scale", "scale": scale, "axis": axis}
    return {**channel, "scale": {"domain": [min(0.0, low), high * 1.05 or 1.0]}, "axis": {"tickCount": 5}}


def _caption(scene: Scene, traces: Sequence[Trace], shown: Sequence[int]) -> str:
    runs = sorted({trace.runs for trace in traces})
    over = counted(runs[0], "run") if len(runs) == 1 else f"{runs[0]:,} to {runs[-1]:,} runs"
    front = set(shown) <= set(scene.front)
    which = f"{counted(len(shown), 'cell')}{' of the front' if front and scene.front else ''}"
    traced = len({trace.cell for trace in traces})
    more = (
        "" if traced == len(shown) else f" Picking one of the {counted(traced, 'traced cell')} adds its line."
    )
    return f"Means over {over} for {which}.{more}"
