"""Runs as a table for people: what differs between them, what it costs, what came out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clifftop.cli.run_cells import STATUS_STYLES, cells, header, measured
from clifftop.lab.reading.columns import metrics_of, settings_of
from clifftop.vocabulary import is_part

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console
    from rich.table import Table

_SHORTEST_ID = 6
_WIDEST = 10_000
_OPTIONAL = ("error", "step")


def chosen_columns(table: pl.DataFrame) -> list[str]:
    """The columns to show of a table of runs: those that tell its runs apart, and what came out."""
    telling = [*(["arm"] if "arm" in table.columns else []), *settings_of(table.columns)]
    varying = [name for name in telling if table[name].n_unique() > 1]
    costs = ["epsilon"] if table["epsilon"].count() else []
    statuses = set(table["status"])
    under_way = ["step"] if not statuses <= {"done", "failed"} else []
    errors = ["error"] if "failed" in statuses else []
    metrics = by_part([name for name in metrics_of(table.columns) if table[name].count()])
    return ["id", "status", *varying, *costs, *under_way, *metrics, *errors]


def by_part(metrics: Sequence[str]) -> list[str]:
    """Metrics in their order, those of classes and groups behind the others, numbers by size.

    >>> by_part(["accuracy", "accuracy[class=10]", "accuracy[class=9]", "loss"])
    ['accuracy', 'loss', 'accuracy[class=9]', 'accuracy[class=10]']
    """

    def key(name: str) -> tuple[bool, list[tuple[int, str]]]:
        pieces = re.split(r"([0-9]+)", name) if is_part(name) else []
        return is_part(name), [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]

    return sorted(metrics, key=key)


def constants(table: pl.DataFrame) -> Mapping[str, str]:
    """What is the same for every run, as text."""
    same = [name for name in (*settings_of(table.columns), "delta") if table[name].n_unique() == 1]
    return {name: cells(name, [table[name][0]])[0] for name in same if table[name][0] is not None}


def short_ids(ids: Sequence[str]) -> int:
    """How many characters of an id name one run.

    >>> short_ids(["abcdef01", "abcdef12"]), short_ids(["abcdef01", "1bcdef12"])
    (7, 6)
    """
    longest = max(map(len, ids), default=_SHORTEST_ID)
    enough = (size for size in range(_SHORTEST_ID, longest) if len({text[:size] for text in ids}) == len(ids))
    return next(enough, longest)


def run_table(
    shown: pl.DataFrame, columns: Sequence[str], console: Console, *, id_length: int | None = None
) -> tuple[Table, list[str]]:
    """The table, and the columns that a narrow terminal has no room for.

    Args:
        shown: the runs.
        columns: what to show of them.
        console: where it will be printed.
        id_length: how many characters of an id to print; None prints it whole.
    """
    left_out: list[str] = []
    columns = list(columns)
    while True:
        table = _table(shown, columns, id_length)
        needed = console.measure(table, options=console.options.update(width=_WIDEST)).maximum
        if needed <= console.width or len(columns) <= 1:
            return table, left_out
        left_out.append(_least(columns, shown))
        columns.remove(left_out[-1])


def _least(columns: Sequence[str], table: pl.DataFrame) -> str:
    """The column that is missed least."""
    metrics = metrics_of(table.columns)
    for name in _OPTIONAL:
        if name in columns:
            return name
    further = [name for name in columns if name in metrics][1:]
    plain = [name for name in columns if name not in metrics and name not in ("id", "status", "epsilon")]
    return (further or plain or list(columns))[-1]


def _table(shown: pl.DataFrame, columns: Sequence[str], id_length: int | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    texts: list[list[Text]] = []
    for name in columns:
        column = shown[name]
        is_number = column.dtype.is_numeric()
        table.add_column(
            Text(header(name)),
            justify="right" if is_number else "left",
            no_wrap=name != "error",
            vertical="bottom",
            overflow="ellipsis" if name == "error" else "fold",
        )
        texts.append([Text(text, style=_style(name, text)) for text in _column(shown, name, id_length)])
    for row in zip(*texts, strict=True):
        table.add_row(*row)
    return table


def _column(shown: pl.DataFrame, name: str, id_length: int | None) -> list[str]:
    values = shown[name].to_list()
    if name == "id":
        return [value[:id_length] for value in values]
    names = shown.columns
    is_measured = "error" in names and names.index(name) > names.index("error")
    return measured(values) if is_measured else cells(name, values)


def _style(name: str, text: str) -> str:
    return STATUS_STYLES.get(text, "") if name == "status" else ""
