"""A results folder as tables: every run, and the best configuration at each epsilon."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from clifftop.lab import tables
from clifftop.lab.contract import StoreError
from clifftop.lab.reading.columns import settings_of
from clifftop.lab.reading.where import known_column
from clifftop.lab.store import Store
from clifftop.vocabulary import Arm, smaller_is_better

_FINISHED = ("done", "diverged")


def open_runs(folder: Path | str) -> pl.DataFrame:
    """Every run of a results folder: the table of `clifftop.lab.tables.runs`.

    Reads only, also while a sweep writes there. ``open_runs(folder).to_pandas()`` is the same in pandas
    (``pip install 'clifftop[pandas]'``).

    Raises:
        StoreError: there is no store, or it cannot be read.
    """
    with Store.read(folder) as store:
        return tables.runs(store)


def frontier(
    runs: pl.DataFrame | Path | str, metric: str = "accuracy", *, smaller_is_best: bool | None = None
) -> pl.DataFrame:
    """The best configuration at each epsilon, its seeds averaged; one row an epsilon, by rising epsilon.

    Runs whose noise was calibrated to one ``target_epsilon`` are at one epsilon.

    Private runs and baselines, which are at an infinite epsilon, count once they have finished, those that
    diverged included, with the last value that they measured. Columns: ``epsilon`` and ``epsilon_lower`` of
    one run alone, ``delta``, the configuration's settings, then ``mean``, ``sd`` (of the sample; null for one
    run) and ``n`` of ``metric``, how many ``diverged``, and ``dominated``: whether a row of smaller epsilon
    is at least as good.

    The best of many is picked by the numbers it is judged by, so its mean is optimistic, the more so the
    fewer seeds there are. The epsilons are of single runs: they do not pay for the picking.

    Args:
        runs: a results folder, or a table of runs (`open_runs`), filtered as you like.
        metric: the column to compare by.
        smaller_is_best: whether small values are good; by default so for a name that ends in ``loss``,
            ``error`` or ``entropy``.

    Raises:
        StoreError: no run has an epsilon, or they are at more than one delta.
        ConditionError: the table has no such column.
    """
    table = runs if isinstance(runs, pl.DataFrame) else open_runs(runs)
    known_column(metric, table.columns)
    costed = table.filter(
        pl.col("status").is_in(_FINISHED), pl.col("epsilon").is_not_null(), pl.col(metric).is_not_null()
    )
    if "arm" in costed.columns:  # the other counterfactuals lie on no frontier
        costed = costed.filter(pl.col("arm").is_in([Arm.BOTH, Arm.NEITHER]))
    if costed.is_empty():
        raise StoreError(
            f"a frontier needs finished runs with an epsilon and {metric}, found none of {table.height}; "
            "train a sweep, whose runs carry their epsilon"
        )
    if costed["delta"].n_unique() > 1:
        found = ", ".join(f"{delta:g}" for delta in costed["delta"].unique().sort())
        raise StoreError(f"epsilons must be at one delta to compare, found delta={found}; filter by delta")
    fall = not (smaller_is_better(metric) if smaller_is_best is None else smaller_is_best)
    score = pl.when(pl.col("mean").is_nan()).then(-math.inf).otherwise(pl.col("mean") * (1 if fall else -1))
    averaged = _averaged(costed, metric).with_columns(score=score).sort("score", descending=True)
    best = averaged.group_by(_level(table), maintain_order=True).first().sort("epsilon")
    dominated = (pl.col("score") <= pl.col("score").cum_max().shift(1)).fill_null(value=False)
    return best.select(*averaged.columns, dominated=dominated).drop("score", "configuration")


def _level(table: pl.DataFrame) -> pl.Expr:
    """What makes two configurations comparable: the epsilon asked for, or the one they have."""
    target = pl.col("target_epsilon") if "target_epsilon" in table.columns else pl.lit(None)
    return pl.coalesce(target, "epsilon").alias("level")


def _averaged(table: pl.DataFrame, metric: str) -> pl.DataFrame:
    """One row a configuration at one epsilon; the mean of what is not finite is not finite."""
    settings = [name for name in settings_of(table.columns) if name != "seed"]
    value = pl.col(metric)
    return table.group_by("configuration", "epsilon", maintain_order=True).agg(
        pl.col("epsilon_lower", "delta", *settings).first(),
        mean=value.mean(),
        sd=value.std(),
        n=pl.len(),
        diverged=(pl.col("status") == "diverged").sum(),
    )
