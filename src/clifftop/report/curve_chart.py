"""The plot of `clifftop curve`: a certified bound against one setting, a line for each value of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from clifftop.report.drawings.axes import log_domain, log_ticks
from clifftop.report.drawings.look import PAPER, config
from clifftop.report.shades import shapes
from clifftop.report.wording import short_labels

WIDE = 30.0
"""An axis whose values differ by more than this factor is logarithmic."""

FEW = 30
"""Points are marked on lines that have at most so many."""

PLAIN = ",.6~f"

Rows = Sequence[Mapping[str, float | str]]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A column and what a person calls it."""

    column: str
    title: str


@dataclass(frozen=True, kw_only=True)
class CurveChart:
    """What is drawn.

    Attributes:
        rows: with the columns named below, and ``lower`` and ``upper``, the ends of the bound.
        x: the setting along the axis.
        y: what is bounded; its column is not used.
        series: the setting with a line for each of its values; None for one line.
        title: of the plot.
        subtitle: what all points share.
    """

    rows: Rows
    x: Labelled
    y: Labelled
    series: Labelled | None
    title: str
    subtitle: str

    def png(self) -> bytes:
        """The plot at twice the pixels."""
        return vl_convert.vegalite_to_png(self.spec(), scale=2, vl_version=_vega_lite_version())

    def svg(self) -> bytes:
        """The plot as vectors."""
        return vl_convert.vegalite_to_svg(self.spec(), vl_version=_vega_lite_version()).encode()

    def html(self) -> bytes:
        """A page that needs nothing from any network."""
        return vl_convert.vegalite_to_html(self.spec(), bundle=True, vl_version=_vega_lite_version()).encode()

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite spec. Errors: ValueError if no point is finite."""
        labels, values = self._values()
        if not values:
            raise ValueError(f"a plot needs a finite {self.y.title}, found none; add noise, or raise delta")
        x = _axis(alt.X, "x", self.x.title, [value["x"] for value in values])
        y = _axis(alt.Y, "upper", f"{self.y.title}, certified", [value["upper"] for value in values])
        base = alt.Chart(alt.InlineData(values=values)).encode(x=x, **self._by_series(labels))
        layers = [
            base.mark_area(opacity=0.2).encode(y=y, y2="lower:Q"),
            base.mark_line(strokeWidth=2).encode(y=y),
        ]
        if max(sum(value["series"] == label for value in values) for label in labels) <= FEW:
            layers.append(self._points(base.encode(y=y), labels))
        title = alt.TitleParams(text=self.title, subtitle=self.subtitle)
        chart = alt.LayerChart(layer=layers, width=560, height=360, title=title)
        return {**chart.to_dict(validate=False), "config": config(PAPER) | {"padding": 12}}

    def _values(self) -> tuple[list[str], list[dict[str, Any]]]:
        """The labels of the lines, and every finite point."""
        column = None if self.series is None else self.series.column
        found = [] if column is None else list(dict.fromkeys(float(row[column]) for row in self.rows))
        labels = dict(zip(found, short_labels(found), strict=True))
        values = [
            {
                "x": float(row[self.x.column]),
                "lower": float(row["lower"]),
                "upper": float(row["upper"]),
                "series": "" if column is None else labels[float(row[column])],
            }
            for row in self.rows
            if math.isfinite(float(row["upper"]))
        ]
        return list(labels.values()) or [""], values

    def _by_series(self, labels: list[str]) -> dict[str, Any]:
        colors = alt.Scale(domain=labels, range=list(PAPER.shades.clips(len(labels))))
        legend = None if self.series is None else alt.Legend(orient="right", symbolOpacity=1)
        title = "" if self.series is None else self.series.title
        return {"color": alt.Color("series:N", title=title, scale=colors, legend=legend)}

    def _points(self, chart: alt.Chart, labels: list[str]) -> alt.Chart:
        legend = None if self.series is None else alt.Legend(orient="right", symbolOpacity=1)
        scale = alt.Scale(domain=labels, range=list(shapes(len(labels))))
        title = "" if self.series is None else self.series.title
        shape = alt.Shape("series:N", title=title, scale=scale, legend=legend)
        tooltip = [alt.Tooltip("x:Q", title=self.x.title), alt.Tooltip("upper:Q", title=self.y.title)]
        return chart.mark_point(filled=True, size=55, opacity=1).encode(shape=shape, tooltip=tooltip)


def _axis(channel: type[Any], field: str, title: str, values: Sequence[float]) -> Any:
    """An axis over ``values``: logarithmic where they span more than a factor of `WIDE`."""
    low, high = min(values), max(values)
    if low > 0 and high / low > WIDE:
        domain = log_domain(list(values), room=max(1.15, (high / low) ** 0.02))
        axis = alt.Axis(values=log_ticks(domain), format=_format(domain), grid=True)
        scale = alt.Scale(type="log", domain=list(domain), nice=False)
        return channel(f"{field}:Q", title=f"{title}, log scale", scale=scale, axis=axis)
    scale = alt.Scale(zero=channel is alt.Y, nice=True)
    return channel(
        f"{field}:Q", title=title, scale=scale, axis=alt.Axis(format=PLAIN, grid=True, tickCount=7)
    )


def _format(domain: tuple[float, float]) -> str:
    return "~e" if domain[0] < 1e-3 else PLAIN


def _vega_lite_version() -> str:
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
