"""The page: sections and charts to one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, final

import jinja2
from markupsafe import Markup, escape

from clifftop import __version__
from clifftop.report.drawings import page_config
from clifftop.report.drawings.drawing import page_data_of
from clifftop.report.page.blocks import Section, chart_names, cited
from clifftop.report.page.cells import cells_table
from clifftop.report.page.citations import CITATIONS
from clifftop.report.page.front_page import swept
from clifftop.report.page.packing import packed_table, script_json
from clifftop.report.page.sections import FIRST, sections
from clifftop.report.page.vega import Themes, compiled, javascript

if TYPE_CHECKING:
    from clifftop.report.drawings import Drawing
    from clifftop.report.material import Material

_SCRIPTS = (
    "data", "theme", "picked", "tooltip", "charts", "numbers", "filter", "cells", "sorting", "saving",
    "printing", "main",
)  # fmt: skip
_STYLES = ("base", "layout", "charts", "tables", "print")


@final
@dataclass(frozen=True, kw_only=True)
class ChartPlace:
    """Where a panel of a drawing is drawn: its element's id, what it says, its height in pixels."""

    id: str
    title: str
    label: str
    height: int


@final
@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing on the page; ``per_row`` panels lie side by side where there is room."""

    name: str
    title: str
    caption: str
    places: tuple[ChartPlace, ...]
    per_row: int


def render_page(
    material: Material,
    drawings: Sequence[Drawing],
    *,
    digest: str | None = None,
    figures: Sequence[str] = (),
) -> str:
    """The whole page. It asks for nothing from any network, and forbids itself to.

    Args:
        material: what is told.
        drawings: its charts; the one named "frontier" stands on the first screen.
        digest: SHA-256 of the study's ``results.json``, which `clifftop validate` looks for.
        figures: names of the charts' files beside the page.
    """
    drawn = {drawing.name: _figure(drawing) for drawing in drawings}
    parts = sections(material, drawings)
    keys = cited([block for section in parts for block in section.blocks])
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            material=material,
            version=__version__,
            digest=digest,
            swept=swept(material),
            conclusions=material.conclusions,
            first=drawn.get(FIRST),
            sections=parts,
            figures=drawn,
            files=figures,
            citations=[CITATIONS[key] for key in keys],
            numbers={key: place for place, key in enumerate(keys, 1)},
            styles=Markup(_joined("css", _STYLES)),
            libraries=Markup(javascript().replace("</script", "<\\/script")),
            script=Markup(page_script()),
            data=Markup(script_json(_data(material, drawings, parts))),
        )
    )


@cache
def page_script() -> str:
    """The page's own script: its modules, one after the other, in a scope of their own."""
    return f'"use strict";\n(() => {{\n{_joined("js", _SCRIPTS)}}})();'


def _data(material: Material, drawings: Sequence[Drawing], parts: Sequence[Section]) -> dict[str, Any]:
    themes = Themes()
    config = themes.merged(*(page_config()[name] for name in ("light", "dark")))
    wanted = {FIRST, *chart_names([block for section in parts for block in section.blocks])}
    shown = [drawing for drawing in drawings if drawing.name in wanted]
    charts = {
        place.id: compiled(spec, config)
        for drawing in shown
        for place, spec in zip(_figure(drawing).places, drawing.page_specs(), strict=True)
    }
    return {
        "sets": {name: packed_table(table) for name, table in page_data_of(shown).items()},
        "charts": charts,
        "themes": themes.pairs,
        "table": cells_table(material),
    }


def _figure(drawing: Drawing) -> Figure:
    places = tuple(
        ChartPlace(
            id=f"chart-{drawing.name}-{index}",
            title=panel.title,
            label=f"{drawing.title}{': ' if panel.title else ''}{panel.title}. {drawing.caption}",
            height=panel.height,
        )
        for index, panel in enumerate(drawing.panels)
    )
    per_row = min(drawing.per_row, len(places))
    return Figure(
        name=drawing.name, title=drawing.title, caption=drawing.caption, places=places, per_row=per_row
    )


def _joined(folder: str, names: Sequence[str]) -> str:
    here = files("clifftop.report.page") / folder
    return "\n".join((here / f"{name}.{folder}").read_text(encoding="utf-8") for name in names)


@cache
def _environment() -> jinja2.Environment:
    folder = files("clifftop.report.page") / "templates"
    sources = {
        item.name: item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.endswith(".j2")
    }
    made = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = with_code
    return made


def with_code(text: str) -> Markup:
    """Text with what stands between backticks as code; all of it escaped.

    >>> str(with_code("see `clifftop tune` <now>"))
    'see <code>clifftop tune</code> &lt;now&gt;'
    """
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a backtick without its fellow
        return escape(text)
    marked = (Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(pieces))
    return Markup("").join(marked)
