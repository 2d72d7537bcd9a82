"""Putting Ctrl-C off while something is half begun or half ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Generator[None, None, None]:
    """Put Ctrl-C off until the end of the block, where it is delivered.

    The handler is exchanged, since another thread of the process may be the one to take the signal; and the
    calling thread's mask is set, since a process that is started inherits it. Python runs handlers in the
    main thread only: in any other thread there is nothing to put off.
    """
    pending: list[int] = []

    def later(number: int, _frame: FrameType | None) -> None:
        pending.append(number)

    before = signal.getsignal(signal.SIGINT)
    handled = threading.current_thread() is threading.main_thread() and callable(before)
    if handled:
        signal.signal(signal.SIGINT, later)
    masks = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handled:
            signal.signal(signal.SIGINT, before)
            if pending:
                signal.raise_signal(signal.SIGINT)
