"""The colours of charts, as Vega-Lite configs: marks name a style or a range, a theme says what it is.

A canvas knows no CSS variable, so a page draws its charts with the config of its theme, and once more when
the reader changes the theme.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from clifftop.report.shades import DARK, LIGHT, Shades

SANS = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, Liberation Sans, sans-serif"
PRINT = "Helvetica, Arial, Liberation Sans, sans-serif"


@final
@dataclass(frozen=True, kw_only=True)
class Theme:
    """What a medium looks like.

    Attributes:
        ink: colour of words.
        muted: colour of lesser words, axes and rules.
        grid: colour of grid lines.
        surface: colour behind the chart.
        background: what is painted behind it; "transparent" where the page is.
        shades: colours of the data.
        diverging: from loss over nothing to gain.
        font: the font family.
    """

    ink: str
    muted: str
    grid: str
    surface: str
    background: str
    shades: Shades
    diverging: tuple[str, str, str]
    font: str


PAGE_LIGHT = Theme(
    ink="#202429",
    muted="#6B737C",
    grid="#E4E7EB",
    surface="#FFFFFF",
    background="transparent",
    shades=LIGHT,
    diverging=("#D55E00", "#F2F0EC", "#0072B2"),
    font=SANS,
)
PAGE_DARK = Theme(
    ink="#E6E9ED",
    muted="#9AA4AF",
    grid="#2B323A",
    surface="#12161B",
    background="transparent",
    shades=DARK,
    diverging=("#FF8C42", "#2B323A", "#56B4F0"),
    font=SANS,
)
PAPER = Theme(
    ink="#202429",
    muted="#6B737C",
    grid="#E4E7EB",
    surface="#FFFFFF",
    background="#FFFFFF",
    shades=LIGHT,
    diverging=("#D55E00", "#F2F0EC", "#0072B2"),
    font=PRINT,
)


# Legends below one another, so that two of them fit into a narrow panel.
_BELOW: dict[str, Any] = {"layout": {"bottom": {"direction": "vertical", "anchor": "start", "margin": 6}}}


def page_config() -> dict[str, dict[str, Any]]:
    """The configs of the page's themes, ``light`` and ``dark``."""
    return {"light": config(PAGE_LIGHT), "dark": config(PAGE_DARK)}


def config(theme: Theme) -> dict[str, Any]:
    """The Vega-Lite config of a theme."""
    words = {"labelColor": theme.ink, "titleColor": theme.ink}
    words |= {"labelFont": theme.font, "titleFont": theme.font}
    sizes = {"labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": "normal"}
    lines = {"gridColor": theme.grid, "domainColor": theme.muted, "tickColor": theme.muted}
    titles = {"color": theme.ink, "subtitleColor": theme.muted, "font": theme.font}
    titles |= {"subtitleFont": theme.font, "anchor": "start", "fontSize": 13, "fontWeight": "bold"}
    return {
        "background": theme.background,
        "font": theme.font,
        "aria": False,
        "view": {"stroke": None},
        "mark": {"color": theme.shades.category[0]},
        "axis": {**lines, **words, **sizes, "titlePadding": 8, "labelFlush": False},
        "legend": {**words, **sizes, **_BELOW, "symbolStrokeWidth": 2, "symbolSize": 80, "labelLimit": 300},
        "title": titles,
        "range": {
            "category": list(theme.shades.category),
            "ordinal": {"scheme": list(theme.shades.sequence)},
            "ramp": {"scheme": list(theme.shades.sequence)},
            "heatmap": {"scheme": "cividis"},
            "diverging": list(theme.diverging),
        },
        "style": _styles(theme),
    }


def _styles(theme: Theme) -> dict[str, Any]:
    """The styles that marks name."""
    words = {"font": theme.font, "fontSize": 11}
    return {
        "rule-muted": {"color": theme.muted, "strokeWidth": 1.2},
        "rule-ink": {"color": theme.ink, "strokeWidth": 1.6},
        "band-muted": {"color": theme.muted, "opacity": 0.14},
        "band-front": {"color": theme.shades.category[0], "opacity": 0.16},
        "line-front": {"color": theme.shades.category[0], "strokeWidth": 2.2},
        "ring": {"color": theme.ink, "filled": False, "strokeWidth": 1.8},
        "dot-ink": {"color": theme.ink, "filled": True},
        "dot-muted": {"color": theme.muted, "filled": True},
        "text-ink": {**words, "color": theme.ink},
        "text-muted": {**words, "color": theme.muted},
        "fall": {"color": theme.muted, "fillOpacity": 0.12, "stroke": theme.ink, "strokeWidth": 1.3},
        "step": {"color": theme.shades.category[0], "stroke": theme.ink},
        "tile": {"stroke": theme.surface, "strokeWidth": 1},
        "text-on-low": {**words, "color": "#FFFFFF"},
        "text-on-high": {**words, "color": "#16191D"},
    }
