"""The rows of runs: how a block is written, and how a run is forgotten."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from clifftop.codec import content_id
from clifftop.lab.contract import BlockLike, took_part
from clifftop.lab.sqlite_errors import RefusedError

FINISHED = ("done", "diverged")
"""Statuses that never change any more."""


def now() -> str:
    """The time, as the store writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def cohort_id(run_ids: Sequence[str]) -> str:
    """The name of a cohort: a digest of its runs' ids in order."""
    return content_id(json.dumps(list(run_ids)))


def record(db: sqlite3.Connection, kind: str, **detail: object) -> None:
    """Add an entry to the timeline."""
    db.execute("INSERT INTO event (at, kind, detail) VALUES (?, ?, ?)", (now(), kind, json.dumps(detail)))


def keys_of(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[int]:
    """The keys of runs that must all be there."""
    return [key for key, *_ in _looked_up(db, run_ids)]


def unfinished_keys(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[int]:
    """The keys of the unfinished among runs that must all be there."""
    return [key for key, status, _ in _looked_up(db, run_ids) if status not in FINISHED]


def write_block(db: sqlite3.Connection, run_ids: Sequence[str], block: BlockLike) -> list[int]:
    """Write a block's numbers and statuses; return the keys of the runs that took part in it."""
    found = _looked_up(db, run_ids)
    trained = took_part(block, len(run_ids)).tolist()
    begins = {block.step - np.shape(values)[1] for values in block.trace.values()}
    for run_id, (_, status, step), part in zip(run_ids, found, trained, strict=True):
        if part and status in FINISHED:
            raise RefusedError(f"a finished run must not be trained again, found run {run_id} {status}")
        if part and (step >= block.step or not begins <= {step}):
            raise RefusedError(
                f"a block must begin where its runs stand, found run {run_id} at step={step} and a block to "
                f"step={block.step} that begins after {sorted(begins)}"
            )
        if not part and status != "diverged":
            raise RefusedError(f"a run that took no part must have diverged, found run {run_id} {status}")
    rows = [row for row, part in enumerate(trained) if part]
    keys = [found[row][0] for row in rows]
    db.executemany(
        "INSERT INTO metric (run, name, step, value) VALUES (?, ?, ?, ?)", _metrics(keys, rows, block)
    )
    db.executemany(
        "INSERT INTO trace (run, first_step, name, steps, total, vals) VALUES (?, ?, ?, ?, ?, ?)",
        _traces(keys, rows, block),
    )
    diverged = np.asarray(block.diverged, dtype=np.bool_)[rows].tolist()
    db.executemany(
        """
        UPDATE run SET step = ?1, diverged = ?2, error = NULL,
            status = CASE WHEN ?2 THEN 'diverged' WHEN ?3 THEN 'done' ELSE 'running' END
        WHERE key = ?4
        """,
        [(block.step, lost, block.finished, key) for key, lost in zip(keys, diverged, strict=True)],
    )
    return keys


def keep_checkpoint(db: sqlite3.Connection, run_ids: Sequence[str], block: BlockLike) -> None:
    """Replace the cohort's checkpoint by the block's state, or remove it after the last block."""
    cohort = cohort_id(run_ids)
    if block.state is None:
        db.execute("DELETE FROM checkpoint WHERE cohort = ?", (cohort,))
    else:
        db.execute(
            "INSERT OR REPLACE INTO checkpoint (cohort, runs, step, state) VALUES (?, ?, ?, ?)",
            (cohort, json.dumps(list(run_ids)), block.step, block.state),
        )


def forget(db: sqlite3.Connection, run_ids: Iterable[str]) -> None:
    """Make unfinished runs, and those of every cohort under way that holds one, as if never trained."""
    affected = set(run_ids)
    for cohort, runs in db.execute("SELECT cohort, runs FROM checkpoint").fetchall():
        members = json.loads(runs)
        if not affected.isdisjoint(members):
            affected.update(members)
            db.execute("DELETE FROM checkpoint WHERE cohort = ?", (cohort,))
    keys = db.execute(
        "SELECT run.key FROM run JOIN json_each(?) AS asked ON run.id = asked.value "
        "WHERE status NOT IN ('done', 'diverged')",
        (json.dumps(sorted(affected)),),
    ).fetchall()
    for table in ("metric", "trace"):
        db.executemany(f"DELETE FROM {table} WHERE run = ?", keys)
    db.executemany("UPDATE run SET status = 'pending', step = 0, error = NULL WHERE key = ?", keys)


def _looked_up(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[tuple[int, str, int]]:
    """Key, status and step of runs that must all be there."""
    rows = db.execute(
        "SELECT run.key, run.status, run.step FROM json_each(?) AS asked JOIN run ON run.id = asked.value "
        "ORDER BY asked.key",
        (json.dumps(list(run_ids)),),
    ).fetchall()
    if len(rows) != len(run_ids):
        raise RefusedError(
            f"every run must have been added, found {len(rows)} of {len(run_ids)}; add them first"
        )
    return rows


def _metrics(
    keys: Sequence[int], rows: Sequence[int], block: BlockLike
) -> Iterator[tuple[int, str, int, float]]:
    for name, (steps, values) in block.metrics.items():
        columns = np.asarray(steps).tolist()
        for key, row in zip(keys, np.asarray(values, dtype=np.float64)[rows].tolist(), strict=True):
            for step, value in zip(columns, row, strict=True):
                yield key, name, step, value


def _traces(
    keys: Sequence[int], rows: Sequence[int], block: BlockLike
) -> Iterator[tuple[int, int, str, int, float, bytes]]:
    for name, values in block.trace.items():
        with np.errstate(over="ignore"):  # beyond float32 is recorded as infinite
            table = np.ascontiguousarray(np.asarray(values)[rows], dtype="<f4")
        count = table.shape[1]
        totals = table.sum(axis=1, dtype=np.float64).tolist()
        for key, row, total in zip(keys, table, totals, strict=True):
            yield key, block.step - count + 1, name, count, total, row.tobytes()
