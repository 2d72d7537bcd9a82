"""From a table of runs to evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from clifftop.analysis.evidence.cells import Arm, Cell, Epsilon, Evidence, Scalar
from clifftop.vocabulary import smaller_is_better

FINISHED = ("done", "diverged")
_NO_SETTINGS = ("id", "status", "arm", "seed")


class EvidenceError(ValueError):
    """A table of runs that no evidence can be made of."""


def evidence_of(
    runs: pl.DataFrame,
    *,
    name: str,
    metric: str | None = None,
    maximize: bool | None = None,
    num_test: int | None = None,
    paired: bool = True,
    neighboring_relation: str | None = None,
    published: Callable[[Mapping[str, Scalar]], float | None] | None = None,
) -> Evidence:
    """Evidence from the table of a store's runs; runs that have not finished are left out.

    Args:
        runs: as ``clifftop.lab.reading.open_runs`` gives it, or a part of its rows.
        name: of the sweep.
        metric: what to compare by; by default ``accuracy`` if there is such a column, else the first metric.
        maximize: whether more is better; by default its name says (`clifftop.vocabulary`).
        num_test: test rows behind one score.
        paired: whether runs of one seed share data, initialisation and batches.
        neighboring_relation: for which the table's epsilons hold.
        published: from a private cell's setting to an epsilon that was published for it.

    Raises:
        EvidenceError: no run has finished, there is no such metric, two runs of a cell have one seed, or
            the epsilons are at more than one delta.
    """
    columns = runs.columns
    settings = [c for c in columns[: columns.index("configuration")] if c not in _NO_SETTINGS]
    behind = columns[columns.index("error") + 1 :]
    metrics = [c for c in behind if c != "arm" and not c.startswith("mean_")]
    chosen = _metric(metric, metrics)
    finished = runs.filter(pl.col("status").is_in(FINISHED))
    if finished.is_empty():
        raise EvidenceError(
            f"a report needs runs that have finished, found none of {runs.height} in {name}; train the sweep"
        )
    rows = _grouped(finished, settings, metrics)
    cells = tuple(_cell(i, row, settings, metrics, published) for i, row in enumerate(rows))
    private = [cell for cell in cells if cell.arm is Arm.BOTH]
    return Evidence(
        name=name,
        metric=chosen,
        maximize=not smaller_is_better(chosen) if maximize is None else maximize,
        cells=cells,
        delta=_delta(finished),
        neighboring_relation=neighboring_relation,
        num_test=num_test,
        paired=paired,
        axes=tuple(s for s in settings if len({cell.setting.get(s) for cell in private}) > 1),
    )


def _metric(asked: str | None, metrics: Sequence[str]) -> str:
    if asked is not None and asked not in metrics:
        raise EvidenceError(
            f"metric must be one of {', '.join(metrics)}, found metric={asked!r}; choose one of these"
        )
    if not metrics:
        raise EvidenceError("a report needs a metric, found none; let the sweep's runs be evaluated first")
    return asked or ("accuracy" if "accuracy" in metrics else metrics[0])


def _grouped(runs: pl.DataFrame, settings: Sequence[str], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One row a configuration and arm, its runs' values in lists by rising seed."""
    listed = [c for c in ("id", "seed", "status", *metrics) if c in runs.columns]
    kept = [c for c in ("epsilon_lower", "epsilon") if c in runs.columns]
    table = (
        runs.with_columns(arm=arms(runs))
        .sort("seed", maintain_order=True)
        .group_by("configuration", "arm", maintain_order=True)
        .agg(pl.col(*settings, *kept).first(), *(pl.col(c) for c in listed))
        .sort("configuration")
    )
    return table.to_dicts()


def arms(runs: pl.DataFrame) -> pl.Series:
    """Each run's arm: the table's own column, or what noise and clipping say in a table without one."""
    if "arm" in runs.columns:
        return runs["arm"]
    noiseless = pl.col("noise_multiplier") == 0
    unclipped = pl.col("clip_norm").is_infinite()
    return runs.select(
        pl.when(noiseless & unclipped)
        .then(pl.lit(Arm.NEITHER.value))
        .when(noiseless)
        .then(pl.lit(Arm.CLIPPING.value))
        .otherwise(pl.lit(Arm.BOTH.value))
        .alias("arm")
    ).to_series()


def _cell(
    index: int,
    row: Mapping[str, Any],
    settings: Sequence[str],
    metrics: Sequence[str],
    published: Callable[[Mapping[str, Scalar]], float | None] | None,
) -> Cell:
    seeds = np.array(row["seed"], dtype=np.int64)
    setting = {name: row[name] for name in settings if row[name] is not None}
    if np.unique(seeds).size < seeds.size:
        raise EvidenceError(
            f"runs of one setting must have seeds of their own, found two with one seed at {setting}; "
            "filter the table, or export the runs of one noise seed"
        )
    arm = Arm(row["arm"])
    private = arm is Arm.BOTH and row.get("epsilon") is not None
    return Cell(
        index=index,
        arm=arm,
        setting=setting,
        epsilon=Epsilon(lower=row["epsilon_lower"], upper=row["epsilon"]) if private else None,
        published=published(setting) if published is not None and arm is Arm.BOTH else None,
        seeds=seeds,
        scores={name: _floats(row[name]) for name in metrics},
        diverged=np.array([status == "diverged" for status in row["status"]], dtype=np.bool_),
        compute=float(row["steps"] or 0) * float(row["expected_batch_size"] or math.nan),
        runs=tuple(row["id"]),
    )


def _floats(values: Sequence[float | None]) -> np.ndarray:
    found = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    found[~np.isfinite(found)] = np.nan
    return found


def _delta(runs: pl.DataFrame) -> float | None:
    """The one delta of all epsilons; None where there are none."""
    if "delta" not in runs.columns or "epsilon" not in runs.columns:
        return None
    found = runs.filter(pl.col("epsilon").is_not_null())["delta"].drop_nulls().unique().sort().to_list()
    if len(found) > 1:
        listed = ", ".join(f"{delta:g}" for delta in found)
        raise EvidenceError(
            f"epsilons must be at one delta to compare, found delta={listed}; filter by delta"
        )
    return found[0] if found else None
