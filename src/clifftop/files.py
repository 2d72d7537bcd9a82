"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class FileWriteError(OSError):
    """Files could not be written; the folder is as it was. The message is one line."""


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (name to content) into ``folder``: every one, or none.

    All contents go to temporary files in the same folder first and reach the disk; only then does
    each take its name, so a full disk or a crash leaves no half-written file.

    Raises:
        FileWriteError: one line naming the file and the system's reason.
    """
    staged: dict[Path, Path] = {}
    target = folder
    try:
        for name, content in files.items():
            target = folder / name
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            staged[temporary] = target
            _write(temporary, content)
        for temporary, target in staged.items():
            temporary.replace(target)
    except OSError as error:
        raise FileWriteError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was changed there, "
            "make room or choose another folder and run again"
        ) from error
    finally:
        for temporary in staged:
            temporary.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
