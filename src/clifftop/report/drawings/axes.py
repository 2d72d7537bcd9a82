"""Axes: epsilon on a log scale with a place for infinity, settings by decades, scores with room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.report.drawings.units import Unit
from clifftop.report.wording import plain

Json = dict[str, Any]
_THOUSANDS = "datum.value >= 1e6 ? format(datum.value, '~s') : datum.value >= 1000 ? format(datum.value / 1000, ',.3~g') + 'k' : format(datum.value, '~g')"  # noqa: E501
_SPARSE: Json = {"labelOverlap": "greedy", "labelSeparation": 6}


def log_domain(values: Iterable[float], *, room: float = 1.25) -> tuple[float, float]:
    """A log axis that holds the positive finite ``values`` with a little room at both ends.

    >>> log_domain([1.0, 100.0], room=2.0), log_domain([0.0])
    ((0.5, 200.0), (0.1, 10.0))
    """
    array = np.asarray(list(values), dtype=np.float64)
    kept = array[np.isfinite(array) & (array > 0)]
    return (float(kept.min()) / room, float(kept.max()) * room) if kept.size else (0.1, 10.0)


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


@final
@dataclass(frozen=True, kw_only=True)
class EpsilonAxis:
    """Where epsilons lie on one log axis that several charts share.

    Attributes:
        domain: from the least to the greatest shown.
        infinite: the place right of all finite ones that stands for infinity; None where none is infinite.
        least: the place left of all positive ones that stands for 0; None where none is 0.
        title: what the axis says.
    """

    domain: tuple[float, float]
    infinite: float | None
    least: float | None
    title: str

    def place(self, epsilon: float | None) -> float | None:
        """Where an epsilon is drawn."""
        if epsilon is None or math.isnan(epsilon):
            return None
        if math.isinf(epsilon):
            return self.infinite
        return epsilon if epsilon > 0 else self.least

    def placed(self, field: str, name: str) -> list[Json]:
        """The transform that makes places, ``name``, of a table's epsilons, whose infinite ones are null."""
        infinite = "null" if self.infinite is None else f"{self.infinite:.6g}"
        least = "null" if self.least is None else f"{self.least:.6g}"
        value = f"datum['{field}']"
        return [
            {"calculate": f"{value} == null ? {infinite} : {value} > 0 ? {value} : {least}", "as": name},
            {"filter": f"isValid(datum['{name}'])"},
        ]

    def x(self, field: str, *, grid: bool = True) -> Json:
        """The channel of ``field``, whose values are places."""
        values = log_ticks(self.domain) + [
            place for place in (self.infinite, self.least) if place is not None
        ]
        label = _THOUSANDS
        if self.infinite is not None:
            label = f"datum.value >= {self.infinite * 0.99:.6g} ? '∞' : {label}"
        if self.least is not None:
            label = f"datum.value <= {self.least * 1.01:.6g} ? '0' : {label}"
        scale = {"type": "log", "domain": list(self.whole), "nice": False}
        axis = {"values": sorted(values), "labelExpr": label, "grid": grid, **_SPARSE}
        return {"field": field, "type": "quantitative", "title": self.title, "scale": scale, "axis": axis}

    @property
    def whole(self) -> tuple[float, float]:
        """The domain with the places of infinity and of 0."""
        low = self.domain[0] if self.least is None else self.least / 1.25
        high = self.domain[1] if self.infinite is None else self.infinite * 1.25
        return low, high


def epsilon_axis(epsilons: Sequence[float] | NDArray[np.float64], *, delta: float | None) -> EpsilonAxis:
    """The axis that holds all of ``epsilons``, infinite ones among them."""
    array = np.asarray(epsilons, dtype=np.float64)
    domain = log_domain(array)
    step = max(2.0, (domain[1] / domain[0]) ** 0.09)
    at = "" if delta is None else f" at delta = {plain(delta)}"
    return EpsilonAxis(
        domain=domain,
        infinite=domain[1] * step if bool(np.isposinf(array).any()) else None,
        least=domain[0] / step if bool((array == 0).any()) else None,
        title=f"epsilon{at} (upper end, log scale)",
    )


def number_axis(field: str, title: str, values: Iterable[float], *, grid: bool = False) -> Json:
    """A channel of positive numbers on a log scale, with ticks at the values where they are few."""
    found = sorted({float(value) for value in values if math.isfinite(value) and value > 0})
    domain = log_domain(found)
    ticks = found if 0 < len(found) <= 8 else log_ticks(domain)
    axis = {"values": ticks, "labelExpr": _THOUSANDS, "grid": grid, **_SPARSE}
    scale = {"type": "log", "domain": list(domain), "nice": False}
    return {
        "field": field,
        "type": "quantitative",
        "title": f"{title}, log scale",
        "scale": scale,
        "axis": axis,
    }


def score_axis(
    field: str, unit: Unit, values: Iterable[float | None], *, headroom: bool = True, title: str | None = None
) -> Json:
    """A channel of scores: a linear scale with room, or a log scale where they differ by a factor of 50."""
    known = np.asarray([value for value in values if value is not None], dtype=np.float64)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    name = title or unit.title
    if not unit.share and low > 0 and high / low > 50:
        domain = log_domain(known)
        axis = {"values": log_ticks(domain), "labelExpr": _THOUSANDS, "grid": True}
        scale = {"type": "log", "domain": list(domain), "nice": False}
        return {
            "field": field,
            "type": "quantitative",
            "title": f"{name}, log scale",
            "scale": scale,
            "axis": axis,
        }
    if unit.share:
        low, high = max(0.0, low), min(100.0, high)
    pad = 0.04 * (high - low or 1.0)
    top = high + (2.2 if headroom else 1.0) * pad
    axis: Json = {"tickCount": 6, "grid": True}
    if unit.share:
        axis["labelExpr"] = "datum.value <= 100 ? datum.label : ''"
    scale = {"domain": [number_down(low - pad), top], "nice": False, "zero": False}
    return {"field": field, "type": "quantitative", "title": name, "scale": scale, "axis": axis}


def number_down(value: float) -> float:
    """A domain's end with few digits."""
    return float(f"{value:.4g}")


def difference_axis(field: str, title: str, values: Iterable[float | None]) -> Json:
    """A channel of differences, with 0 in sight."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    pad = 0.05 * (high - low or 1.0)
    scale = {
        "domain": [number_down(low - pad if low < 0 else 0.0), number_down(high + pad)],
        "nice": True,
        "zero": True,
    }
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": scale,
        "axis": {"tickCount": 6, "grid": True},
    }
