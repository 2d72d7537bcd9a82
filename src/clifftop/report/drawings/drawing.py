"""A chart as a value: views over named data, for the page and, with the data inside, for files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import vl_convert

from clifftop.report.drawings.look import PAPER, config

Json = dict[str, Any]
Table = dict[str, list[Any]]
"""A data set by column; all columns are equally long. Rows repeat no name, so a page stays small."""

FileFormat = Literal["png", "svg", "pdf"]
VEGA_LITE = "6.1"
_SCHEMA = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json"
_SCALE = 2


def rows(table: Table) -> list[Json]:
    """The rows of a table.

    >>> rows({"cell": [0, 1], "epsilon": [0.5, 1.0]})
    [{'cell': 0, 'epsilon': 0.5}, {'cell': 1, 'epsilon': 1.0}]
    """
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


@final
@dataclass(frozen=True, kw_only=True)
class Panel:
    """One view of a drawing.

    Attributes:
        title: what tells it from its neighbours; "" where it is alone.
        view: a Vega-Lite view without size, config and data; its layers name their data.
        height: of the plot in pixels.
        paper: width and height of the plot in a file.
    """

    title: str
    view: Json
    height: int = 320
    paper: tuple[int, int] = (620, 360)

    def page_spec(self) -> Json:
        """The spec for the page: as wide as its place, its data by name, its colours from the config."""
        return {"$schema": _SCHEMA, "width": "container", "height": self.height, **self.view}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Drawing:
    """One chart of the report, of one or more panels.

    Attributes:
        name: of its files, and unique among a report's drawings.
        title: what is seen.
        caption: how to read it.
        panels: its views.
        data: the tables that the views name; drawings of one material share them.
        per_row: panels side by side in a file.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    data: Mapping[str, Table]
    per_row: int = 3

    def page_specs(self) -> tuple[Json, ...]:
        """The spec of each panel, without data and config: see `page_data` and `page_config`."""
        return tuple(panel.page_spec() for panel in self.panels)

    def file(self, format: FileFormat) -> bytes:
        """The drawing with its title and caption as a PNG (two pixels a point), SVG or PDF file."""
        return _WRITERS[format](self.paper_spec())

    def paper_spec(self) -> Json:
        """One spec of all panels, with the data inside and nothing to click."""
        views = [self._on_paper(panel) for panel in self.panels]
        names = sorted({name for view in views for name in data_names(view)})
        width = sum(panel.paper[0] + 90 for panel in self.panels[: self.per_row])
        title = {
            "text": self.title,
            "subtitle": _wrapped(self.caption, width=max(80, width // 6)),
            "fontSize": 16,
            "offset": 14,
            "anchor": "start",
            "frame": "group",
        }
        whole: Json = {
            "$schema": _SCHEMA,
            "title": title,
            "padding": 14,
            "config": config(PAPER),
            "datasets": {name: rows(self.data[name]) for name in names},
        }
        if len(views) == 1:
            return {**whole, **{key: value for key, value in views[0].items() if key != "title"}}
        columns = min(self.per_row, len(views))
        return {**whole, "concat": views, "columns": columns, "spacing": 30, "resolve": _SHARED}

    def _on_paper(self, panel: Panel) -> Json:
        width, height = panel.paper
        return {"title": panel.title, "width": width, "height": height, **still(panel.view)}


_SHARED = {
    "scale": {"color": "shared", "shape": "shared", "strokeDash": "shared"},
    "legend": {"color": "shared", "shape": "shared", "strokeDash": "shared"},
}


def page_data_of(drawings: Iterable[Drawing]) -> dict[str, Table]:
    """Every table that the drawings name, once."""
    return {
        name: drawing.data[name]
        for drawing in drawings
        for panel in drawing.panels
        for name in sorted(data_names(panel.view))
    }


def data_names(view: Any) -> set[str]:
    """The names of the tables that a view, its layers and its look-ups read."""
    if isinstance(view, list):
        return set().union(*(data_names(part) for part in view))
    if not isinstance(view, dict):
        return set()
    data = view.get("data")
    own = {data["name"]} if isinstance(data, dict) and "name" in data else set()
    return own.union(*(data_names(part) for part in view.values()))


def still(view: Json) -> Json:
    """A view without what answers to a pointer: as it looks before anything is picked."""
    found = {key: value for key, value in view.items() if key != "params"}
    if "layer" in view:
        found["layer"] = [still(layer) for layer in view["layer"] if not _waits(layer)]
    if "encoding" in view:
        found["encoding"] = _still_encoding(
            view["encoding"], filled=bool(_as_dict(view["mark"]).get("filled"))
        )
    return found


def _still_encoding(encoding: Json, *, filled: bool) -> Json:
    """The channels as they are before anything is picked.

    A mark that is filled and nothing else takes the opacity of its filling: the other kind makes a group of
    every mark, which costs a PDF of ten thousand some megabytes.
    """
    plain = {
        channel: _resting(value) if _is_conditional(value) else value
        for channel, value in encoding.items()
        if channel != "tooltip"
    }
    if filled and "opacity" in plain:
        return {**plain, "fillOpacity": plain["opacity"], "opacity": {"value": 1}}
    return plain


def _is_conditional(value: Any) -> bool:
    return isinstance(value, dict) and "param" in value.get("condition", {})


def _resting(channel: Json) -> Json:
    """The value while nothing is picked: that of the picked, unless it takes a pick."""
    condition = channel["condition"]
    return {"value": condition["value"] if condition.get("empty", True) else channel["value"]}


def _waits(layer: Json) -> bool:
    """Whether a layer shows nothing until something is picked."""
    return any("param" in _as_dict(step.get("filter")) for step in layer.get("transform", ()))


def _as_dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _wrapped(text: str, *, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _png(spec: Json) -> bytes:
    return vl_convert.vegalite_to_png(spec, scale=_SCALE, vl_version=VEGA_LITE)


def _svg(spec: Json) -> bytes:
    return vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE).encode()


def _pdf(spec: Json) -> bytes:
    return vl_convert.vegalite_to_pdf(spec, vl_version=VEGA_LITE)


_WRITERS: Mapping[str, Callable[[Json], bytes]] = {"png": _png, "svg": _svg, "pdf": _pdf}


def layered(*layers: Json | None, **more: Any) -> Json:
    """A view of the layers that are there, the first at the bottom."""
    return {"layer": [layer for layer in layers if layer is not None], **more}


def spread(values: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` of ``values``, evenly spread, with the first and the last.

    >>> spread((1, 2, 3, 4, 5, 6, 7), 4)
    [1, 3, 5, 7]
    """
    if len(values) <= most:
        return list(values)
    last = len(values) - 1
    return [values[round(index * last / (most - 1))] for index in range(most)]
