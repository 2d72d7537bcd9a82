"""The live view of a running sweep, on standard error: a picture on a terminal, lines elsewhere."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, final

from clifftop.cli.live_panel import Moment, ending, line, panel
from clifftop.cli.pace import Pace, begins_round
from clifftop.cli.process_memory import memory_in_use
from clifftop.cli.progress import SECONDS_BETWEEN_LINES, Show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from clifftop.lab import Progress
    from clifftop.lab.reading.scoreboard import Scoreboard

_FRAMES_PER_SECOND = 4
_SECONDS_BETWEEN_READS = 2.0
_LARGEST_SHARE = 0.02  # of the time may go into reading the store
_PATIENCE_SECONDS = 5.0  # for a read to end when the view closes


@contextmanager
def live_view(
    store_folder: Path, metric: str, *, workers: int | None = None, maximize: bool | None = None
) -> Iterator[Show]:
    """A view of the sweep that writes into ``store_folder``; call what it gives after each block.

    Nothing goes to standard output. On a terminal the view redraws itself four times a second, reads the
    best scores through a connection of its own, never for more than a fiftieth of the time, and leaves
    one line when it ends, however it ends. Elsewhere there is one plain line every ten seconds.

    Args:
        store_folder: the results folder; it need not exist yet.
        metric: which metric the best scores are of.
        workers: how many train at the same time, where that is known.
        maximize: whether large values of it are good; None goes by its name.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    view = _View(metric, workers=workers)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _lines(view, sys.stderr)
        return
    reader = _Reader(store_folder, metric, view, maximize=maximize)
    reader.start()
    stopped = True
    try:
        with _drawn(view, console):
            yield view.tell
        stopped = False
    finally:
        reader.stop()
        if text := ending(view.moment(), stopped=stopped):
            console.print(text, soft_wrap=True, markup=False)


def _drawn(view: _View, console: Console) -> AbstractContextManager[object]:
    from rich.live import Live

    return Live(
        get_renderable=lambda: _picture(view, console),
        console=console,
        refresh_per_second=_FRAMES_PER_SECOND,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a terminal that is shared; a pipe must get what is its own
    )


def _picture(view: _View, console: Console) -> RenderableType:
    return panel(view.moment(), width=console.width, height=console.height)


def _lines(view: _View, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> Show:
    last = clock()

    def show(progress: Progress) -> None:
        nonlocal last
        view.tell(progress)
        if clock() - last >= SECONDS_BETWEEN_LINES:
            last = clock()
            stream.write(f"{line(view.moment())}\n")
            stream.flush()

    return show


@final
class _View:
    """What is known now; told by the sweep and the reader, asked by whoever draws."""

    def __init__(self, metric: str, *, workers: int | None) -> None:
        self._metric, self._workers = metric, workers
        self._lock, self._pace, self._started = threading.Lock(), Pace(), time.monotonic()
        self._progress: Progress | None = None
        self._earlier = 0  # runs of the earlier rounds of a search
        self._board: Scoreboard | None = None
        self._memory: int | None = None

    def tell(self, progress: Progress) -> None:
        """Take in a block."""
        with self._lock:
            if self._progress is not None and begins_round(self._progress, progress):
                self._earlier += self._progress.runs_total
            self._progress = progress
            self._pace.tell(progress, time.monotonic())

    def read(self, board: Scoreboard | None, memory: int | None) -> None:
        """Take in what was read; None keeps what was read before."""
        with self._lock:
            self._board, self._memory = board or self._board, memory

    def moment(self) -> Moment:
        """All of it."""
        with self._lock:
            now = time.monotonic()
            return Moment(
                progress=_and_earlier(self._progress, self._earlier),
                rates=self._pace.rates(now),
                seconds=now - self._started,
                seconds_left=self._pace.seconds_left(now),
                board=self._board,
                metric=self._metric,
                workers=self._workers,
                memory=self._memory,
            )


def _and_earlier(progress: Progress | None, runs: int) -> Progress | None:
    """Counts of runs with those of earlier rounds; steps and cohorts stay those of this round."""
    if progress is None or runs == 0:
        return progress
    return replace(progress, runs_done=progress.runs_done + runs, runs_total=progress.runs_total + runs)


@final
class _Reader:
    """Reads the scoreboard now and then, in a thread of its own: it must hold up neither frame nor block."""

    def __init__(self, folder: Path, metric: str, view: _View, *, maximize: bool | None) -> None:
        self._folder, self._metric, self._view, self._maximize = folder, metric, view, maximize
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clifftop-live", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read once more, so that the last line has the last counts, and end."""
        self._ended.set()
        self._thread.join(timeout=_PATIENCE_SECONDS)

    def _run(self) -> None:
        since: int | None = None
        while True:
            last = self._ended.is_set()
            began = time.monotonic()
            board, since = self._look(since)
            self._view.read(board, memory_in_use())
            if last:
                return
            spent = time.monotonic() - began
            self._ended.wait(max(_SECONDS_BETWEEN_READS, spent / _LARGEST_SHARE))

    def _look(self, since: int | None) -> tuple[Scoreboard | None, int | None]:
        from clifftop.lab.contract import StoreError
        from clifftop.lab.reading.scoreboard import last_event, scoreboard
        from clifftop.lab.store import Store

        try:
            with Store.read(self._folder) as store:
                since = last_event(store) if since is None else since
                return scoreboard(store, self._metric, since=since, maximize=self._maximize), since
        except (StoreError, sqlite3.Error, OSError):
            # The sweep may not have made its store yet; if the store is broken, the sweep will say so.
            return None, 0 if since is None else since
