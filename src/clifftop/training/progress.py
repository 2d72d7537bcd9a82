"""How far a run has come, for whoever wants to be told, and a line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO, final


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a call of ``fit`` has come.

    Attributes:
        steps_done: of this call.
        steps: of this call, in all.
        seconds: since it began.
    """

    steps_done: int
    steps: int
    seconds: float


@final
class TerminalProgress:
    """One line on standard error, rewritten; only on a terminal, and only once a run has lasted.

    Args:
        stream: where to write; by default standard error.
        after_seconds: a shorter run shows nothing.
        every_seconds: the least time between two lines.

    >>> import io
    >>> TerminalProgress(stream=io.StringIO())(Progress(steps_done=1, steps=2, seconds=9.0))
    """

    def __init__(
        self, *, stream: TextIO | None = None, after_seconds: float = 2.0, every_seconds: float = 0.2
    ) -> None:
        """See the class."""
        self._stream = sys.stderr if stream is None else stream
        self._after, self._every = after_seconds, every_seconds
        self._shown: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Write the line, if it is time."""
        shown, last = self._shown, progress.steps_done >= progress.steps
        due = progress.seconds >= (self._after if shown is None else shown + self._every)
        if not self._stream.isatty() or not (due or (last and shown is not None)):
            return
        rate = progress.steps_done / max(progress.seconds, 1e-9)
        left = (progress.steps - progress.steps_done) / max(rate, 1e-9)
        line = f"step {progress.steps_done} of {progress.steps}, {rate:.3g} a second, {left:.0f} s left"
        self._stream.write(f"\r{line:<72}" + ("\n" if last else ""))
        self._stream.flush()
        self._shown = None if last else progress.seconds


@final
class Clock:
    """Turns step counts into `Progress` for one call of ``fit``."""

    def __init__(self, report: Callable[[Progress], None] | None, steps: int) -> None:
        self._report, self._steps, self._since = report, steps, time.monotonic()

    def tick(self, steps_done: int) -> None:
        """Report ``steps_done`` of this call."""
        if self._report is not None:
            seconds = time.monotonic() - self._since
            self._report(Progress(steps_done=steps_done, steps=self._steps, seconds=seconds))
