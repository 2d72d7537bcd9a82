"""A store's rows as polars tables, for analysis and export. No spec is decoded and no model imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from clifftop.lab.contract import RunStore, StoreError

_RUN_COLUMNS: dict[str, Any] = {
    "key": pl.Int64,
    "id": pl.String,
    "status": pl.String,
    "noise_multiplier": pl.Float64,
    "clip_norm": pl.Float64,
    "lr": pl.Float64,
    "seed": pl.Int64,
    "steps": pl.Int64,
    "step": pl.Int64,
    "error": pl.String,
}


def runs(store: RunStore) -> pl.DataFrame:
    """One row a run, in the order the runs were added.

    Columns: ``id``, ``status``, ``noise_multiplier``, ``clip_norm`` (infinite for a baseline; null where
    the plan has none), ``lr``, ``seed``, ``steps`` asked for, ``step`` reached, ``error``; each metric's
    last value under its own name; ``mean_NAME`` for each diagnostic of the trace, over the steps so far.
    NaN is a number that is not finite; null is one that was not measured.
    """
    table = _frame(store, f"SELECT {', '.join(_RUN_COLUMNS)} FROM run ORDER BY key", _RUN_COLUMNS)
    last = _frame(  # SQLite takes a bare column from the row that holds the maximum
        store,
        "SELECT run, name, value, max(step) FROM metric GROUP BY run, name",
        {"run": pl.Int64, "name": pl.String, "value": pl.Float64, "step": pl.Int64},
    )
    means = _frame(
        store,
        "SELECT run, 'mean_' || name, CASE WHEN count(total) = count(*) THEN sum(total) / sum(steps) END "
        "FROM trace GROUP BY run, name",
        {"run": pl.Int64, "name": pl.String, "value": pl.Float64},
    )
    for long in (last.drop("step"), means):
        if not long.is_empty():
            wide = long.with_columns(pl.col("value").fill_null(np.nan)).pivot(
                on="name", index="run", values="value"
            )
            table = table.join(
                wide, left_on="key", right_on="run", how="left", maintain_order="left", suffix="_metric"
            )
    return table.drop("key")


def training_seconds(store: RunStore) -> float:
    """Time spent in training by all blocks that the store holds, summed over workers."""
    ((total,),) = store.query(
        "SELECT total(json_extract(detail, '$.seconds')) FROM event WHERE kind = 'block'"
    )
    return float(total)


def metrics(store: RunStore) -> pl.DataFrame:
    """Every evaluation in long form: ``id``, ``name``, ``step`` (steps done), ``value``."""
    ids = _frame(store, "SELECT key, id FROM run", {"key": pl.Int64, "id": pl.String})
    long = _frame(
        store,
        "SELECT run, name, step, value FROM metric ORDER BY run, name, step",
        {"run": pl.Int64, "name": pl.String, "step": pl.Int64, "value": pl.Float64},
    )
    named = long.join(ids, left_on="run", right_on="key", how="left", maintain_order="left")
    return named.select("id", "name", "step", pl.col("value").fill_null(np.nan))


def trace(store: RunStore, run_id: str) -> pl.DataFrame:
    """One run's diagnostics, one row a step: ``step`` (from 1), then a float32 column each.

    Raises:
        StoreError: the store has no such run.
    """
    if not store.query("SELECT 1 FROM run WHERE id = ?", (run_id,)):
        raise StoreError(
            f"a trace must be of a run in the store, found no run_id={run_id!r}; see the table of runs"
        )
    rows = store.query(
        "SELECT trace.name, vals FROM trace JOIN run ON run.key = trace.run "
        "WHERE run.id = ? ORDER BY first_step",
        (run_id,),
    )
    pieces: dict[str, list[bytes]] = {}
    for name, values in rows:
        pieces.setdefault(name, []).append(values)
    columns = {name: np.frombuffer(b"".join(parts), dtype="<f4") for name, parts in pieces.items()}
    length = max((len(column) for column in columns.values()), default=0)
    return pl.DataFrame({"step": np.arange(1, length + 1), **columns})


def timeline(store: RunStore) -> pl.DataFrame:
    """What happened when: ``at`` (UTC), ``kind``, ``detail`` (JSON)."""
    columns = {"at": pl.String, "kind": pl.String, "detail": pl.String}
    table = _frame(store, "SELECT at, kind, detail FROM event ORDER BY key", columns)
    return table.with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))


def _frame(store: RunStore, sql: str, columns: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(store.query(sql), schema=columns, orient="row")
