"""How far a long audit is, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, final

from clifftop.cli.progress import SECONDS_BEFORE_BAR, SECONDS_BETWEEN_LINES

Told = Callable[[float, str], None]
"""Takes the share that is done, and what is being done."""
SECONDS_BETWEEN_BEATS = 1.0


@contextmanager
def told(
    what: str = "auditing",
    *,
    stream: TextIO | None = None,
    before: float = SECONDS_BEFORE_BAR,
    between: float = SECONDS_BETWEEN_LINES,
) -> Iterator[Told]:
    """One line that is written over on a terminal, a line now and then elsewhere; none for a short audit.

    It is written by a clock of its own, so that an audit which says nothing for long is seen to be alive.

    Args:
        what: is being done at first.
        stream: is written to; standard error by default.
        before: seconds until the first line on a terminal.
        between: seconds between lines elsewhere.
    """
    line = _Line(sys.stderr if stream is None else stream, what)
    first, then = (before, SECONDS_BETWEEN_BEATS) if line.on_terminal else (between, between)
    stopped = threading.Event()
    clock = threading.Thread(target=_beat, args=(line, stopped, first, then), daemon=True)
    clock.start()
    try:
        yield line.tell
    finally:
        stopped.set()
        clock.join()
        line.clear()


def _beat(line: _Line, stopped: threading.Event, first: float, then: float) -> None:
    wait = first
    while not stopped.wait(wait):
        line.write()
        wait = then


@final
class _Line:
    """What is said of an audit, and how long it has been at it."""

    def __init__(self, stream: TextIO, what: str) -> None:
        self._stream, self._begun = stream, time.monotonic()
        self.on_terminal = stream.isatty()
        self._said, self._width = what, 0

    def tell(self, share: float, what: str) -> None:
        """Say something else from now on."""
        self._said = f"{share:.0%} {what}"

    def write(self) -> None:
        """Write the line as it is now."""
        line = f"{self._said}, {time.monotonic() - self._begun:.0f} s"
        self._stream.write(f"\r{line:<{self._width}}" if self.on_terminal else f"{line}\n")
        self._stream.flush()
        self._width = len(line)

    def clear(self) -> None:
        """Leave nothing of it on a terminal."""
        if self.on_terminal and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
