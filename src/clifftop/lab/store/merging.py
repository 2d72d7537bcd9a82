"""Two stores of one sweep as a third; the two stay as they are."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from clifftop.lab.contract import StoreError
from clifftop.lab.sqlite_errors import errors_name
from clifftop.lab.store.file import STORE_FILE, Store
from clifftop.lab.store.opening import copy_store, open_to_write, study_of
from clifftop.lab.store.rows import forget

_FINISHED = "('done', 'diverged')"


@final
@dataclass(frozen=True, kw_only=True)
class MergedStore:
    """What a merge made.

    Attributes:
        runs: runs in it.
        added: of these, runs that the first store did not have.
        finished_by_second: runs that the second had finished and the first had not.
        agreed: runs that both had finished, with the same numbers.
    """

    runs: int
    added: int
    finished_by_second: int
    agreed: int


def merge_stores(first: Path, second: Path, out: Path, *, tolerance: float = 1e-6) -> MergedStore:
    """Make a store of every run of two others, which must be of one sweep.

    A run that has finished in one of them is finished; of a cohort under way in both, the one that is
    further goes on. Built beside ``out`` and renamed, so that ``out`` is there whole or not at all.

    Args:
        first: a results folder.
        second: another.
        out: the new one; must not exist.
        tolerance: how far metrics of a run that both have finished may differ, absolutely or relative to
            their size, whichever is more.

    Raises:
        StoreError: a folder without a usable store, stores of two sweeps, a run that ended differently in
            the two (the line names it), ``out`` exists or cannot be written.
    """
    if out.exists():
        raise StoreError(f"a merge must make a new folder, found {out}; choose another name")
    with _staging(out) as staging:
        study = _same_study(first, second)
        whole, other = staging / "whole", staging / "other"
        for source, copy in ((first, whole), (second, other)):
            copy.mkdir()
            copy_store(source / STORE_FILE, copy / STORE_FILE, named=out)
            open_to_write(copy / STORE_FILE, study).close()  # brings the copy to the newest format
        with Store.open(whole, study=study) as store, errors_name(out):
            merged = _merge(store, other / STORE_FILE, named=(first, second), tolerance=tolerance)
        with errors_name(out):
            whole.rename(out)
    return merged


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    with errors_name(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _same_study(first: Path, second: Path) -> str:
    studies = [study_of(folder / STORE_FILE) for folder in (first, second)]
    if studies[0] != studies[1]:
        raise StoreError(
            f"two stores must be of one sweep, found study={studies[0]!r} in {first} and "
            f"study={studies[1]!r} in {second}; merge stores of one study"
        )
    return studies[0]


def _merge(store: Store, other: Path, *, named: tuple[Path, Path], tolerance: float) -> MergedStore:
    db = store._db  # noqa: SLF001 - of this package
    db.execute("ATTACH DATABASE ? AS other", (str(other),))
    db.execute("BEGIN IMMEDIATE")
    _check_same_sweep(db, named)
    agreed = _check_agreement(db, named, tolerance)
    before = _count(db, "SELECT count(*) FROM run")
    _add_runs(db)
    taken = _take_finished(db)
    _take_cohorts(db)
    _take_the_rest(db)
    runs = _count(db, "SELECT count(*) FROM run")
    db.execute("COMMIT")
    return MergedStore(runs=runs, added=runs - before, finished_by_second=taken, agreed=agreed)


def _check_same_sweep(db: sqlite3.Connection, named: tuple[Path, Path]) -> None:
    differ = db.execute(
        "SELECT 1 FROM artifact AS a JOIN other.artifact AS b USING (name) "
        "WHERE name = 'sweep.json' AND a.content != b.content"
    ).fetchone()
    if differ:
        raise StoreError(
            f"two stores must be of one sweep, found another sweep.json in {named[1]} than in {named[0]}; "
            "merge stores of one sweep"
        )


_BOTH = (
    f"main.run AS a JOIN other.run AS b ON b.id = a.id "
    f"AND a.status IN {_FINISHED} AND b.status IN {_FINISHED}"
)
_DIFFERENT_END = f"""
    SELECT a.id, 'its end', a.status || ' at step ' || a.step, b.status || ' at step ' || b.step
    FROM {_BOTH} WHERE a.status != b.status OR a.step != b.step
"""
_DIFFERENT_METRIC = f"""
    SELECT a.id, x.name || ' at step ' || x.step, x.value, y.value
    FROM {_BOTH} JOIN main.metric AS x ON x.run = a.key
    LEFT JOIN other.metric AS y ON y.run = b.key AND y.name = x.name AND y.step = x.step
    WHERE y.run IS NULL OR (x.value IS NULL) != (y.value IS NULL)
        OR abs(x.value - y.value) > :tolerance * max(1.0, min(abs(x.value), abs(y.value)))
"""
_MISSING_METRIC = f"""
    SELECT a.id, y.name || ' at step ' || y.step, NULL, y.value
    FROM {_BOTH} JOIN other.metric AS y ON y.run = b.key
    LEFT JOIN main.metric AS x ON x.run = a.key AND x.name = y.name AND x.step = y.step
    WHERE x.run IS NULL
"""


def _check_agreement(db: sqlite3.Connection, named: tuple[Path, Path], tolerance: float) -> int:
    """Refuse two copies of a finished run that differ; return how many are in both."""
    for differs in (_DIFFERENT_END, _DIFFERENT_METRIC, _MISSING_METRIC):
        if found := db.execute(f"{differs} LIMIT 1", {"tolerance": tolerance}).fetchone():
            run_id, what, ours, theirs = found
            raise StoreError(
                f"run {run_id} must have ended alike in both stores, found {what}: {ours} in {named[0]} and "
                f"{theirs} in {named[1]}; find out which is right before you merge"
            )
    return _count(db, f"SELECT count(*) FROM {_BOTH}")


def _add_runs(db: sqlite3.Connection) -> None:
    for table in ("claim", "trainer"):
        db.execute(f"DELETE FROM main.{table}")
    db.execute(
        "INSERT INTO main.run (id, spec, noise_multiplier, clip_norm, lr, seed, steps, status, error) "
        "SELECT id, spec, noise_multiplier, clip_norm, lr, seed, steps, "
        "iif(status = 'failed', 'failed', 'pending'), error "
        "FROM other.run WHERE id NOT IN (SELECT id FROM main.run) ORDER BY key"
    )


def _take_finished(db: sqlite3.Connection) -> int:
    ids = [
        str(run_id)
        for (run_id,) in db.execute(
            f"SELECT id FROM main.run AS a JOIN other.run AS b USING (id) "
            f"WHERE b.status IN {_FINISHED} AND a.status NOT IN {_FINISHED}"
        ).fetchall()
    ]
    if ids:
        forget(db, ids)
        _take(db, ids)
    return len(ids)


def _take_cohorts(db: sqlite3.Connection) -> None:
    """Cohorts under way in the second store that can go on, and are further than the first's."""
    cohorts = db.execute("SELECT cohort, runs, step, state FROM other.checkpoint ORDER BY rowid").fetchall()
    for cohort, text, step, state in cohorts:
        members = [str(run_id) for run_id in json.loads(text)]
        running = [
            str(run_id)
            for (run_id,) in db.execute(
                "SELECT id FROM other.run WHERE status = 'running' "
                "AND id IN (SELECT value FROM json_each(?))",
                (text,),
            ).fetchall()
        ]
        finished = _count(
            db,
            f"SELECT count(*) FROM main.run WHERE status IN {_FINISHED} "
            "AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(running),),
        )
        rivals = [
            rival_step
            for rival, rival_step in db.execute("SELECT runs, step FROM main.checkpoint").fetchall()
            if not set(members).isdisjoint(json.loads(rival))
        ]
        if finished or max(rivals, default=-1) >= step:
            continue
        forget(db, running)
        _take(db, running)
        db.execute(
            "INSERT INTO main.checkpoint (cohort, runs, step, state) VALUES (?, ?, ?, ?)",
            (cohort, text, step, state),
        )


def _take(db: sqlite3.Connection, ids: list[str]) -> None:
    """Replace what is known about unfinished runs, which has been forgotten, by the second store's."""
    asked = (json.dumps(ids),)
    among = (
        "FROM json_each(?) AS asked JOIN main.run AS a ON a.id = asked.value "
        "JOIN other.run AS b ON b.id = a.id"
    )
    db.execute(
        "UPDATE main.run SET status = b.status, step = b.step, diverged = b.diverged, error = b.error "
        "FROM other.run AS b WHERE b.id = main.run.id AND b.id IN (SELECT value FROM json_each(?))",
        asked,
    )
    db.execute(
        f"INSERT INTO main.metric SELECT a.key, x.name, x.step, x.value {among} "
        "JOIN other.metric AS x ON x.run = b.key",
        asked,
    )
    db.execute(
        "INSERT INTO main.trace (run, first_step, name, steps, total, vals) "
        f"SELECT a.key, x.first_step, x.name, x.steps, x.total, x.vals {among} "
        "JOIN other.trace AS x ON x.run = b.key",
        asked,
    )


def _take_the_rest(db: sqlite3.Connection) -> None:
    db.execute(
        "INSERT OR IGNORE INTO main.setting "
        "SELECT a.key, point, delta, epsilon_lower, epsilon_upper, neighboring_relation "
        "FROM other.setting AS s JOIN other.run AS b ON b.key = s.run JOIN main.run AS a ON a.id = b.id"
    )
    db.execute("INSERT OR IGNORE INTO main.cohort_size SELECT * FROM other.cohort_size")
    db.execute(
        "INSERT INTO main.artifact SELECT * FROM other.artifact WHERE true "
        "ON CONFLICT (name) DO UPDATE SET at = excluded.at, content = excluded.content "
        "WHERE excluded.at > artifact.at"
    )
    events = db.execute(
        "SELECT at, kind, detail FROM "
        "(SELECT 1 AS part, * FROM main.event UNION ALL SELECT 2, * FROM other.event) ORDER BY at, part, key"
    ).fetchall()
    db.execute("DELETE FROM main.event")
    db.executemany("INSERT INTO main.event (at, kind, detail) VALUES (?, ?, ?)", events)


def _count(db: sqlite3.Connection, sql: str, parameters: tuple[object, ...] = ()) -> int:
    return int(db.execute(sql, parameters).fetchone()[0])
