"""The table of all cells, by column: what tells them apart, what they cost, what they measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from clifftop.analysis.evidence import Arm, Cell, Evidence
from clifftop.analysis.uncertainty import Estimate, estimate
from clifftop.report.drawings.units import epsilon_number, setting_title, unit_of
from clifftop.report.page.packing import packed

if TYPE_CHECKING:
    from clifftop.report.material import Material

ARMS: Mapping[Arm, str] = {
    Arm.BOTH: "private",
    Arm.NEITHER: "neither",
    Arm.CLIPPING: "clipping only",
    Arm.NOISE: "noise only",
    Arm.ORIGINAL: "original model",
}
"""What was done to the gradients, in two words."""
_EPSILON_DIGITS = 6
_MOST_SCORES = 8


@final
@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table.

    Attributes:
        name: in the CSV file and in the filter.
        title: on the page.
        kind: how the page's script writes its values.
        values: one a cell; None where there is none.
        hint: more than the title says; empty for nothing.
    """

    name: str
    title: str
    kind: str
    values: Sequence[Any]
    hint: str = ""

    @property
    def known(self) -> bool:
        """Whether any cell has a value."""
        return any(value is not None for value in self.values)

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        more = {"hint": self.hint} if self.hint else {}
        return {
            "name": self.name,
            "title": self.title,
            "kind": self.kind,
            "values": packed(self.values),
            **more,
        }


def cells_table(material: Material) -> dict[str, Any]:
    """All cells of all arms, by column, as JSON for the page."""
    evidence = material.evidence
    return {
        "file": f"{_file_name(evidence.name)}-cells.csv",
        "cells": packed([cell.index for cell in evidence.cells]),
        "columns": [column.to_json() for column in columns(material)],
    }


def columns(material: Material) -> list[Column]:
    """The columns that have something to say."""
    evidence = material.evidence
    found = [*_arm(evidence), *_settings(evidence), *_epsilons(evidence), *_scores(evidence)]
    found += [*_losses(evidence), *_place(material), *_parts(material), *_others(evidence)]
    return [column for column in found if column.known]


def varying(evidence: Evidence) -> tuple[str, ...]:
    """The settings that differ between cells of any arm, the sweep's axes first."""
    names = dict.fromkeys((*evidence.axes, *(name for cell in evidence.cells for name in cell.setting)))
    fixed = [name for name in names if name not in evidence.axes]
    more = [name for name in fixed if len({cell.setting.get(name) for cell in evidence.cells}) > 1]
    return (*evidence.axes, *(name for name in more if name not in ("clip_norm", "noise_multiplier")))


def _arm(evidence: Evidence) -> list[Column]:
    values = [ARMS[cell.arm] for cell in evidence.cells]
    hint = "what was done to the gradients: private is clipped and noised"
    return (
        [Column(name="arm", title="arm", kind="text", values=values, hint=hint)]
        if len(set(values)) > 1
        else []
    )


def _settings(evidence: Evidence) -> list[Column]:
    return [
        Column(
            name=name,
            title=setting_title(name),
            kind="setting",
            values=[_setting(cell, name) for cell in evidence.cells],
        )
        for name in varying(evidence)
    ]


def _setting(cell: Cell, name: str) -> Any:
    value = cell.setting.get(name)
    if isinstance(value, bool):
        return str(value)
    infinite = isinstance(value, float) and not np.isfinite(value)
    return None if infinite else value


def _epsilons(evidence: Evidence) -> list[Column]:
    upper = [
        None if cell.epsilon is None else epsilon_number(cell.epsilon.upper, _EPSILON_DIGITS)
        for cell in evidence.cells
    ]
    published = [cell.published for cell in evidence.cells]
    return [
        Column(name="epsilon", title="epsilon", kind="epsilon", values=upper, hint="of one run, rounded up"),
        Column(
            name="published",
            title="as published",
            kind="claimed",
            values=published,
            hint="an epsilon once published for it, for comparison only",
        ),
    ]


def _scores(evidence: Evidence) -> list[Column]:
    found = [_estimate(evidence.values(cell)) for cell in evidence.cells]
    shown = unit_of(evidence.metric, maximize=evidence.maximize)
    kind = "percent" if shown.share else "number"
    name, title = evidence.metric, shown.title.removeprefix("test ")
    ends = [_ends(one, share=shown.share) for one in found]
    counts = [None if one is None else one.n for one in found]
    diverged = [int(cell.diverged.sum()) for cell in evidence.cells]
    return [
        Column(name=name, title=title, kind=kind, values=_means(found), hint="mean over seeds"),
        Column(name=f"{name}_low", title="95% from", kind=kind, values=[low for low, _ in ends]),
        Column(name=f"{name}_high", title="to", kind=kind, values=[high for _, high in ends]),
        Column(
            name=f"{name}_std",
            title="std",
            kind=kind,
            values=[None if one is None or one.n < 2 else one.std for one in found],
            hint="population standard deviation over seeds",
        ),
        Column(name="seeds", title="seeds", kind="count", values=counts),
        Column(name="diverged", title="diverged", kind="count", values=diverged if any(diverged) else [None]),
    ]


def _losses(evidence: Evidence) -> list[Column]:
    """What is lost against the same setting without privacy, seed by seed."""
    shown = unit_of(evidence.metric, maximize=evidence.maximize)
    values: list[float | None] = []
    for cell in evidence.cells:
        plain = evidence.counterpart(cell, Arm.NEITHER) if cell.arm is not Arm.NEITHER else None
        lost = np.empty(0) if plain is None else evidence.differences(plain, cell)
        values.append(float(shown.sign * lost.mean()) if lost.size else None)
    return [
        Column(
            name="lost",
            title="lost",
            kind="percent" if shown.share else "number",
            values=values,
            hint="against the same setting without privacy, by seed",
        )
    ]


def _place(material: Material) -> list[Column]:
    frontier = material.frontier
    if frontier is None:
        return []
    front = set(frontier.front)
    private = [cell.arm is Arm.BOTH for cell in material.evidence.cells]
    values = [
        cell.index in front if there else None
        for cell, there in zip(material.evidence.cells, private, strict=True)
    ]
    hint = "no other cell has a smaller epsilon and a better mean"
    return [Column(name="frontier", title="frontier", kind="flag", values=values, hint=hint)]


def _parts(material: Material) -> list[Column]:
    """The causes of the loss, where it was split."""
    if material.decomposition is None:
        return []
    by_cell = {loss.cell: loss for loss in material.decomposition.fixed}
    shown = unit_of(material.evidence.metric, maximize=material.evidence.maximize)
    return [
        Column(
            name=f"{name}_cost",
            title=name,
            kind="percent" if shown.share else "number",
            values=[_mean(getattr(by_cell.get(cell.index), name, None)) for cell in material.evidence.cells],
            hint=f"lost to {name}",
        )
        for name in ("clipping", "noise", "interaction")
    ]


def _others(evidence: Evidence) -> list[Column]:
    """The means of further metrics; of classes and groups the charts tell."""
    names = dict.fromkeys(name for cell in evidence.cells for name in cell.scores)
    wanted = [name for name in names if name != evidence.metric and "[" not in name][:_MOST_SCORES]
    found = []
    for name in wanted:
        shown = unit_of(name, maximize=True)
        means = _means([_estimate(evidence.measured(cell, name)[1]) for cell in evidence.cells])
        title = shown.title.removeprefix("test ")
        found.append(
            Column(name=name, title=title, kind="percent" if shown.share else "number", values=means)
        )
    return found


def _estimate(values: np.ndarray) -> Estimate | None:
    return estimate(values) if values.size else None


def _mean(found: Estimate | None) -> float | None:
    return None if found is None else found.mean


def _means(found: Sequence[Estimate | None]) -> list[float | None]:
    return [_mean(one) for one in found]


def _ends(found: Estimate | None, *, share: bool) -> tuple[float | None, float | None]:
    if found is None or found.ci95 is None:
        return None, None
    low, high = found.ci95
    return (max(0.0, low), min(1.0, high)) if share else (low, high)


def _file_name(name: str) -> str:
    kept: Callable[[str], str] = lambda letter: letter if letter.isascii() and letter.isalnum() else "-"  # noqa: E731
    return "".join(kept(letter) for letter in name).strip("-")[:60] or "sweep"
