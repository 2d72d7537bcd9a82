"""A store's rows as polars tables, for analysis and export. No spec is decoded and no model imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from clifftop.lab.contract import RunStore, StoreError
from clifftop.lab.reading.columns import run_rows, unused_name
from clifftop.lab.reading.moment import one_moment


def runs(store: RunStore, *, ids: Sequence[str] | None = None) -> pl.DataFrame:
    """One row a run, in the order the runs were added.

    What was asked for: ``id``; ``arm``, ``"both"`` for a private run, else which counterfactual it is
    (`clifftop.lab.arms.Arm`); ``noise_multiplier``; ``clip_norm`` (infinite for a baseline; where nothing is
    clipped, what the noise is in proportion to; null where the plan has none), ``lr``, ``seed``, ``steps``,
    ``expected_batch_size`` (rows of a batch), ``optimizer``, ``clipping`` (the rule), ``model`` (its
    factory's name), then one column for every other axis of the sweep; ``configuration``, a number that runs
    share which differ in nothing but their seeds.
    What it costs: ``epsilon`` (the upper end) and ``epsilon_lower``, of releasing this run
    alone, at ``delta``, infinite for one that is not private; ``noise`` is ``"shared"`` where another private
    run of the store draws the same noise, so that the two must never both be released, else ``"own"``, and
    null for a run that is not private. What came out: ``status``, ``step`` reached,
    ``error``; each metric's last value under its own name; ``mean_NAME`` for each diagnostic of the
    trace, over the steps so far, to ten digits.

    A metric whose name another column has gets ``_metric`` behind it, a diagnostic ``_trace``, an axis
    ``_axis``. NaN is a number that is not finite; null is one that is not known.

    Args:
        store: where the runs are.
        ids: only these runs; by default all.
    """
    with one_moment(store):
        table = run_rows(store)
        if ids is not None:
            table = table.filter(pl.col("id").is_in(list(ids)))
        keys = None if ids is None else json.dumps(table["key"].to_list())
        measured = ((_last_metrics(store, keys), "_metric"), (_mean_traces(store, keys), "_trace"))
    taken = set(table.columns)
    for values, suffix in measured:
        wide = values.with_columns(pl.col("value").fill_null(np.nan)).pivot(
            on="name", index="run", values="value"
        )
        names = {name: unused_name(name, suffix, taken) for name in wide.columns if name != "run"}
        table = table.join(
            wide.rename(names), left_on="key", right_on="run", how="left", maintain_order="left"
        )
    return table.drop("key")


_LONG: dict[str, Any] = {"run": pl.Int64, "name": pl.String, "value": pl.Float64}
_MEAN_DIGITS = 10  # diagnostics are kept with seven
_AMONG = "(?1 IS NULL OR run IN (SELECT value FROM json_each(?1)))"


def _last_metrics(store: RunStore, keys: str | None) -> pl.DataFrame:
    rows = store.query(  # SQLite takes a bare column from the row that holds the maximum
        f"SELECT run, name, value, max(step) FROM metric WHERE {_AMONG} GROUP BY run, name", (keys,)
    )
    return pl.DataFrame([row[:3] for row in rows], schema=_LONG, orient="row")


def _mean_traces(store: RunStore, keys: str | None) -> pl.DataFrame:
    rows = store.query(
        "SELECT run, 'mean_' || name, CASE WHEN count(total) = count(*) THEN sum(total) / sum(steps) END "
        f"FROM trace WHERE {_AMONG} GROUP BY run, name",
        (keys,),
    )
    # Where blocks end depends on the clock, and the last bits of a sum on where they ended.
    long = pl.DataFrame(rows, schema=_LONG, orient="row")
    return long.with_columns(pl.col("value").round_sig_figs(_MEAN_DIGITS))


def training_seconds(store: RunStore) -> float:
    """Time spent in training by all blocks that the store holds, summed over workers."""
    ((total,),) = store.query(
        "SELECT total(json_extract(detail, '$.seconds')) FROM event WHERE kind = 'block'"
    )
    return float(total)


def metrics(store: RunStore, *, run_id: str | None = None) -> pl.DataFrame:
    """Every evaluation in long form: ``id``, ``name``, ``step`` (steps done), ``value``.

    Args:
        store: where the runs are.
        run_id: only this run's; by default all.
    """
    rows = store.query(
        "SELECT run.id, name, metric.step, value FROM metric JOIN run ON run.key = metric.run "
        f"{'' if run_id is None else 'WHERE run.id = ?'} ORDER BY metric.run, name, metric.step",
        () if run_id is None else (run_id,),
    )
    columns = {"id": pl.String, "name": pl.String, "step": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("value").fill_null(np.nan))


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


def timeline(store: RunStore, *, blocks: bool = True) -> pl.DataFrame:
    """What happened when: ``at`` (UTC), ``kind``, ``detail`` (JSON); with ``blocks`` each block as well."""
    columns = {"at": pl.String, "kind": pl.String, "detail": pl.String}
    rows = store.query(
        "SELECT at, kind, detail FROM event WHERE ? OR kind != 'block' ORDER BY key", (blocks,)
    )
    table = pl.DataFrame(rows, schema=columns, orient="row")
    return table.with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))
