"""The part of a tuning's folder that nobody may see: drawn trials, checkpoints, the best trial so far.

The folder has mode 0700 and its files 0600. A file takes its name only when it is whole on the disk. What is
destroyed is overwritten with zeros first; on flash memory, file systems that copy on write or keep a journal,
and wherever backups or snapshots are made, older copies may remain all the same.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

from clifftop.lab.tuning.errors import TuneError

NAME = ".tuning-secret"
_LOCK = "lock"
_PIECE = 1 << 20


@final
class SecretFolder:
    """Files by name, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def open(self) -> None:
        """Make the folder if it is not there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Hold the right to tune here; the system gives it back however the process ends.

        Raises:
            TuneError: another process holds it.
        """
        path = self.path / _LOCK
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            db.close()
            raise TuneError(
                f"{self.path.parent}: one process at a time may tune here, found another ({error}); "
                "let it end"
            ) from error
        try:
            yield
        finally:
            db.close()

    def names(self) -> list[str]:
        """The files that are there, in order; none where there is no folder."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if not path.name.startswith(_LOCK))

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; the one it replaces is destroyed."""
        temporary, target = self.path / f"{name}.new", self.path / name
        replaced = self.path / f"{name}.old"
        self.destroy(temporary.name)
        self._destroy_replaced(replaced, target)
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):  # there may be none, and not every file system has links
            os.link(target, replaced)  # so that it can be overwritten once its name is the new one's
        temporary.replace(target)
        _sync(self.path)
        self._destroy_replaced(replaced, target)

    def _destroy_replaced(self, replaced: Path, target: Path) -> None:
        """Destroy a file that was replaced; where a process was killed before that, it is still in use."""
        with suppress(FileNotFoundError):
            if replaced.samefile(target):
                replaced.unlink()
        self.destroy(replaced.name)

    def destroy(self, name: str) -> None:
        """Overwrite a file with zeros and remove it."""
        path = self.path / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return
        with path.open("r+b") as file:
            for start in range(0, size, _PIECE):
                file.write(bytes(min(_PIECE, size - start)))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()

    def destroy_all(self, *, last: str) -> None:
        """Destroy every file, ``last`` as the last, and the folder."""
        if not self.path.is_dir():
            return
        for name in (*(name for name in self.names() if name != last), last):
            self.destroy(name)
        for path in self.path.iterdir():
            path.unlink()
        self.path.rmdir()
        _sync(self.path.parent)


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
