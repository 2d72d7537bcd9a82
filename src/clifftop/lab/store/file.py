"""The store: a `clifftop.lab.contract.RunStore` in one SQLite file.

The tables are in `clifftop.lab.migrations`. The file is in WAL mode, so readers do not disturb writers,
and a killed process leaves the last whole block. Who trains what is in `clifftop.lab.store.claims`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from clifftop.codec import from_json
from clifftop.lab.contract import BlockLike, Checkpoint, Claimed, RunSetting, Status, StoreError
from clifftop.lab.spec import RunSpec
from clifftop.lab.sqlite_errors import RefusedError, damaged, errors_name
from clifftop.lab.store import claims, rows
from clifftop.lab.store.opening import open_to_read, open_to_write
from clifftop.lab.store.settings import ALL_SETTINGS, parse_settings, write_settings

STORE_FILE = "store.sqlite"


@final
class Store:
    """A `RunStore` in one SQLite file. Use as a context manager, or `close` it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Store.open(folder, study="example") as store:
    ...     store.study, store.statuses()
    ('example', {})
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        """Use `open` or `read`."""
        self._path, self._db = path, db
        self._seat: claims.Seat | None = None

    @classmethod
    def open(cls, folder: Path | str, *, study: str) -> Self:
        """Open the store of a results folder to write, and create both if need be.

        Raises:
            StoreError: the folder belongs to another study, or its store is no store of this package,
                is damaged, or is of a newer version.
        """
        path = Path(folder) / STORE_FILE
        return cls(path, open_to_write(path, study))

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """Open the store of a results folder to read; it must exist.

        Raises:
            StoreError: there is no store, or it cannot be used (see `open`).
        """
        path = Path(folder) / STORE_FILE
        return cls(path, open_to_read(path))

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

    @property
    def study(self) -> str:
        """The study that this store belongs to."""
        return str(self.query("SELECT study FROM sweep")[0][0])

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def training(self) -> Generator[None, None, None]:
        """See `RunStore.training`."""
        if self._seat is not None:
            raise StoreError(f"{self._path}: training must not be entered twice; leave it first")
        seat: claims.Seat | None = None
        try:
            with self._transaction() as db:
                claims.clear_up(db, self._path.parent)
                seat = claims.Seat.take(db, self._path.parent)
            self._seat = seat
            yield
        finally:
            self._seat = None
            if seat is not None:
                with suppress(StoreError), self._transaction() as db:  # on failure the lock alone voids them
                    claims.remove(db, seat.name)
                seat.leave()

    def trainers(self) -> int:
        """See `RunStore.trainers`."""
        with errors_name(self._path):
            others = claims.living(self._db, self._path.parent, self._seat)
        return len(others) + (self._seat is not None)

    def claim(self, run_ids: Sequence[str]) -> Claimed:
        """See `RunStore.claim`."""
        with self._transaction() as db:
            if self._seat is None:
                raise RefusedError("runs must be claimed inside training(); enter it first")
            rows.keys_of(db, run_ids)
            claims.void_the_dead(db, self._path.parent, self._seat)
            return claims.claim(db, self._seat, run_ids)

    def claimed(self) -> frozenset[str]:
        """See `RunStore.claimed`."""
        with errors_name(self._path):
            others = claims.living(self._db, self._path.parent, self._seat)
        found = self.query(
            "SELECT run.id FROM claim JOIN run ON run.key = claim.run "
            "WHERE run.status NOT IN ('done', 'diverged') "
            "AND claim.trainer IN (SELECT value FROM json_each(?))",
            (json.dumps(others),),
        )
        return frozenset(run_id for (run_id,) in found)

    def add(self, specs: Iterable[RunSpec]) -> int:
        """See `RunStore.add`."""
        added = [
            (
                spec.id,
                spec.canonical,
                spec.noise_multiplier,
                spec.clip_norm,
                spec.optimizer.lr,
                spec.seed,
                spec.steps,
            )
            for spec in specs
        ]
        with self._transaction() as db:
            return db.executemany(
                "INSERT OR IGNORE INTO run (id, spec, noise_multiplier, clip_norm, lr, seed, steps) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                added,
            ).rowcount

    def statuses(self) -> dict[str, Status]:
        """See `RunStore.statuses`."""
        named = {status.value: status for status in Status}
        return {
            run_id: named[status] for run_id, status in self.query("SELECT id, status FROM run ORDER BY key")
        }

    def checkpoints(self) -> list[Checkpoint]:
        """See `RunStore.checkpoints`."""
        found = self.query("SELECT runs, step, state FROM checkpoint ORDER BY rowid")
        return [
            Checkpoint(run_ids=tuple(json.loads(runs)), step=step, state=state) for runs, step, state in found
        ]

    def commit(self, run_ids: Sequence[str], block: BlockLike, *, seconds: float = 0.0) -> None:
        """See `RunStore.commit`."""
        with self._transaction() as db:
            keys = rows.write_block(db, run_ids, block)
            claims.check_claimed(db, self._seat, keys)
            rows.keep_checkpoint(db, run_ids, block)
            if block.finished:
                claims.release(db, rows.keys_of(db, run_ids))
            rows.record(
                db,
                "block",
                cohort=rows.cohort_id(run_ids),
                runs=len(run_ids),
                step=block.step,
                seconds=round(seconds, 4),
            )

    def fail(self, run_ids: Sequence[str], error: str) -> None:
        """See `RunStore.fail`."""
        with self._transaction() as db:
            keys = rows.unfinished_keys(db, run_ids)
            claims.check_claimed(db, self._seat, keys)
            rows.forget(db, run_ids)
            db.executemany(
                "UPDATE run SET status = 'failed', error = ? WHERE key = ?", [(error, key) for key in keys]
            )
            claims.release(db, keys)

    def cohort_size(self, static_key: str, measure: Callable[[], int]) -> int:
        """See `RunStore.cohort_size`."""
        ask = "SELECT runs FROM cohort_size WHERE static_key = ?"
        if not (found := self.query(ask, (static_key,))):
            size = measure()
            with self._transaction() as db:  # another process may have decided while this one measured
                db.execute("INSERT OR IGNORE INTO cohort_size VALUES (?, ?)", (static_key, size))
            found = self.query(ask, (static_key,))
        return int(found[0][0])

    def record(self, kind: str, **detail: object) -> None:
        """See `RunStore.record`."""
        with self._transaction() as db:
            rows.record(db, kind, **detail)

    def describe(self, settings: Iterable[RunSetting]) -> None:
        """See `RunStore.describe`."""
        with self._transaction() as db:
            write_settings(db, list(settings))

    def settings(self) -> dict[str, RunSetting]:
        """See `RunStore.settings`."""
        return parse_settings(self.query(ALL_SETTINGS))

    def specs(self, *, kinds: Iterable[type] = ()) -> dict[str, RunSpec]:
        """Every run's spec by id, in the order they were added; about 0.1 ms each.

        Args:
            kinds: classes from outside this package that the specs name (`clifftop.codec`).
        """
        known = tuple(kinds)
        found = self.query("SELECT id, spec FROM run ORDER BY key")
        return {run_id: from_json(text, RunSpec, kinds=known) for run_id, text in found}

    def put_artifact(self, name: str, content: bytes) -> None:
        """See `RunStore.put_artifact`."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO artifact (name, at, content) VALUES (?, ?, ?)",
                (name, rows.now(), content),
            )

    def artifact(self, name: str) -> bytes | None:
        """See `RunStore.artifact`."""
        found = self.query("SELECT content FROM artifact WHERE name = ?", (name,))
        return found[0][0] if found else None

    def check(self) -> None:
        """Read the whole file and refuse a damaged one with `StoreError`."""
        found = self.query("PRAGMA integrity_check(1)")[0][0]
        if found != "ok":
            raise StoreError(damaged(self._path, found))

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """See `RunStore.query`."""
        with errors_name(self._path):
            return self._db.execute(sql, tuple(parameters)).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        with errors_name(self._path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise
