"""What the charts show, as polars frames: accuracy in percent, differences in percentage points.

Drawing is in `clifftop.report.charts`. A *panel* is one set of cells to look at together: the cells at
one learning rate, or every cell at its best one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from clifftop.analysis.configurations import Configuration
from clifftop.analysis.summary import Summary
from clifftop.analysis.uncertainty import Estimate
from clifftop.report.wording import (
    MISSING,
    accuracy_interval,
    epsilon_claimed,
    epsilon_up,
    interval_points,
    percent,
    plain,
    points,
    short_labels,
)

TRUE = "true"
CLAIMED = "as published"
BEST_LR = "best learning rate of each cell"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Cells to look at together, and what they have in common."""

    title: str
    cells: tuple[Configuration, ...]


def panels(summary: Summary) -> tuple[Panel, ...]:
    """One panel with one learning rate; else the best of each cell first, then each learning rate."""
    fixed = tuple(
        Panel(
            title=f"learning rate {plain(lr)}",
            cells=tuple(cell for cell in summary.configurations if cell.lr == lr),
        )
        for lr in summary.lrs
    )
    if len(fixed) == 1:
        return fixed
    return (Panel(title=BEST_LR, cells=tuple(item.configuration for item in summary.best_lr)), *fixed)


_CELL_SCHEMA = {
    "panel": pl.String(),
    "noise_multiplier": pl.Float64(),
    "sigma": pl.String(),
    "clip_norm": pl.Float64(),
    "clip": pl.String(),
    "lr": pl.Float64(),
    "rate": pl.String(),
    "accuracy": pl.Float64(),
    "lower": pl.Float64(),
    "upper": pl.Float64(),
    "accuracy_text": pl.String(),
    "lost": pl.Float64(),
    "lost_lower": pl.Float64(),
    "lost_upper": pl.Float64(),
    "lost_text": pl.String(),
    "epsilon": pl.Float64(),
    "published": pl.Float64(),
    "epsilon_text": pl.String(),
    "published_text": pl.String(),
    "seeds": pl.Int64(),
}


def sigma_labels(summary: Summary) -> dict[float, str]:
    """Noise multiplier to its label: short, because calibrated ones have many digits."""
    return dict(zip(summary.noise_multipliers, short_labels(summary.noise_multipliers), strict=True))


def cells_info(summary: Summary) -> pl.DataFrame:
    """Every cell of every panel, one row each.

    ``lower`` and ``upper`` are the 95% interval of the mean accuracy cut to 0..100; ``lost`` is against
    the best baseline, paired by seed; all of these are null where there is nothing to show.
    ``epsilon`` is the upper end of the true epsilon.
    """
    labels = sigma_labels(summary)
    rows = [_cell_row(panel.title, cell, labels) for panel in panels(summary) for cell in panel.cells]
    return pl.DataFrame(rows, schema=_CELL_SCHEMA, orient="row")


def curve_info(summary: Summary) -> pl.DataFrame:
    """The cells at their true and, where there are any, at their published epsilons (column ``kind``).

    ``x`` is the epsilon to draw at. A log axis has no place for 0 or infinity: there it is null.
    """
    cells = cells_info(summary)
    kinds = {TRUE: cells["epsilon"], CLAIMED: cells["published"]}
    both = [
        cells.with_columns(_on_log_axis(x).alias("x"), pl.lit(kind).alias("kind"))
        for kind, x in kinds.items()
        if kind == TRUE or x.null_count() < cells.height
    ]
    return pl.concat(both)


def clipping_info(summary: Summary) -> pl.DataFrame:
    """The cells; ``x`` is the clip norm, null where it is infinite, so that nothing is clipped."""
    cells = cells_info(summary)
    return cells.with_columns(_on_log_axis(cells["clip_norm"]).alias("x"))


def learning_rate_info(summary: Summary, *, most: int = 4) -> pl.DataFrame:
    """Accuracy against the learning rate, one panel a noise multiplier, at most ``most`` of them.

    ``x`` is learning rate times clip norm, the longest step that one clipped example's gradient can
    cause; null where nothing is clipped.
    """
    shown, labels = spread(summary.noise_multipliers, most), sigma_labels(summary)
    rows = [
        _cell_row(f"σ = {labels[cell.noise_multiplier]}", cell, labels)
        for cell in summary.configurations
        if cell.noise_multiplier in shown
    ]
    frame = pl.DataFrame(rows, schema=_CELL_SCHEMA, orient="row")
    return frame.with_columns(_on_log_axis(frame["lr"] * frame["clip_norm"]).alias("x"))


def baseline_info(summary: Summary) -> pl.DataFrame:
    """Accuracy without privacy, one row a learning rate."""
    rows = [(item.lr, 100 * item.accuracy.mean, *_percents(item.accuracy)) for item in summary.baselines]
    schema = {"lr": pl.Float64(), "accuracy": pl.Float64(), "lower": pl.Float64(), "upper": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("lr")


def spread(values: Sequence[float], most: int) -> tuple[float, ...]:
    """At most ``most`` of ``values``, evenly spread, with the first and the last.

    >>> spread((1, 2, 3, 4, 5, 6, 7), 4)
    (1, 3, 5, 7)
    """
    if len(values) <= most:
        return tuple(values)
    last = len(values) - 1
    return tuple(values[round(index * last / (most - 1))] for index in range(most))


def accuracy_domain(frames: Iterable[pl.DataFrame], baseline: float) -> tuple[float, float]:
    """The accuracy axis that all panels share: from the lowest interval down to a ten, up past 100.

    The room above 100 is for the name of the line of training without privacy.
    """
    lows = [100 * baseline]
    for frame in frames:
        lows += [value for value in (_least(frame, "lower"), _least(frame, "accuracy")) if value is not None]
    low = max(0.0, 10.0 * math.floor((min(lows) - 1e-9) / 10))
    return low, 100 + 0.08 * (100 - low)


def _on_log_axis(values: pl.Series) -> pl.Series:
    return pl.select(pl.when(values.is_finite() & (values > 0)).then(values)).to_series()


def _least(frame: pl.DataFrame, column: str) -> float | None:
    value = frame[column].min()
    return float(value) if isinstance(value, int | float) else None


def _cell_row(panel: str, cell: Configuration, labels: Mapping[float, str]) -> tuple[object, ...]:
    lost = cell.accuracy_lost_best_baseline
    lower, upper = _percents(cell.accuracy)
    return (
        panel,
        cell.noise_multiplier,
        labels[cell.noise_multiplier],
        cell.clip_norm,
        plain(cell.clip_norm),
        cell.lr,
        plain(cell.lr),
        100 * cell.accuracy.mean,
        lower,
        upper,
        _with_interval(percent(cell.accuracy.mean), accuracy_interval(cell.accuracy.ci95)),
        *_points(lost),
        MISSING if lost is None else _with_interval(f"{points(lost.mean)} points", lost.ci95),
        cell.epsilon.upper,
        cell.epsilon_published,
        epsilon_up(cell.epsilon.upper),
        epsilon_claimed(cell.epsilon_published),
        cell.accuracy.n,
    )


def _percents(accuracy: Estimate) -> tuple[float | None, float | None]:
    interval = accuracy_interval(accuracy.ci95)
    return (None, None) if interval is None else (100 * interval[0], 100 * interval[1])


def _points(lost: Estimate | None) -> tuple[float | None, float | None, float | None]:
    if lost is None:
        return None, None, None
    lower, upper = (None, None) if lost.ci95 is None else (100 * lost.ci95[0], 100 * lost.ci95[1])
    return 100 * lost.mean, lower, upper


def _with_interval(text: str, interval: tuple[float, float] | None) -> str:
    return text if interval is None else f"{text} ({interval_points(interval)})"
