"""What SQLite and the operating system report about a file, as one line that names it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clifftop.lab.contract import StoreError
from clifftop.lab.migrations import NewerFormatError, UnreadableError


class RefusedError(Exception):
    """What a store was asked for and must not do; the line lacks only the file's name."""


@contextmanager
def errors_name(path: Path) -> Generator[None, None, None]:
    """Raise failures of the file, and refusals, as `StoreError`."""
    try:
        yield
    except NewerFormatError as error:
        raise StoreError(f"{path} was written by a newer version ({error}); update clifftop") from error
    except RefusedError as error:
        raise StoreError(f"{path}: {error}") from error
    except UnreadableError as error:
        raise StoreError(damaged(path, error)) from error
    except sqlite3.Error as error:
        raise StoreError(_sqlite_line(path, error)) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(_full(path)) from error
        raise StoreError(
            f"{path} cannot be used ({error.strerror or error}); choose another folder"
        ) from error


def _full(path: Path) -> str:
    return f"{path} cannot grow: the disk is full; free some space and run the same command again to resume"


def _sqlite_line(path: Path, error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_IOERR:
            return (
                f"{path} cannot be written or read ({error}); check the disk and run the same command again"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is in use by another process; wait until it ends, or choose another folder"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, error)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"{path} cannot be opened or written ({error}); choose another folder or its permissions"
        case _:
            return f"{path}: {error}"


def damaged(path: Path, reason: object) -> str:
    """The line about a file that cannot be read."""
    found = " ".join(str(reason).split())
    return f"{path} is damaged or no SQLite file ({found}); move it away and run the study again"
