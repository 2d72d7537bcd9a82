"""What the live view of a sweep shows, as a picture of one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from clifftop.cli.run_cells import cells, epsilon_text, measured

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from clifftop.cli.pace import Rates
    from clifftop.lab import Progress
    from clifftop.lab.reading.scoreboard import Best, Scoreboard

_LINES_ABOVE = 10  # what the rest of the view takes of a terminal's height
_MOST_ROWS = 6
_LABELS = 9  # columns of the longest label and the gap behind it
_GAP = 3
_LEAST_ROOM = 12  # columns below which a setting says nothing


@final
@dataclass(frozen=True, kw_only=True)
class Moment:
    """One moment of a sweep.

    Attributes:
        progress: the last one told; None before the first block.
        rates: None before the second block.
        seconds: since the view began.
        seconds_left: None before the second block.
        board: the last one read; None before.
        metric: what the scoreboard compares by.
        workers: how many train, where that is known.
        memory: bytes in use by this process and its children, where that is known.
    """

    progress: Progress | None
    rates: Rates | None
    seconds: float
    seconds_left: float | None
    board: Scoreboard | None
    metric: str
    workers: int | None
    memory: int | None


def panel(moment: Moment, *, width: int, height: int) -> RenderableType:
    """The view, for a terminal of ``width`` columns and ``height`` lines."""
    from rich.console import Group
    from rich.text import Text

    if moment.progress is None:
        return Text(f"waiting for the first block, {clock(moment.seconds)}", style="dim")
    parts: list[RenderableType] = [_bar(moment, moment.progress), _facts(moment, moment.progress, width)]
    rows = min(_MOST_ROWS, height - _LINES_ABOVE)
    if moment.board is not None and moment.board.best and rows > 0:
        parts += ["", _best(_spread(moment.board.best, rows), moment.metric, width)]
    return Group(*parts)


def line(moment: Moment) -> str:
    """The same moment in one line.

    The first words stay the same, so that a log can be searched for them.
    """
    if moment.progress is None:
        return "training: waiting for the first block"
    done = moment.progress
    told = [f"training: {done.runs_done:,} of {done.runs_total:,} runs{_ended_badly(moment)}"]
    told.append(f"{100 * _share(done):.0f}% of the steps")
    if moment.rates is not None:
        told.append(_speed(moment.rates))
    if moment.seconds_left is not None:
        told.append(f"{clock(moment.seconds_left)} left")
    return ", ".join(told)


def ending(moment: Moment, *, stopped: bool) -> str:
    """What stays on the terminal when the view has gone."""
    if moment.progress is None:
        return ""
    done = moment.progress
    verb = "stopped at" if stopped else "trained"
    runs = f"{done.runs_done:,} of {done.runs_total:,} runs{_ended_badly(moment)}"
    return f"{verb} {runs} after {clock(moment.seconds)}"


def clock(seconds: float) -> str:
    """Seconds as on a clock.

    >>> clock(5), clock(3661), clock(400000)
    ('0:05', '1:01:01', '4 d 15 h')
    """
    whole = round(seconds)
    if whole >= 100 * 3600:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    minutes = f"{whole % 3600 // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes:0>5}" if whole >= 3600 else minutes


def amount(number: float) -> str:
    """A number of things as one says it.

    >>> amount(0.123), amount(12.3), amount(123456.0), amount(1.2e7)
    ('0.12', '12', '123,000', '12.0 million')
    """
    if number < 10:
        return f"{number:.2g}"
    if number < 1e6:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number / 1e6:.1f} million"


def size(num_bytes: int) -> str:
    """Bytes as a person says it.

    >>> size(300_000_000), size(5_000_000_000)
    ('286 MiB', '4.7 GiB')
    """
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def _bar(moment: Moment, done: Progress) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    left = "" if moment.seconds_left is None else f"{clock(moment.seconds_left)} left"
    table = Table.grid(padding=(0, 1))
    table.add_column(ratio=1, max_width=60)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    bar = ProgressBar(total=1.0, completed=_share(done), complete_style="cyan", finished_style="green")
    table.add_row(bar, f"{100 * _share(done):.0f}%", left)
    return table


def _facts(moment: Moment, done: Progress, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    now = f"; {done.cohort_runs:,} runs at step {done.cohort_step:,}" if done.cohort_runs else ""
    rates = "" if moment.rates is None else _speed(moment.rates)
    for label, text in (
        ("runs", f"{done.runs_done:,} of {done.runs_total:,}{_ended_badly(moment)}"),
        ("cohorts", f"{done.cohorts_done:,} of {done.cohorts_total:,}{now}"),
        ("pace", rates),
        ("time", clock(moment.seconds)),
        ("machine", _machine(moment, done)),
    ):
        if text:
            table.add_row(label, Text(_cropped(text, width - _LABELS)))
    return table


def _machine(moment: Moment, done: Progress) -> str:
    lost = 0 if moment.board is None else moment.board.workers_lost
    told = [
        f"{lost} {'worker' if lost == 1 else 'workers'} lost" if lost else "",
        f"{moment.workers} workers" if moment.workers is not None and moment.workers > 1 else "",
        f"{done.processes} processes train here" if done.processes > 1 else "",
        f"{size(moment.memory)} of memory" if moment.memory is not None else "",
    ]
    return ", ".join(text for text in told if text)


def _best(best: Sequence[Best], metric: str, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = {
        "epsilon": [epsilon_text("epsilon", item.epsilon) for item in best],
        f"best {metric}": measured([item.mean for item in best]),
        "runs": [str(item.n) for item in best],
    }
    if all(item.epsilon is None for item in best):
        del columns["epsilon"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(Text(name), justify="right", no_wrap=True)
    room = width - sum(max(map(len, (name, *texts))) + _GAP for name, texts in columns.items())
    if room >= _LEAST_ROOM:
        table.add_column("setting", no_wrap=True)
    for *numbers, setting in zip(*columns.values(), _settings(best), strict=True):
        table.add_row(*numbers, *([Text(_cropped(setting, room))] if room >= _LEAST_ROOM else []))
    return table


def _settings(best: Sequence[Best]) -> list[str]:
    """Each setting as text, without what is the same in all rows."""
    names = list(dict.fromkeys(name for item in best for name in item.setting))
    varying = [name for name in names if len({repr(item.setting.get(name)) for item in best}) > 1]
    shown = varying if len(best) > 1 else names
    return [
        ", ".join(f"{name}={cells(name, [item.setting[name]])[0]}" for name in shown if name in item.setting)
        for item in best
    ]


def _cropped(text: str, room: int) -> str:
    """Cut where the terminal ends: a view that wraps could not be drawn over."""
    return text if len(text) <= room else f"{text[: max(0, room - 1)]}…"


def _spread(best: Sequence[Best], rows: int) -> list[Best]:
    """At most ``rows`` of them, the first and the last among them."""
    if len(best) <= rows:
        return list(best)
    if rows == 1:
        return [best[-1]]
    return [best[round(at * (len(best) - 1) / (rows - 1))] for at in range(rows)]


def _speed(rates: Rates) -> str:
    return f"{amount(rates.runs)} runs/s, {amount(rates.steps)} steps/s over all runs"


def _ended_badly(moment: Moment) -> str:
    counts: Mapping[str, int] = {} if moment.board is None else moment.board.counts
    told = [f"{counts[status]:,} {status}" for status in ("diverged", "failed") if counts.get(status)]
    return f" ({', '.join(told)})" if told else ""


def _share(done: Progress) -> float:
    return done.steps_done / done.steps_total if done.steps_total else 1.0
