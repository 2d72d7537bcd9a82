"""Settings as classes: the values themselves where they are few, ranges where they are many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from clifftop.report.drawings.cells import Cells
from clifftop.report.drawings.units import value_text
from clifftop.report.wording import short_labels

MOST = 12


@final
@dataclass(frozen=True, kw_only=True)
class Classes:
    """A setting's classes.

    Attributes:
        setting: its name.
        names: of the classes, in order.
        of: ``(N,)`` each cell's class; None where the setting has no value.
        ranges: whether a class holds several values.
    """

    setting: str
    names: tuple[str, ...]
    of: tuple[str | None, ...]
    ranges: bool


def classes(cells: Cells, setting: str, *, most: int = MOST) -> Classes:
    """The classes of a setting: one a value, or at most ``most`` ranges of equal length.

    Ranges are equally long on a log scale where all values are positive.
    """
    values, distinct = cells.values(setting), cells.distinct(setting)
    if len(distinct) <= most or not cells.is_number(setting):
        kept = distinct if len(distinct) <= most else _most_frequent(values, most)
        names = short_labels([float(v) for v in kept]) if cells.is_number(setting) else tuple(map(str, kept))
        named = dict(zip(kept, names, strict=True))
        return Classes(setting=setting, names=names, of=tuple(named.get(v) for v in values), ranges=False)
    return _ranges(setting, cells, most)


def _ranges(setting: str, cells: Cells, most: int) -> Classes:
    numbers = cells.numbers(setting)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    edges = np.geomspace(low, high, most + 1) if low > 0 else np.linspace(low, high, most + 1)
    at = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, most - 1)
    names = [f"{value_text(a)}–{value_text(b)}" for a, b in itertools.pairwise(edges.tolist())]
    of = [None if math.isnan(value) else names[place] for value, place in zip(numbers, at, strict=True)]
    present = set(of)
    kept = tuple(name for name in names if name in present)
    return Classes(setting=setting, names=kept, of=tuple(of), ranges=True)


def _most_frequent(values: Sequence[Any], most: int) -> list[Any]:
    counts: dict[Any, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    return sorted(sorted(counts, key=lambda value: (-counts[value], str(value)))[:most], key=str)


def influence(cells: Cells, setting: str) -> float:
    """The share of the variance of the means that a setting's classes explain (eta squared)."""
    own = classes(cells, setting).of
    by_class: dict[str | None, list[float]] = {}
    for name, mean in zip(own, cells.mean.tolist(), strict=True):
        by_class.setdefault(name, []).append(mean)
    whole = float(((cells.mean - cells.mean.mean()) ** 2).sum())
    if whole == 0 or len(by_class) < 2:
        return 0.0
    grand = float(cells.mean.mean())
    between = sum(len(group) * (float(np.mean(group)) - grand) ** 2 for group in by_class.values())
    return between / whole
