"""The report's figures: which panels each has, as PNG files and as specs for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from clifftop.analysis.summary import Summary
from clifftop.report.charts import (
    Drawing,
    Scene,
    draw_clipping,
    draw_curve,
    draw_gap,
    draw_learning_rate,
    draw_step_length,
    log_domain,
)
from clifftop.report.info import (
    CLAIMED,
    accuracy_domain,
    baseline_info,
    cells_info,
    clipping_info,
    curve_info,
    learning_rate_info,
    sigma_labels,
)
from clifftop.report.look import Look, on_page, on_paper
from clifftop.report.wording import counted, plain

ALWAYS = ("privacy_utility_curve", "utility_gap", "clipping_effect")
SEVERAL_LRS = "learning_rate"
PANELS_PER_ROW = 3
_EMBED = "window.vegaEmbed = vegaEmbed;"
Draw = Callable[[Scene], Drawing]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels drawn in one way: ``draw`` gives the chart, ``info`` the rows of every panel."""

    info: pl.DataFrame
    draw: Draw


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure, before it is drawn.

    Attributes:
        name: the PNG's name without its ending.
        title: what it shows.
        caption: how to read it.
        rows: what it is made of.
        per_row: panels side by side in the PNG.
    """

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    per_row: int = PANELS_PER_ROW


@dataclass(frozen=True, kw_only=True)
class PanelChart:
    """One panel, drawn: its title and its Vega-Lite spec."""

    title: str
    spec: dict[str, Any]


def figures(summary: Summary) -> tuple[Figure, ...]:
    """The figures this study has: three, and the learning rate's when it has several."""
    found = (_curve(summary), _gap(summary), _clipping(summary))
    return (*found, _learning_rate(summary)) if len(summary.lrs) > 1 else found


def figure_names(summary: Summary) -> tuple[str, ...]:
    """The names of the PNG files this study has, without their ending."""
    return (*ALWAYS, SEVERAL_LRS) if len(summary.lrs) > 1 else ALWAYS


def png(figure: Figure, summary: Summary) -> bytes:
    """``figure`` as a PNG at twice the pixels, with its title and caption."""
    alone = len(figure.rows) == 1 and figure.rows[0].info["panel"].n_unique() == 1
    size = (620, 380) if alone else (300, 230)
    look = on_paper(width=size[0], height=size[1], legend="right" if alone else "bottom")
    spec = _titled(figure, _panel_charts(figure, _scene(summary, look)), look)
    return vl_convert.vegalite_to_png(spec, scale=2, vl_version=_vega_lite_version())


def page_charts(figure: Figure, summary: Summary) -> tuple[PanelChart, ...]:
    """``figure`` as interactive charts, one a panel."""
    several = any(row.info["panel"].n_unique() > 1 for row in figure.rows)
    return _panel_charts(figure, _scene(summary, on_page(height=240 if several else 340)))


def _panel_charts(figure: Figure, scene: Scene) -> tuple[PanelChart, ...]:
    charts: list[PanelChart] = []
    for row in figure.rows:
        panels = row.info.partition_by("panel", maintain_order=True)
        specs = row.draw(scene).specs(panels, scene)
        charts += [
            PanelChart(title=str(panel["panel"][0]), spec=spec)
            for panel, spec in zip(panels, specs, strict=True)
        ]
    return tuple(charts)


@cache
def javascript() -> str:
    """The Vega, Vega-Lite and Vega-Embed libraries as one script that needs nothing else."""
    return vl_convert.javascript_bundle(_EMBED, vl_version=_vega_lite_version())


def _curve(summary: Summary) -> Figure:
    info = curve_info(summary)
    epsilons = log_domain(_known(info["x"]))
    claimed = CLAIMED in set(info["kind"])
    shift = "Solid: at the true epsilon; dashed and hollow: the same runs at the epsilon published. "
    return Figure(
        name=ALWAYS[0],
        title="Accuracy against epsilon",
        caption=f"{shift if claimed else ''}{_means(summary)}",
        rows=(Row(info=info, draw=lambda scene: draw_curve(info, scene, epsilons=epsilons)),),
    )


def _gap(summary: Summary) -> Figure:
    info = cells_info(summary)
    ends = [value for name in ("lost", "lost_lower", "lost_upper") for value in info[name].drop_nulls()]
    seeds = counted(summary.num_seeds, "seed")
    lost = (min([0.0, *ends]), max([1.0, *ends]))
    return Figure(
        name=ALWAYS[1],
        title="Accuracy lost against training without privacy",
        caption=f"Paired by seed; lower is better. Points: mean over {seeds}{_bars(summary)}.",
        rows=(Row(info=info, draw=lambda scene: draw_gap(scene, lost=lost)),),
    )


def _clipping(summary: Summary) -> Figure:
    info = clipping_info(summary)
    return Figure(
        name=ALWAYS[2],
        title="Accuracy against the clip norm",
        caption=f"One line a noise multiplier; means over {counted(summary.num_seeds, 'seed')}. "
        "Clip norm and learning rate act together: a clipped step is at most their product long.",
        rows=(Row(info=info, draw=lambda scene: draw_clipping(info, scene)),),
    )


def _learning_rate(summary: Summary) -> Figure:
    info, baseline = learning_rate_info(summary), baseline_info(summary)

    def rate(scene: Scene) -> Drawing:
        return draw_learning_rate(baseline, replace(scene, accuracy=accuracy))

    def length(scene: Scene) -> Drawing:
        return draw_step_length(replace(scene, accuracy=accuracy), lengths=lengths)

    lengths = log_domain(_known(info["x"]))
    accuracy = accuracy_domain((info, baseline), summary.baseline.accuracy.mean)
    panels = info["panel"].n_unique()
    return Figure(
        name=SEVERAL_LRS,
        title="Accuracy against the learning rate",
        caption=f"{_means(summary)} Above: against the learning rate; dashed, training without privacy. "
        "Below: the same runs against learning rate × clip norm C, the longest step of one clipped example.",
        rows=(Row(info=info, draw=rate), Row(info=info, draw=length)),
        per_row=panels,
    )


def _known(values: pl.Series) -> list[float]:
    return [float(value) for value in values.drop_nulls()]


def _means(summary: Summary) -> str:
    if summary.num_seeds == 1:
        return "One seed, so no intervals."
    return f"Means over {counted(summary.num_seeds, 'seed')}; bands: 95% interval of the mean."


def _bars(summary: Summary) -> str:
    return "; bars: 95% interval of the mean" if summary.num_seeds > 1 else ""


def _scene(summary: Summary, look: Look) -> Scene:
    baseline = summary.baseline.accuracy.mean
    return Scene(
        look=look,
        clips=tuple(plain(value) for value in summary.clip_norms),
        sigmas=tuple(sigma_labels(summary).values()),
        accuracy=accuracy_domain((cells_info(summary),), baseline),
        baseline=100 * baseline,
        delta=summary.delta,
    )


def _titled(figure: Figure, charts: Sequence[PanelChart], look: Look) -> dict[str, Any]:
    """One spec of all panels, put together as JSON: Altair's own concatenation copies all data often."""
    columns = min(figure.per_row, len(charts))
    subtitle = _wrap(figure.caption, width=100 if len(charts) == 1 else 62 * columns)
    title = {"text": figure.title, "subtitle": subtitle, "fontSize": 16, "offset": 14, "anchor": "start"}
    first = charts[0].spec
    whole = {"title": title, "padding": 14, "config": look.config()}
    if len(charts) == 1:
        return {**first, **whole}
    of_the_whole = ("$schema", "config", "datasets")
    panels = [
        {"title": chart.title, **{key: value for key, value in chart.spec.items() if key not in of_the_whole}}
        for chart in charts
    ]
    datasets = {name: rows for chart in charts for name, rows in chart.spec.get("datasets", {}).items()}
    shared = {"scale": {"color": "shared", "shape": "shared", "strokeDash": "shared"}}
    more = {"concat": panels, "columns": columns, "spacing": 26, "resolve": shared, "datasets": datasets}
    return {"$schema": first["$schema"], **whole, **more}


def _wrap(text: str, *, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _vega_lite_version() -> str:
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
