"""Which process trains which runs.

A process that trains has a row in ``trainer`` and holds an operating-system lock on a file of its own
beside the store, ``trainer-NAME.lock``. The system releases the lock when the process ends, however it
ends: a trainer whose lock can be taken is dead, and its claims are void from then on. No clock is asked,
so a process that is slow, stopped or suspended keeps its claims.

Rows and lock files come and go only inside a write transaction of the store. Nobody can therefore see a
trainer's row before its lock is held, and two processes cannot clear one another away. The lock is
SQLite's own (an exclusive transaction on the empty file), so it works wherever the store itself does.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Self, final

from clifftop.lab.contract import Checkpoint, Claimed
from clifftop.lab.sqlite_errors import RefusedError, errors_name
from clifftop.lab.store.rows import forget, now


@final
class Seat:
    """This process's place among the trainers: a name, and the lock that says it lives."""

    def __init__(self, name: str, path: Path, lock: sqlite3.Connection) -> None:
        """Use `take`."""
        self.name, self._path, self._lock = name, path, lock

    @classmethod
    def take(cls, db: sqlite3.Connection, folder: Path) -> Self:
        """Join the trainers, inside a write transaction of the store."""
        name = uuid.uuid4().hex[:12]
        path = _lock_file(folder, name)
        with errors_name(path):
            seat = cls(name, path, sqlite3.connect(path, timeout=0, isolation_level=None))
        try:
            with errors_name(path):
                seat._lock.execute("PRAGMA journal_mode = OFF")  # nothing is ever written there
                seat._lock.execute("BEGIN EXCLUSIVE")
            db.execute(
                "INSERT INTO trainer (name, host, process, since) VALUES (?, ?, ?, ?)",
                (name, platform.node(), os.getpid(), now()),
            )
        except BaseException:
            seat.leave()
            raise
        return seat

    def leave(self) -> None:
        """Let go of the lock, which voids whatever is still claimed."""
        self._lock.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def void_the_dead(db: sqlite3.Connection, folder: Path, seat: Seat | None) -> None:
    """Remove trainers that have ended, with their claims, inside a write transaction of the store."""
    for name in _others(db, seat):
        if not _lives(_lock_file(folder, name)):
            remove(db, name)
            with suppress(OSError):
                _lock_file(folder, name).unlink(missing_ok=True)


def clear_up(db: sqlite3.Connection, folder: Path) -> None:
    """`void_the_dead`, and remove the locks of processes that died between their lock and their row."""
    void_the_dead(db, folder, None)
    known = {_lock_file(folder, name) for name in _others(db, None)}
    for path in folder.glob(_lock_file(folder, "*").name):
        if path not in known and not _lives(path):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def remove(db: sqlite3.Connection, name: str) -> None:
    """Remove a trainer and its claims."""
    db.execute("DELETE FROM claim WHERE trainer = ?", (name,))
    db.execute("DELETE FROM trainer WHERE name = ?", (name,))


def living(db: sqlite3.Connection, folder: Path, seat: Seat | None) -> list[str]:
    """The names of the other trainers that live."""
    return [name for name in _others(db, seat) if _lives(_lock_file(folder, name))]


def claim(db: sqlite3.Connection, seat: Seat, run_ids: Sequence[str]) -> Claimed:
    """See `RunStore.claim`; the dead have been removed."""
    rows = db.execute(
        "SELECT run.id, run.key FROM json_each(?) AS asked JOIN run ON run.id = asked.value "
        "LEFT JOIN claim ON claim.run = run.key "
        "WHERE claim.run IS NULL AND run.status NOT IN ('done', 'diverged') ORDER BY asked.key",
        (json.dumps(list(run_ids)),),
    )
    free: dict[str, int] = dict(rows.fetchall())
    if not free:
        return Claimed()
    kept = _cohorts_to_go_on(db, frozenset(run_ids), frozenset(free))
    db.executemany(
        "INSERT INTO claim (run, trainer) VALUES (?, ?)", [(key, seat.name) for key in free.values()]
    )
    under_way = {run_id for checkpoint in kept for run_id in checkpoint.run_ids}
    return Claimed(
        checkpoints=tuple(kept), run_ids=tuple(run_id for run_id in free if run_id not in under_way)
    )


def _cohorts_to_go_on(
    db: sqlite3.Connection, asked: frozenset[str], free: frozenset[str]
) -> list[Checkpoint]:
    """The cohorts under way that can go on as they were; others that hold a free run are forgotten."""
    kept: list[Checkpoint] = []
    for cohort, runs in db.execute("SELECT cohort, runs FROM checkpoint ORDER BY rowid").fetchall():
        members = tuple(json.loads(runs))
        if free.isdisjoint(members):
            continue
        if asked.issuperset(members):
            ((step, state),) = db.execute("SELECT step, state FROM checkpoint WHERE cohort = ?", (cohort,))
            kept.append(Checkpoint(run_ids=members, step=step, state=state))
        else:
            forget(db, free.intersection(members))
    return kept


def check_claimed(db: sqlite3.Connection, seat: Seat | None, keys: Sequence[int]) -> None:
    """Refuse a block of runs that are not this process's to train."""
    ((mine, others),) = db.execute(
        "SELECT count(*) FILTER (WHERE trainer = ?1), count(*) FILTER (WHERE trainer IS NOT ?1) "
        "FROM claim WHERE run IN (SELECT value FROM json_each(?2))",
        (None if seat is None else seat.name, json.dumps(list(keys))),
    )
    if others or (seat is not None and mine != len(keys)):
        raise RefusedError(
            f"a trainer must have claimed what it speaks of, found {others} of {len(keys)} claimed by "
            f"another and {mine} by this one; run the same command again"
        )


def release(db: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Give back the claims on runs."""
    db.executemany("DELETE FROM claim WHERE run = ?", [(key,) for key in keys])


def _others(db: sqlite3.Connection, seat: Seat | None) -> list[str]:
    own = None if seat is None else seat.name
    return [name for (name,) in db.execute("SELECT name FROM trainer WHERE name IS NOT ?", (own,)).fetchall()]


def _lock_file(folder: Path, name: str) -> Path:
    return folder / f"trainer-{name}.lock"


def _lives(path: Path) -> bool:
    """Whether someone holds the lock; asking disturbs nobody else who asks."""
    if not path.exists():
        return False
    with errors_name(path):
        try:
            address = f"{path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, timeout=0, isolation_level=None, uri=True)) as lock:
                lock.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return True
            if not path.exists():
                return False
            raise
    return False
