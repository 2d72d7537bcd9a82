"""Everything that a store knows about one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import polars as pl

from clifftop.lab import tables
from clifftop.lab.contract import RunStore, StoreError
from clifftop.lab.reading.moment import one_moment
from clifftop.lab.redacted import without_secrets

_SHOWN = 8  # runs that an error lists


@final
@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run as a store holds it.

    Attributes:
        row: its row of `clifftop.lab.tables.runs`.
        spec: its spec's JSON as `clifftop.codec` writes it, without the noise's own seed and without what
            its streams hold, which may be a secret.
        neighboring_relation: what its epsilon compares; None where the store does not know.
        metrics: every evaluation: ``name``, ``step``, ``value``.
        trace: its diagnostics, one row a step.
        timeline: what happened to the whole sweep, blocks left out.
        foreign: the classes from outside this package that its spec names, as ``module:Class``.
    """

    row: Mapping[str, Any]
    spec: Mapping[str, Any]
    neighboring_relation: str | None
    metrics: pl.DataFrame
    trace: pl.DataFrame
    timeline: pl.DataFrame
    foreign: tuple[str, ...]

    @property
    def id(self) -> str:
        """The run's whole id."""
        return str(self.row["id"])


def find_run(store: RunStore, prefix: str) -> RunRecord:
    """The one run whose id starts with ``prefix``.

    Raises:
        StoreError: no run's id does, or several runs' do; the message lists some of them.
    """
    with one_moment(store):
        run_id = _whole_id(store, prefix)
        (row,) = tables.runs(store, ids=[run_id]).to_dicts()
        ((text, relation),) = store.query(
            "SELECT spec, neighboring_relation FROM run LEFT JOIN setting ON setting.run = run.key "
            "WHERE id = ?",
            (run_id,),
        )
        metrics, trace = tables.metrics(store, run_id=run_id).drop("id"), tables.trace(store, run_id)
        timeline = tables.timeline(store, blocks=False)
    spec = json.loads(text)
    return RunRecord(
        row=row,
        spec=without_secrets(spec),
        neighboring_relation=relation,
        metrics=metrics,
        trace=trace,
        timeline=timeline,
        foreign=tuple(sorted(_foreign(spec))),
    )


def _whole_id(store: RunStore, prefix: str) -> str:
    wanted = prefix.lower()
    rows = store.query(
        "SELECT id, status, seed FROM run WHERE substr(id, 1, length(?1)) = ?1 ORDER BY key", (wanted,)
    )
    if wanted and len(rows) == 1:
        return str(rows[0][0])
    if not wanted or not rows:
        raise StoreError(
            f"a run's id must start with what is given, found none with {prefix!r}; list the runs"
        )
    listed = ", ".join(f"{run_id} ({status}, seed {seed})" for run_id, status, seed in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    raise StoreError(
        f"only one run's id must start with what is given, found {len(rows)} with {prefix!r}: "
        f"{listed}{more}; write more of it"
    )


def _foreign(value: object) -> set[str]:
    """Classes that the JSON names and that are not of this package."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("$kind", "$enum") and not str(item).startswith("clifftop."):
                found.add(str(item))
            found |= _foreign(item)
    elif isinstance(value, list):
        for item in value:
            found |= _foreign(item)
    return found
