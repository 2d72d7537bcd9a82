"""The charts: info (frames of `clifftop.report.info`) to Altair, one function a chart.

All panels of a chart differ in their rows alone, so a chart is drawn once, without rows: axes from the
info of all its panels. `Drawing.spec` then gives it the rows of one panel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from clifftop.report.info import CLAIMED, TRUE
from clifftop.report.look import Look, shapes
from clifftop.report.wording import plain

ACCURACY = "test accuracy, %"
LOST = "accuracy lost, percentage points"
CLIP_NORM = "clip norm C"
NOISE_MULTIPLIER = "noise multiplier σ"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What all panels of a report share, so that they can be compared by eye.

    Attributes:
        look: the medium.
        clips: the labels of the clip norms, rising.
        sigmas: the labels of the noise multipliers, rising.
        accuracy: the accuracy axis, in percent.
        baseline: accuracy without privacy, in percent.
        delta: of every epsilon.
    """

    look: Look
    clips: tuple[str, ...]
    sigmas: tuple[str, ...]
    accuracy: tuple[float, float]
    baseline: float
    delta: float


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A chart without its rows.

    Attributes:
        chart: the layers, whose encodings name columns.
        columns: the columns they name.
    """

    chart: alt.LayerChart
    columns: tuple[str, ...]

    def specs(self, panels: Iterable[pl.DataFrame], scene: Scene) -> Iterator[dict[str, Any]]:
        """The Vega-Lite spec of each panel: the same chart over other rows."""
        drawn = self.chart.to_dict(validate=False)
        for info in panels:
            values = _rows(info.select(self.columns))
            yield {**drawn, "data": {"values": values}, "config": scene.look.config()}


def draw_curve(info: pl.DataFrame, scene: Scene, *, epsilons: tuple[float, float]) -> Drawing:
    """Accuracy against epsilon, one line a clip norm: solid at the true one, dashed as published."""
    title = f"epsilon at delta = {plain(scene.delta)}, log scale"
    x = alt.X("x:Q", title=title, scale=_log(epsilons), axis=_log_axis(epsilons))
    selected = _selection(scene, "clip")
    base = _picked(alt.Chart().encode(x=x, **_by_clip(scene)), selected)
    true = base.transform_filter(alt.datum.kind == TRUE)
    claimed = base.transform_filter(alt.datum.kind == CLAIMED)
    y, dash = _accuracy_y(scene), _kind_dash(scene, info)
    faint, solid = _fade(selected, 0.5), _fade(selected, 1.0)
    layers = [
        _baseline_rule(scene),
        _band(true, selected, 0.11),
        claimed.mark_line(strokeWidth=1.3).encode(y=y, strokeDash=dash, opacity=faint),
        _markers(claimed.encode(y=y, opacity=faint), scene, filled=False),
        true.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, opacity=solid),
        _markers(true.encode(y=y, opacity=solid), scene),
    ]
    return _drawing(layers, scene, "x", "kind", *_BY_CLIP, "lower", "upper")


def draw_gap(scene: Scene, *, lost: tuple[float, float]) -> Drawing:
    """Accuracy lost against the baseline at each noise multiplier, one point a clip norm."""
    upright = alt.Axis(labelAngle=0, grid=False, **_SPARSE)
    placed = alt.Chart().encode(
        x=alt.X("sigma:N", title=NOISE_MULTIPLIER, sort=scene.sigmas, axis=upright),
        xOffset=alt.XOffset("clip:N", sort=scene.clips),
        **_by_clip(scene),
    )
    selected = _selection(scene, "clip")
    base = _picked(placed, selected)
    axis = alt.Axis(tickCount=6, grid=True)
    y = alt.Y("lost:Q", title=LOST, scale=alt.Scale(domain=lost, nice=True), axis=axis)
    ends = {"y": alt.Y("lost_lower:Q", title=LOST), "y2": "lost_upper:Q"}
    layers = [
        alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=scene.look.muted).encode(y=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(**ends, opacity=_fade(selected, 0.55)),
        _markers(base.encode(y=y, opacity=_fade(selected, 1.0)), scene),
    ]
    return _drawing(layers, scene, "lost", "lost_lower", "lost_upper", *_BY_CLIP)


def draw_clipping(info: pl.DataFrame, scene: Scene) -> Drawing:
    """Accuracy against the clip norm, one line a noise multiplier."""
    selected = _selection(scene, "sigma")
    colors = alt.Scale(domain=scene.sigmas, range=list(scene.look.palette.sigmas(len(scene.sigmas))))
    drawn = alt.Chart().encode(
        x=_log_x("x", f"{CLIP_NORM}, log scale", info["x"]),
        y=_accuracy_y(scene),
        color=alt.Color(
            "sigma:N",
            title=NOISE_MULTIPLIER,
            scale=colors,
            legend=_legend(scene, columns=_columns(len(scene.sigmas))),
        ),
        opacity=_fade(selected, 1.0),
    )
    base = _picked(drawn, selected)
    points = base.mark_point(filled=True, size=60).encode(tooltip=_tooltips())
    layers = [_baseline_rule(scene), base.mark_line(strokeWidth=2), points]
    return _drawing(layers, scene, "x", "accuracy")


def draw_learning_rate(baseline: pl.DataFrame, scene: Scene) -> Drawing:
    """Accuracy against the learning rate, one line a clip norm, and training without privacy."""
    x = _log_x("lr", "learning rate, log scale", baseline["lr"])
    without = alt.Chart(alt.InlineData(values=_rows(baseline))).mark_line(
        color=scene.look.muted, strokeDash=[6, 4], strokeWidth=1.5
    )
    return _rates(scene, x, without.encode(x=x, y=_accuracy_y(scene)), "lr")


def draw_step_length(scene: Scene, *, lengths: tuple[float, float]) -> Drawing:
    """Accuracy against learning rate x clip norm: lines that meet differ by the step length alone."""
    title = "learning rate × C, log scale"
    x = alt.X("x:Q", title=title, scale=_log(lengths), axis=_log_axis(lengths))
    return _rates(scene, x, _baseline_rule(scene), "x")


def _rates(scene: Scene, x: alt.X, under: alt.Chart | alt.LayerChart, field: str) -> Drawing:
    selected = _selection(scene, "clip")
    base = _picked(alt.Chart().encode(x=x, **_by_clip(scene)), selected)
    lines = base.encode(y=_accuracy_y(scene), opacity=_fade(selected, 1.0))
    layers = [under, _band(base, selected, 0.09), lines.mark_line(strokeWidth=2), _markers(lines, scene)]
    return _drawing(layers, scene, field, *_BY_CLIP, "lower", "upper")


def log_domain(values: Sequence[float], *, room: float = 1.4) -> tuple[float, float]:
    """A log axis that holds ``values`` with a little room at both ends.

    >>> log_domain([1.0, 100.0], room=2.0)
    (0.5, 200.0)
    """
    return (min(values) / room, max(values) * room) if values else (0.1, 10.0)


_SPARSE: dict[str, Any] = {"labelOverlap": "greedy", "labelSeparation": 6}
_THOUSANDS = "datum.value >= 1000 ? format(datum.value / 1000, ',~g') + 'k' : format(datum.value, '~g')"
_BY_CLIP = ("clip", "accuracy")
_TOOLTIPS = {
    "sigma": NOISE_MULTIPLIER,
    "clip": CLIP_NORM,
    "rate": "learning rate",
    "accuracy_text": "test accuracy (95% interval)",
    "lost_text": "lost to privacy (95% interval)",
    "epsilon_text": "true epsilon, upper end",
    "published_text": "epsilon as published",
    "seeds": "seeds",
}


def _drawing(layers: Sequence[alt.Chart | alt.LayerChart], scene: Scene, *columns: str) -> Drawing:
    rows = alt.NamedData("panel")  # with no data at all, Altair would give each layer data of its own
    width, height = scene.look.width, scene.look.height
    return Drawing(
        chart=alt.LayerChart(layer=list(layers), data=rows, width=width, height=height),
        columns=tuple(dict.fromkeys([*columns, *_TOOLTIPS])),
    )


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.with_columns(pl.col(pl.Float64).round_sig_figs(6)).to_dicts()


def _by_clip(scene: Scene) -> dict[str, Any]:
    colors = alt.Scale(domain=scene.clips, range=list(scene.look.palette.clips(len(scene.clips))))
    return {
        "color": alt.Color(
            "clip:N", title=CLIP_NORM, scale=colors, legend=_legend(scene, columns=_columns(len(scene.clips)))
        )
    }


def _band(chart: alt.Chart, selected: alt.Parameter | None, opacity: float) -> alt.Chart:
    ends = {"y": alt.Y("lower:Q", title=ACCURACY), "y2": "upper:Q"}
    return chart.mark_area().encode(**ends, opacity=_fade(selected, opacity))


def _markers(chart: alt.Chart, scene: Scene, *, filled: bool = True) -> alt.Chart:
    scale = alt.Scale(domain=scene.clips, range=list(shapes(len(scene.clips))))
    shape = alt.Shape(
        "clip:N", title=CLIP_NORM, scale=scale, legend=_legend(scene, columns=_columns(len(scene.clips)))
    )
    return chart.mark_point(filled=filled, size=65, strokeWidth=1.5).encode(shape=shape, tooltip=_tooltips())


def _kind_dash(scene: Scene, info: pl.DataFrame) -> alt.StrokeDash:
    shown = [kind for kind in (TRUE, CLAIMED) if kind in set(info["kind"])]
    scale = alt.Scale(domain=shown, range=[[1, 0], [3, 3]][: len(shown)])
    columns = 2 if len(scene.clips) <= 4 else 1
    legend = _legend(scene, columns=columns, symbolType="stroke", symbolStrokeColor=scene.look.text)
    return alt.StrokeDash("kind:N", title="epsilon", scale=scale, legend=legend if len(shown) > 1 else None)


def _accuracy_y(scene: Scene) -> alt.Y:
    low, high = scene.accuracy
    step = next(step for step in (2, 5, 10, 20) if (high - low) / step <= 8)
    ticks = [tick for tick in range(0, 101, step) if low <= tick]
    scale = alt.Scale(domain=list(scene.accuracy), nice=False, zero=False)
    return alt.Y("accuracy:Q", title=ACCURACY, scale=scale, axis=alt.Axis(values=ticks, grid=True))


def _log(domain: tuple[float, float]) -> alt.Scale:
    return alt.Scale(type="log", domain=list(domain), nice=False)


def _log_axis(domain: tuple[float, float]) -> alt.Axis:
    return alt.Axis(values=log_ticks(domain), labelExpr=_THOUSANDS, grid=True, **_SPARSE)


def log_ticks(domain: tuple[float, float]) -> list[float]:
    """Powers of ten within ``domain``, at most eight; with 2 and 5 times them where they are few.

    >>> log_ticks((0.5, 2000.0)), log_ticks((0.8, 7.0))
    ([1.0, 10.0, 100.0, 1000.0], [1.0, 2.0, 5.0])
    """
    low, high = math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1]))
    every = max(1, math.ceil((high - low - 1) / 8))
    powers = [float(f"1e{power}") for power in range(low, high + 1, every)]
    coarse = [tick for tick in powers if domain[0] <= tick <= domain[1]]
    if len(coarse) > 2:
        return coarse
    return [tick * power for power in powers for tick in (1, 2, 5) if domain[0] <= tick * power <= domain[1]]


def _log_x(field: str, title: str, shared: pl.Series) -> alt.X:
    values = sorted({float(value) for value in shared.drop_nulls()})
    axis = alt.Axis(values=values[:: max(1, math.ceil(len(values) / 8))], format=",~g", grid=False, **_SPARSE)
    return alt.X(f"{field}:Q", title=title, scale=_log(log_domain(values)), axis=axis)


def _columns(count: int) -> int:
    """Legend entries side by side, so that a legend of many is no wider than a narrow panel."""
    return count if count <= 4 else min(4, math.ceil(count / 2))


def _legend(scene: Scene, *, columns: int, **options: Any) -> alt.Legend:
    if scene.look.legend == "right":
        return alt.Legend(orient="right", symbolOpacity=1, **options)
    return alt.Legend(orient="bottom", direction="horizontal", columns=columns, symbolOpacity=1, **options)


def _selection(scene: Scene, field: str) -> alt.Parameter | None:
    """A click on the legend picks a line; None where nothing can be clicked."""
    if not scene.look.interactive:
        return None
    return alt.selection_point(fields=[field], bind="legend", name=f"pick_{field}")


def _picked(base: alt.Chart, selected: alt.Parameter | None) -> alt.Chart:
    """``base`` with the selection: every layer made of it must carry it, for they share one legend."""
    return base if selected is None else base.add_params(selected)


def _fade(selected: alt.Parameter | None, opacity: float) -> Any:
    if selected is None:
        return alt.OpacityValue(opacity)
    return alt.when(selected).then(alt.value(opacity)).otherwise(alt.value(0.08 * opacity))


def _baseline_rule(scene: Scene) -> alt.LayerChart:
    """Where training without privacy lies, named just above; above the line of 100% when near it."""
    text = f"no privacy: {scene.baseline:.1f}%"
    once = alt.Chart(alt.InlineData(values=[{}]))
    rule = once.mark_rule(color=scene.look.muted, strokeDash=[6, 4], strokeWidth=1.2)
    label = once.mark_text(
        align="left", baseline="bottom", dx=4, dy=-4, color=scene.look.muted, fontSize=11, text=text
    )
    place = 100.0 if scene.baseline > 95 else scene.baseline
    named = label.encode(x=alt.value(0), y=alt.datum(place))
    return alt.LayerChart(layer=[rule.encode(y=alt.datum(scene.baseline)), named])


def _tooltips() -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in _TOOLTIPS.items()]
