"""Colours and shapes that colour-blind readers can tell apart, on a light ground and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
