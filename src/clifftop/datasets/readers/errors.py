"""What a reader refuses, in one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataFileError(ValueError):
    """A file, or a column of it, is not what its reader was told."""


@contextmanager
def errors_name(path: Path, *damage: type[Exception]) -> Iterator[None]:
    """Raise what the system, or a parser with ``damage``, says of ``path`` as one line."""
    try:
        yield
    except DataFileError:
        raise
    except FileNotFoundError:
        raise DataFileError(
            f"{path} must exist, found no such file; relative paths start where the command is run"
        ) from None
    except OSError as error:
        raise DataFileError(f"{path} must be readable, found: {error.strerror or error}") from None
    except damage as error:
        said = " ".join(str(error).partition("\n")[0].split()) or type(error).__name__
        raise DataFileError(f"{path} must be whole, found: {said}; mend the file or write it anew") from None
