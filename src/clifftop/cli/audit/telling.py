"""How far a long audit is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clifftop.cli.progress import SECONDS_BEFORE_BAR, SECONDS_BETWEEN_LINES

Told = Callable[[float, str], None]
"""Takes the share that is done, and what is being done."""


@contextmanager
def told() -> Iterator[Told]:
    """One line that is written over on a terminal, a line now and then elsewhere; none for a short audit."""
    stream, begun = sys.stderr, time.monotonic()
    on_terminal = stream.isatty()
    last = begun if not on_terminal else begun + SECONDS_BEFORE_BAR - SECONDS_BETWEEN_LINES
    written = 0

    def tell(share: float, what: str) -> None:
        nonlocal last, written
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES and not (written and on_terminal):
            return
        last = now
        line = f"{share:4.0%} {what}"
        stream.write(f"\r{line:<{written}}" if on_terminal else f"{line}\n")
        stream.flush()
        written = len(line)

    try:
        yield tell
    finally:
        if on_terminal and written:
            stream.write("\r" + " " * written + "\r")
            stream.flush()
