"""The store's tables, as an ordered list of functions that each lead to the next version.

``PRAGMA user_version`` counts the migrations that a file has seen. A released migration is never
edited: a change of the tables is a new function at the end of `MIGRATIONS`.

Tables (all STRICT). NULL in a REAL column that measures something means "not a number": SQLite has
infinities but no NaN.

- ``sweep``: one row, which study the folder belongs to.
- ``run``: one row a run: its content id, its spec as canonical JSON, how far it is.
- ``metric``: one evaluation of one run, in long form.
- ``trace``: per-step diagnostics of one run and one block; ``vals`` holds ``steps`` little-endian
  float32 numbers for the steps from ``first_step`` on (steps count from 1), ``total`` their sum.
- ``event``: the timeline; ``detail`` is JSON.
- ``artifact``: named bytes, such as a data summary.
- ``checkpoint``: one row for each cohort that is under way; ``runs`` is a JSON list of run ids.
- ``setting``: what a sweep says about a run; ``point`` is JSON, axis name to value (`clifftop.codec`).
- ``trainer``: one row for each process that trains now, or died training (`clifftop.lab.store.claims`).
- ``claim``: which trainer a run that is being trained belongs to.
- ``cohort_size``: how many runs with one static key train together, once that is decided.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence

Migration = Callable[[sqlite3.Connection], None]

APPLICATION_ID = 0x436C6674
"""``PRAGMA application_id`` of every store: the bytes "Clft"."""


class NewerFormatError(Exception):
    """The file was written by a newer version of this package."""


class UnreadableError(Exception):
    """The file holds a value that no version of this package has written."""


def migrate(db: sqlite3.Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Bring the tables to the newest version, each migration in its own transaction.

    Args:
        db: a connection in autocommit mode.
        migrations: the list to follow; by default `MIGRATIONS`.

    Raises:
        NewerFormatError: the file's version is beyond the list.
    """
    steps = MIGRATIONS if migrations is None else migrations
    while (version := _version(db)) != len(steps):
        if version > len(steps):
            raise NewerFormatError(f"format={version}, newest known={len(steps)}")
        db.execute("BEGIN IMMEDIATE")
        try:
            if _version(db) == version:  # another process may have migrated while this one waited
                steps[version](db)
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def is_newest(db: sqlite3.Connection) -> bool:
    """Whether the tables are of the newest version.

    Raises:
        NewerFormatError: they are of a version that is not known yet.
    """
    if (version := _version(db)) > len(MIGRATIONS):
        raise NewerFormatError(f"format={version}, newest known={len(MIGRATIONS)}")
    return version == len(MIGRATIONS)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in _FIRST_TABLES:
        db.execute(statement)


_FIRST_TABLES = (
    """
    CREATE TABLE sweep (
        key INTEGER PRIMARY KEY CHECK (key = 1),
        study TEXT NOT NULL,
        created TEXT NOT NULL,
        created_by TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE run (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending'
            CHECK (status IN ('pending', 'running', 'done', 'diverged', 'failed')),
        noise_multiplier REAL,
        clip_norm REAL,
        lr REAL NOT NULL,
        seed INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        step INTEGER NOT NULL DEFAULT 0,
        diverged INTEGER NOT NULL DEFAULT 0,
        error TEXT
    ) STRICT
    """,
    """
    CREATE TABLE metric (
        run INTEGER NOT NULL REFERENCES run (key),
        name TEXT NOT NULL,
        step INTEGER NOT NULL,
        value REAL,
        PRIMARY KEY (run, name, step)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE trace (
        run INTEGER NOT NULL REFERENCES run (key),
        first_step INTEGER NOT NULL,
        name TEXT NOT NULL,
        steps INTEGER NOT NULL,
        total REAL,
        vals BLOB NOT NULL,
        UNIQUE (run, first_step, name)
    ) STRICT
    """,
    """
    CREATE TABLE event (
        key INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE TABLE artifact (name TEXT PRIMARY KEY, at TEXT NOT NULL, content BLOB NOT NULL) STRICT",
    """
    CREATE TABLE checkpoint (
        cohort TEXT PRIMARY KEY,
        runs TEXT NOT NULL,
        step INTEGER NOT NULL,
        state BLOB NOT NULL
    ) STRICT
    """,
)


def _widen_specs(db: sqlite3.Connection) -> None:
    """Specs gain three fields; at these values they mean what they meant, under another id."""
    renamed: dict[str, str] = {}
    for run_id, text in db.execute("SELECT id, spec FROM run").fetchall():
        spec = _parsed(text, run_id)
        spec = _canonical({**_SECOND_SPEC_FIELDS, **spec})
        renamed[run_id] = _id_of(spec)
        db.execute("UPDATE run SET id = ?, spec = ? WHERE id = ?", (renamed[run_id], spec, run_id))
    for cohort, runs in db.execute("SELECT cohort, runs FROM checkpoint").fetchall():
        try:
            text = json.dumps([renamed[run_id] for run_id in json.loads(runs)])
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableError(f"checkpoint {cohort} does not name its runs") from error
        db.execute(
            "UPDATE checkpoint SET cohort = ?, runs = ? WHERE cohort = ?", (_id_of(text), text, cohort)
        )


def _parsed(text: str, run_id: str) -> Mapping[str, object]:
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"the spec of run {run_id} is no JSON") from error
    if not isinstance(spec, dict):
        raise UnreadableError(f"the spec of run {run_id} is no JSON object")
    return spec


def _canonical(value: object) -> str:
    """The form of `clifftop.codec` at the time of these migrations, whatever it becomes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _id_of(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _factory(target: str) -> dict[str, object]:
    return {"$kind": "clifftop.lab.spec:Factory", "options": {}, "target": target}


_SECOND_SPEC_FIELDS: Mapping[str, object] = {
    "criterion": _factory("clifftop.criteria:cross_entropy"),
    "metrics": [_factory("clifftop.criteria:accuracy")],
    "noise_seed": None,
}


def _add_sweeps(db: sqlite3.Connection) -> None:
    for statement in _SWEEP_TABLES:
        db.execute(statement)


_SWEEP_TABLES = (
    """
    CREATE TABLE setting (
        run INTEGER PRIMARY KEY REFERENCES run (key),
        point TEXT NOT NULL,
        delta REAL NOT NULL,
        epsilon_lower REAL,
        epsilon_upper REAL,
        neighboring_relation TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE trainer (
        name TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        process INTEGER NOT NULL,
        since TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE claim (
        run INTEGER PRIMARY KEY REFERENCES run (key),
        trainer TEXT NOT NULL REFERENCES trainer (name)
    ) STRICT
    """,
    "CREATE TABLE cohort_size (static_key TEXT PRIMARY KEY, runs INTEGER NOT NULL) STRICT",
)

MIGRATIONS: tuple[Migration, ...] = (_create_tables, _widen_specs, _add_sweeps)
