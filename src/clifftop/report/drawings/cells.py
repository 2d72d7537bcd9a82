"""The private cells as columns, once for all charts: what was measured, what was set, which are best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence import Cell, Evidence
from clifftop.analysis.uncertainty import Estimate, t_half_width
from clifftop.report.drawings.units import (
    Unit,
    column,
    epsilon_number,
    label,
    number,
    scalar,
    setting_title,
    unit,
)

FEW = 12
"""A setting with at most so many values is drawn value by value."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The private cells that have a score, N of them, in the order of the evidence.

    Attributes:
        evidence: where they are from.
        unit: how their scores are shown.
        items: the cells, ``(N,)``.
        epsilon: upper ends, ``(N,)``; may be infinite.
        mean: over seeds, as shown, ``(N,)``.
        lower: the 95% interval of the mean, ``(N,)``; NaN where one seed gives none.
        upper: its other end.
        n: seeds with a score, ``(N,)``.
    """

    evidence: Evidence
    unit: Unit
    items: tuple[Cell, ...]
    epsilon: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    n: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that tooltips tell of."""
        return (*map(column, self.axes), "mean", "lower", "upper", "epsilon", "n")

    @property
    def axes(self) -> tuple[str, ...]:
        """The settings that differ."""
        return self.evidence.axes

    @property
    def utility(self) -> Floats:
        """The means with the sign that makes more better, ``(N,)``."""
        return self.unit.sign * self.mean

    @cached_property
    def place(self) -> Mapping[int, int]:
        """From a cell's index in the evidence to its place here."""
        return {cell.index: place for place, cell in enumerate(self.items)}

    def values(self, name: str) -> list[Any]:
        """A setting of every cell."""
        return [cell.setting.get(name) for cell in self.items]

    def numbers(self, name: str) -> Floats:
        """A setting of every cell as a number; NaN where it is none."""
        found = [cell.number(name) for cell in self.items]
        return np.array([math.nan if value is None else value for value in found])

    def distinct(self, name: str) -> list[Any]:
        """The values of a setting, rising."""
        found = self._distinct.get(name)
        return self._sorted(name) if found is None else found

    @cached_property
    def _distinct(self) -> Mapping[str, list[Any]]:
        return {name: self._sorted(name) for name in self.axes}

    def _sorted(self, name: str) -> list[Any]:
        return sorted({value for value in self.values(name) if value is not None}, key=_by_value)

    def is_number(self, name: str) -> bool:
        """Whether every value of a setting is a number."""
        values = self.distinct(name)
        return bool(values) and all(_by_value(value)[0] == 0 for value in values)

    def best_within(self, names: Sequence[str]) -> Mask:
        """The best cell of each group of cells that agree in ``names``, ``(N,)``."""
        best: dict[tuple[Any, ...], int] = {}
        utility = self.utility
        for place, key in enumerate(zip(*(self.values(name) for name in names), strict=True)):
            held = best.get(key)
            if held is None or utility[place] > utility[held]:
                best[key] = place
        mask = np.zeros(len(self.items), dtype=np.bool_)
        mask[list(best.values())] = True
        return mask

    def label(self, index: int, *, but: Iterable[str] = ()) -> str:
        """The cell of the evidence's ``index`` by what tells it apart."""
        axes = self.axes
        if "target_epsilon" in axes:
            axes = tuple(name for name in axes if name != "noise_multiplier")
        left = [name for name in axes if name not in set(but)]
        return label(self.evidence.cells[index], left)

    def table(self, **flags: Mask) -> dict[str, list[Any]]:
        """The cells by column, each with the settings that differ; flags are 0 and 1."""
        found: dict[str, list[Any]] = {"cell": [cell.index for cell in self.items]}
        for name in self.axes:
            found[column(name)] = [scalar(value) for value in self.values(name)]
        found["epsilon"] = [epsilon_number(value) for value in self.epsilon.tolist()]
        for name, values in (("mean", self.mean), ("lower", self.lower), ("upper", self.upper)):
            found[name] = [number(value) for value in values.tolist()]
        found["n"] = self.n.tolist()
        if any(cell.published is not None for cell in self.items):
            found["published"] = [number(cell.published) for cell in self.items]
        return found | {name: mask.astype(int).tolist() for name, mask in flags.items()}


def private_cells(evidence: Evidence) -> Cells:
    """The private cells of ``evidence`` that have a finite score of its metric."""
    shown = unit(evidence)
    kept = [(cell, evidence.values(cell)) for cell in evidence.private if cell.epsilon is not None]
    kept = [(cell, values) for cell, values in kept if values.size]
    n = np.array([values.size for _, values in kept], dtype=np.int64)
    mean = shown.factor * np.array([values.mean() for _, values in kept], dtype=np.float64)
    half = shown.factor * np.array([_half(values) for _, values in kept], dtype=np.float64)
    return Cells(
        evidence=evidence,
        unit=shown,
        items=tuple(cell for cell, _ in kept),
        epsilon=np.array([cell.epsilon.upper for cell, _ in kept if cell.epsilon is not None]),
        mean=mean,
        lower=_cut(mean - half, shown),
        upper=_cut(mean + half, shown),
        n=n,
    )


def _half(values: Floats) -> float:
    return t_half_width(std=float(values.std(ddof=1)), n=values.size) if values.size > 1 else math.nan


def _cut(ends: Floats, unit: Unit) -> Floats:
    """An interval's ends cut to what a share can be; its coverage stays."""
    return np.clip(ends, 0.0, unit.factor) if unit.share else ends


def shown_interval(estimate: Estimate, unit: Unit) -> tuple[float | None, float | None]:
    """The interval of a mean of scores as it is shown."""
    if estimate.ci95 is None:
        return None, None
    low, high = (unit.shown(end) for end in estimate.ci95)
    return unit.cut(low, high)


def _by_value(value: object) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def tooltip(cells: Cells, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """What is told of a cell: its settings, its score with the interval, its epsilon, its seeds."""
    form = cells.unit.format
    settings = [{"field": column(name), "title": setting_title(name)} for name in cells.axes]
    measured = [
        {"field": "mean", "title": cells.unit.title, "format": form},
        {"field": "lower", "title": "95% interval from", "format": form},
        {"field": "upper", "title": "to", "format": form},
        {"field": "epsilon", "title": "epsilon, upper end"},
        {"field": "n", "title": "seeds"},
    ]
    return [_typed(item) for item in (*settings, *measured, *more)]


def _typed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "quantitative" if "format" in item else "nominal", **item}


def colour_axis(cells: Cells, candidates: Iterable[str]) -> str | None:
    """The first of ``candidates`` that differs between cells, by few values if one does."""
    differing = [name for name in candidates if name in cells.axes]
    few = [name for name in differing if len(cells.distinct(name)) <= FEW]
    return (few or differing or [None])[0]
