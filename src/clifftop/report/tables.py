"""The report's tables as text: headers and rows of cells, each cell with the value it sorts by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clifftop.analysis.cliffs import Cliff
from clifftop.analysis.configurations import Configuration
from clifftop.analysis.results import Epsilon
from clifftop.analysis.summary import Cliffs, Summary
from clifftop.analysis.uncertainty import Estimate
from clifftop.report.headline import FIXED_ORDER
from clifftop.report.wording import (
    MISSING,
    accuracy_interval,
    epsilon_claimed,
    epsilon_up,
    interval_points,
    mean_std,
    percent,
    plain,
    points,
)

_FIXED, _POISSON = "fixed order", "Poisson sampling"


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell: its text, and the number it sorts by (None sorts last)."""

    text: str
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: column headers, rows, and which column to mark (None marks none)."""

    headers: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    marked: int | None = None


def epsilon_table(summary: Summary) -> Table:
    """The epsilons of each noise multiplier; the marked column holds for the study's runs.

    Columns that no row has anything for are left out.
    """
    rows = sorted(summary.epsilons, key=lambda row: row.noise_multiplier)
    columns = {
        "as published": [_claimed(row.published) for row in rows],
        _FIXED: [_upper(row.fixed_order) for row in rows],
        _POISSON: [_upper(row.poisson) for row in rows],
    }
    shown = {name: cells for name, cells in columns.items() if any(cell.value is not None for cell in cells)}
    own = _FIXED if summary.sampling == FIXED_ORDER else _POISSON
    body = zip([_setting(row.noise_multiplier) for row in rows], *shown.values(), strict=True)
    headers = ("σ", *shown)
    return Table(headers=headers, rows=tuple(body), marked=headers.index(own) if own in headers else None)


def configuration_table(summary: Summary) -> Table:
    """Every configuration; without the column of published epsilons where there are none."""
    best = set(summary.frontier)
    items = summary.configurations
    columns = {
        "σ": [_setting(item.noise_multiplier) for item in items],
        "C": [_setting(item.clip_norm) for item in items],
        "learning rate": [_setting(item.lr) for item in items],
        "accuracy, %": [_mean_std(item.accuracy) for item in items],
        "95% interval": [_accuracy_interval(item.accuracy) for item in items],
        "seeds": [TableCell(text=f"{item.accuracy.n:,}", value=item.accuracy.n) for item in items],
        "lost, points": [_lost(item.accuracy_lost_best_baseline) for item in items],
        "95% interval of the loss": [_lost_interval(item.accuracy_lost_best_baseline) for item in items],
        "clipped": [_clipped(item) for item in items],
        "published ε": [_claimed(item.epsilon_published) for item in items],
        "true ε": [_upper(item.epsilon) for item in items],
        "frontier": [_flag(there=item in best) for item in items],
    }
    if summary.cliff.published is None:
        del columns["published ε"]
    return Table(headers=tuple(columns), rows=tuple(zip(*columns.values(), strict=True)))


def best_lr_table(summary: Summary) -> Table:
    """The best learning rate of each cell, beside the accuracy free of having chosen it."""
    headers = (
        "σ",
        "C",
        "best learning rate",
        "accuracy, %",
        "chosen on other seeds, %",
        "95% interval",
        "true ε",
    )
    rows = []
    for best in summary.best_lr:
        item, held_out = best.configuration, best.accuracy_held_out
        rows.append(
            (
                _setting(item.noise_multiplier),
                _setting(item.clip_norm),
                _setting(item.lr),
                _mean_std(item.accuracy),
                TableCell(text=MISSING) if held_out is None else _mean_std(held_out),
                _accuracy_interval(held_out),
                _upper(item.epsilon),
            )
        )
    return Table(headers=headers, rows=tuple(rows))


def cliff_table(summary: Summary) -> Table:
    """Cliff and safe region, overall and by clip norm and learning rate, on each epsilon column."""
    true = _named_cliffs(summary.cliff.true_upper)
    headers = ["among", "collapsed", "cliff at true ε", "safe from true ε"]
    rows = [
        [
            TableCell(text=name),
            TableCell(text=f"{cliff.collapsed} of {cliff.collapsed + cliff.retained}", value=cliff.collapsed),
            _threshold(cliff.cliff_epsilon, epsilon_up),
            _threshold(cliff.safe_epsilon, epsilon_up),
        ]
        for name, cliff in true
    ]
    if summary.cliff.published is not None:
        headers += ["cliff at published ε", "safe from published ε"]
        for row, (_, cliff) in zip(rows, _named_cliffs(summary.cliff.published), strict=True):
            row.append(_threshold(cliff.cliff_epsilon, epsilon_claimed))
            row.append(_threshold(cliff.safe_epsilon, epsilon_claimed))
    return Table(headers=tuple(headers), rows=tuple(tuple(row) for row in rows))


def _named_cliffs(cliffs: Cliffs) -> list[tuple[str, Cliff]]:
    several = len(cliffs.per_lr) > 1
    by_clip = [(f"C = {plain(item.clip_norm)}", item.cliff) for item in cliffs.per_clip_norm]
    by_lr = [(f"learning rate {plain(item.lr)}", item.cliff) for item in cliffs.per_lr] if several else []
    best = [("best learning rate of each cell", cliffs.best_lr)] if several else []
    return [("all configurations", cliffs.overall), *best, *by_clip, *by_lr]


def _threshold(epsilon: float | None, show: Callable[[float], str]) -> TableCell:
    return TableCell(text="none") if epsilon is None else TableCell(text=show(epsilon), value=epsilon)


def _lost(lost: Estimate | None) -> TableCell:
    return TableCell(text=MISSING) if lost is None else TableCell(text=points(lost.mean), value=lost.mean)


def _lost_interval(lost: Estimate | None) -> TableCell:
    return _width_cell(None if lost is None else lost.ci95)


def _clipped(item: Configuration) -> TableCell:
    clipped = item.fraction_clipped
    if clipped is None or not math.isfinite(clipped):
        return TableCell(text=MISSING)
    return TableCell(text=percent(clipped, digits=0), value=clipped)


def _claimed(epsilon: float | None) -> TableCell:
    return TableCell(text=epsilon_claimed(epsilon), value=epsilon)


def _flag(*, there: bool) -> TableCell:
    return TableCell(text="yes" if there else "", value=float(not there))


def _setting(value: float) -> TableCell:
    return TableCell(text=plain(value), value=value)


def _upper(epsilon: Epsilon | None) -> TableCell:
    if epsilon is None:
        return TableCell(text=MISSING)
    return TableCell(text=epsilon_up(epsilon.upper), value=epsilon.upper)


def _mean_std(accuracy: Estimate) -> TableCell:
    return TableCell(text=mean_std(accuracy), value=accuracy.mean)


def _accuracy_interval(accuracy: Estimate | None) -> TableCell:
    return _width_cell(None if accuracy is None else accuracy_interval(accuracy.ci95))


def _width_cell(interval: Sequence[float] | None) -> TableCell:
    if interval is None:
        return TableCell(text=MISSING)
    low, high = interval
    return TableCell(text=interval_points((low, high)), value=high - low)
