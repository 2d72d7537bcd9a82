"""How charts look: colours that colour-blind readers can tell apart, on paper and on the page.

On the page colours are CSS variables, so the browser's light, dark and print styles reach the charts
without drawing them again. On paper (PNG) they are fixed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Okabe and Ito (2008), without the yellow and the black; the dark set is the same hues, lighter.
_CATEGORY_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#B8539C", "#3E9BD6", "#B97A00")
_CATEGORY_DARK = ("#56B4F0", "#FF8C42", "#2CC796", "#E58CC4", "#A5D8FF", "#F2B733")
# Hues of the plasma map, from little to much; each set keeps its distance from its background.
_SEQUENCE_LIGHT = ("#1B0C8F", "#7A08A6", "#BF3984", "#E56B5D", "#F3952F")
_SEQUENCE_DARK = ("#8C7BFF", "#BC6BEB", "#EC6AA6", "#FB9A6B", "#F9DC64")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


@dataclass(frozen=True, kw_only=True)
class Shades:
    """The colours of one theme, for any number of clip norms and noise multipliers."""

    category: tuple[str, ...]
    sequence: tuple[str, ...]

    def clips(self, count: int) -> tuple[str, ...]:
        """A colour for each clip norm: distinct hues while they last, then a sequence."""
        return self.category[:count] if count <= len(self.category) else self.sigmas(count)

    def sigmas(self, count: int) -> tuple[str, ...]:
        """A colour for each noise multiplier, from little noise to much."""
        places = [index / max(1, count - 1) for index in range(count)]
        return tuple(_blend(self.sequence, place) for place in places)


LIGHT = Shades(category=_CATEGORY_LIGHT, sequence=_SEQUENCE_LIGHT)
DARK = Shades(category=_CATEGORY_DARK, sequence=_SEQUENCE_DARK)


class Palette(ABC):
    """Where a medium takes its colours from."""

    @abstractmethod
    def clips(self, count: int) -> Sequence[str]:
        """A colour for each clip norm."""

    @abstractmethod
    def sigmas(self, count: int) -> Sequence[str]:
        """A colour for each noise multiplier."""


@dataclass(frozen=True, kw_only=True)
class Fixed(Palette):
    """The colours of one theme, written out."""

    shades: Shades

    def clips(self, count: int) -> Sequence[str]:
        """A colour for each clip norm."""
        return self.shades.clips(count)

    def sigmas(self, count: int) -> Sequence[str]:
        """A colour for each noise multiplier."""
        return self.shades.sigmas(count)


@dataclass(frozen=True, kw_only=True)
class Variables(Palette):
    """The names of CSS variables, which `css_variables` defines for each theme."""

    def clips(self, count: int) -> Sequence[str]:
        """A colour for each clip norm."""
        return [f"var(--clip-{index})" for index in range(count)]

    def sigmas(self, count: int) -> Sequence[str]:
        """A colour for each noise multiplier."""
        return [f"var(--sigma-{index})" for index in range(count)]


@dataclass(frozen=True, kw_only=True)
class Look:
    """A medium: what a chart of it is drawn with.

    Attributes:
        palette: colours of the data.
        text: colour of words.
        muted: colour of lesser words and of axes.
        grid: colour of grid lines.
        background: colour behind the chart.
        font: the font family.
        interactive: whether a legend can be clicked.
        legend: where the legend lies.
        width: in pixels, or that of the container.
        height: in pixels.
    """

    palette: Palette
    text: str
    muted: str
    grid: str
    background: str
    font: str
    interactive: bool
    legend: Literal["bottom", "right"]
    width: int | Literal["container"]
    height: int

    def config(self) -> dict[str, Any]:
        """The Vega-Lite config of this look."""
        axis = {"gridColor": self.grid, "domainColor": self.muted, "tickColor": self.muted}
        words = {"labelColor": self.text, "titleColor": self.text}
        words |= {"labelFont": self.font, "titleFont": self.font}
        sizes = {"labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": "normal"}
        return {
            "background": self.background,
            "view": {"stroke": None},
            "font": self.font,
            "axis": {**axis, **words, **sizes, "titlePadding": 8, "labelFlush": False},
            "legend": {**words, **sizes, "symbolStrokeWidth": 2, "symbolSize": 80},
            "title": {
                "color": self.text,
                "subtitleColor": self.muted,
                "font": self.font,
                "subtitleFont": self.font,
                "anchor": "start",
                "fontSize": 13,
                "fontWeight": "bold",
            },
        }


def on_paper(*, width: int, height: int, legend: Literal["bottom", "right"]) -> Look:
    """Fixed light colours and a size in pixels, for PNG files."""
    return Look(
        palette=Fixed(shades=LIGHT),
        text="#202429",
        muted="#6B737C",
        grid="#E4E7EB",
        background="#FFFFFF",
        font="Helvetica, Arial, Liberation Sans, sans-serif",
        interactive=False,
        legend=legend,
        width=width,
        height=height,
    )


def on_page(*, height: int) -> Look:
    """CSS variables, the width of the column, hover and a legend to click."""
    return Look(
        palette=Variables(),
        text="var(--ink)",
        muted="var(--muted)",
        grid="var(--grid)",
        background="transparent",
        font="system-ui, sans-serif",
        interactive=True,
        legend="bottom",
        width="container",
        height=height,
    )


def css_variables(shades: Shades, *, clips: int, sigmas: int) -> dict[str, str]:
    """The CSS variables that `Variables` names, for one theme."""
    named = {f"--clip-{index}": color for index, color in enumerate(shades.clips(clips))}
    return named | {f"--sigma-{index}": color for index, color in enumerate(shades.sigmas(sigmas))}


def shapes(count: int) -> tuple[str, ...]:
    """A point shape for each clip norm, so that colour is never the only sign."""
    return _SHAPES[:count] if count <= len(_SHAPES) else ("circle",) * count


def _blend(anchors: Sequence[str], place: float) -> str:
    position = place * (len(anchors) - 1)
    index = min(int(position), len(anchors) - 2)
    low, high = (_channels(anchors[index + offset]) for offset in (0, 1))
    mixed = (round(a + (b - a) * (position - index)) for a, b in zip(low, high, strict=True))
    return "#" + "".join(f"{channel:02X}" for channel in mixed)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
