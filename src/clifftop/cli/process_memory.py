"""The memory that this process and its workers use, where the system tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROCESSES = Path("/proc")


def memory_in_use() -> int | None:
    """Bytes in memory of this process and its descendants; pages that they share count once.

    None where there is no ``/proc`` of Linux.
    """
    shared, own = 0, 0
    for process in (os.getpid(), *_descendants(os.getpid())):
        pages = _pages(process)
        if pages is not None:
            resident, common = pages
            own += resident - common
            shared = max(shared, common)
    if own == 0:
        return None
    return (own + shared) * os.sysconf("SC_PAGE_SIZE")


def _pages(process: int) -> tuple[int, int] | None:
    """Resident pages, and those among them that others may hold too; None if it has ended."""
    try:
        fields = (_PROCESSES / str(process) / "statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]), int(fields[2])


def _descendants(process: int) -> Iterator[int]:
    try:
        listed = [
            path.read_text().split() for path in (_PROCESSES / str(process) / "task").glob("*/children")
        ]
    except OSError:
        return
    for child in (int(text) for texts in listed for text in texts):
        yield child
        yield from _descendants(child)
