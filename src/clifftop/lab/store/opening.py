"""Opening a store's file: looked at before it is touched."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from clifftop import __version__
from clifftop.lab.contract import StoreError
from clifftop.lab.migrations import APPLICATION_ID, is_newest, migrate
from clifftop.lab.sqlite_errors import errors_name
from clifftop.lab.store.rows import now

_PATIENCE_SECONDS = 30.0  # how long a short write waits for other processes' short writes
_PAUSE_SECONDS = 0.005


def open_to_write(path: Path, study: str) -> sqlite3.Connection:
    """A connection to a study's store, which is made if need be; its folder too.

    Raises:
        StoreError: see `Store.open`.
    """
    if sqlite3.sqlite_version_info < (3, 37):
        raise StoreError(f"SQLite must be 3.37 or newer, found {sqlite3.sqlite_version}; update Python")
    with errors_name(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _closed_on_error(sqlite3.connect(path, _PATIENCE_SECONDS, isolation_level=None)) as db:
            _refuse_foreign(path, db, study)
            _use_wal(db)
            db.execute("PRAGMA synchronous = NORMAL")  # with WAL: safe against a killed process
            migrate(db)
            db.execute(
                "INSERT OR IGNORE INTO sweep (key, study, created, created_by) VALUES (1, ?, ?, ?)",
                (study, now(), f"clifftop {__version__}"),
            )
            _refuse_foreign(path, db, study)  # another process may have named it first
            return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    Raises:
        StoreError: see `Store.read`.
    """
    if not path.is_file():
        raise StoreError(
            f"a results folder must hold {path.name}, found none in {path.parent}; run a study into it"
        )
    with errors_name(path), _closed_on_error(_read_only(path)) as db:
        _refuse_foreign(path, db, None)
        if not is_newest(db):
            raise StoreError(f"{path} is empty or of an older version; run its study again to complete it")
        return db


def study_of(path: Path) -> str:
    """The study that a store of this format, or of an older one, belongs to.

    Raises:
        StoreError: the file is no store, is empty, is damaged, or is of a newer version.
    """
    if not path.is_file():
        raise StoreError(f"a results folder must hold {path.name}, found none in {path.parent}; name another")
    with errors_name(path), closing(_read_only(path)) as db:
        _refuse_foreign(path, db, None)
        version_known = is_newest(db) or db.execute("PRAGMA user_version").fetchone()[0] > 0
        found = db.execute("SELECT study FROM sweep").fetchone() if version_known else None
        if found is None:
            raise StoreError(f"{path} must belong to a study, found it empty; name another folder")
        return str(found[0])


def copy_store(source: Path, target: Path, *, named: Path) -> None:
    """Copy a store as it is at one moment, also while it is written.

    Args:
        source: the file.
        target: the new file.
        named: what an error in writing calls the new file.

    Raises:
        StoreError: it cannot be read, or not be written.
    """
    with (
        errors_name(source),
        closing(_read_only(source)) as db,
        errors_name(named),
        closing(sqlite3.connect(target)) as copy,
    ):
        db.backup(copy)


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log, where it is not yet.

    SQLite does not wait here as it does elsewhere: of several processes that open a new store at once, all
    but one are told at once that it is locked.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _read_only(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    db = sqlite3.connect(address, _PATIENCE_SECONDS, isolation_level=None, uri=True)
    try:
        db.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as error:
        db.close()
        settled = not path.with_name(f"{path.name}-wal").exists()
        if (
            error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            or not settled
        ):
            raise
        # A folder that may not be written, so the files that readers share cannot be made; nobody writes.
        return sqlite3.connect(f"{address}&immutable=1", isolation_level=None, uri=True)
    except BaseException:
        db.close()
        raise
    return db


def _refuse_foreign(path: Path, db: sqlite3.Connection, study: str | None) -> None:
    """Look before touching: an empty file, or a store of this package and of this study."""
    tables = {
        name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    }
    if not tables:
        return
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or "sweep" not in tables:
        raise StoreError(
            f"{path} must be a results store, found another program's database; choose another folder"
        )
    found = db.execute("SELECT study FROM sweep").fetchone()
    if study is not None and found is not None and found[0] != study:
        raise StoreError(
            f"{path} must belong to study={study!r}, found study={found[0]!r}; choose another folder"
        )


@contextmanager
def _closed_on_error(db: sqlite3.Connection) -> Generator[sqlite3.Connection, None, None]:
    try:
        yield db
    except BaseException:
        db.close()
        raise
