"""`clifftop runs`: the runs of a results folder, filtered and sorted; reads only, without torch."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from clifftop.cli.options import Json, Whole
from clifftop.cli.output import print_json

if TYPE_CHECKING:
    import polars as pl

_FEW = 20
_NEVER_CUT = 1000

Flag = Parameter(negative=(), show_default=False)


def runs(
    folder: Path,
    /,
    *,
    where: str | None = None,
    sort: str | None = None,
    ascending: Annotated[bool, Flag] = False,
    top: Whole = None,
    columns: str | None = None,
    as_json: Json = False,
    csv: Annotated[bool, Flag] = False,
    parquet: Path | None = None,
) -> int:
    """List the runs of a results folder, also while a sweep writes there.

    - The best at a small epsilon: `clifftop runs FOLDER --where "epsilon < 3" --sort accuracy --top 10`
    - Conditions compare columns with values: `lr > 0.1 and clip_norm in [0.5, 1]`, `status == "done"`,
      `0.1 < lr <= 1`, `epsilon is null`, `not loss is nan`. What is not known satisfies no comparison.

    Args:
        folder: the results folder of a sweep or a study.
        where: show only runs that satisfy this condition.
        sort: columns to sort by, separated by commas: numbers largest first.
        ascending: sort smallest first.
        top: how many runs to show, 20 by default and 0 for all; JSON, CSV and Parquet hold all by default.
        columns: the columns to show, separated by commas.
        as_json: print one JSON document and nothing else.
        csv: print CSV and nothing else.
        parquet: write a Parquet file.
    """
    if as_json + csv + (parquet is not None) > 1:
        raise ValueError("at most one of --json, --csv and --parquet may be given, found several; leave one")
    if top is not None and top < 0:
        raise ValueError(f"--top must be at least 0, found {top}; 0 shows every run")
    from clifftop.lab import tables
    from clifftop.lab.reading.where import condition
    from clifftop.lab.store import Store

    with Store.read(folder) as store:
        every, study = tables.runs(store), store.study
    matching = every if where is None else every.filter(condition(where, every.schema))
    ordered = matching if sort is None else _sorted(matching, sort, ascending=ascending)
    for_people = not (as_json or csv or parquet is not None)
    most = (_FEW if for_people else 0) if top is None else top
    shown = ordered.head(most) if most else ordered
    names = None if columns is None else _names(columns, every.columns)
    if for_people:
        _print(every, matching, shown, names)
        return 0
    chosen = shown if names is None else shown.select(names)
    if as_json:
        facts = {"folder": str(folder), "study": study, "counts": _counts(every), "matching": matching.height}
        print_json(facts | {"runs": chosen.to_dicts()})
    elif csv:
        sys.stdout.write(chosen.write_csv())
    elif parquet is not None:
        _write_parquet(chosen, parquet)
    return 0


def _names(text: str, columns: Sequence[str]) -> list[str]:
    from clifftop.lab.reading.where import known_column

    return list(dict.fromkeys(known_column(name.strip(), columns) for name in text.split(",")))


def _sorted(table: pl.DataFrame, text: str, *, ascending: bool) -> pl.DataFrame:
    """Sorted by some columns; what is not known, or not a number, comes last either way."""
    import polars as pl

    names = _names(text, table.columns)
    kinds = [table.schema[name] for name in names]
    keys = [
        pl.col(name).fill_nan(None) if kind.is_float() else pl.col(name)
        for name, kind in zip(names, kinds, strict=True)
    ]
    falling = [kind.is_numeric() and not ascending for kind in kinds]
    return table.sort(keys, descending=falling, nulls_last=True, maintain_order=True)


def _counts(table: pl.DataFrame) -> dict[str, int]:
    """How many runs there are of each status, in the order in which a run goes through them."""
    found = dict(table["status"].value_counts().iter_rows())
    order = ("done", "diverged", "failed", "running", "pending")
    return {status: found[status] for status in order if status in found}


def _write_parquet(table: pl.DataFrame, path: Path) -> None:
    from clifftop.cli.output import print_line
    from clifftop.files import write_all

    content = io.BytesIO()
    table.write_parquet(content)
    write_all(path.parent, {path.name: content.getvalue()})
    print_line(f"{table.height} runs in {path}")


def _print(
    every: pl.DataFrame, matching: pl.DataFrame, shown: pl.DataFrame, names: Sequence[str] | None
) -> None:
    from rich.console import Console

    from clifftop.cli.run_table import chosen_columns, run_table, short_ids

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _NEVER_CUT, highlight=False)
    whole = not sys.stdout.isatty()  # a line in a file is one line
    columns = chosen_columns(every) if names is None else list(names)
    left_out: list[str] = []
    if shown.height:
        length = short_ids(every["id"].to_list()) if names is None else None
        table, left_out = run_table(shown, columns, console, id_length=length)
        console.print(table)
        console.print()
    with_epsilon = shown.height > 0 and "epsilon" in columns and "epsilon" not in left_out
    for line in _notes(every, names, left_out):
        console.print(line, soft_wrap=whole, markup=False)
    if with_epsilon:
        console.print(_meaning_of_epsilon(every), style="dim", soft_wrap=whole, markup=False)
    console.print(_counted(every, matching, shown), soft_wrap=whole, markup=False)


def _notes(every: pl.DataFrame, names: Sequence[str] | None, left_out: Sequence[str]) -> list[str]:
    """What the table does not show: what is common to all runs, and what there is no room for."""
    from clifftop.cli.run_table import constants

    notes: list[str] = []
    if names is None and every.height > 1:
        common = ", ".join(f"{name}={text}" for name, text in constants(every).items())
        notes += [f"every run: {common}"] if common else []
    if left_out:
        notes.append(f"no room for {', '.join(left_out)}; choose with --columns")
    return notes


def _counted(every: pl.DataFrame, matching: pl.DataFrame, shown: pl.DataFrame) -> str:
    from clifftop.report.wording import counted

    counts = ", ".join(f"{number:,} {status}" for status, number in _counts(every).items())
    told = [f"{counted(every.height, 'run')}: {counts}" if counts else "no runs yet"]
    if matching.height < every.height:
        told.append(f"{matching.height:,} match")
    if shown.height < matching.height:
        told.append(f"{shown.height:,} shown (--top 0 for all)")
    return "; ".join(told)


def _meaning_of_epsilon(every: pl.DataFrame) -> str:
    """A reader must not take a row's epsilon for what the search cost."""
    text = (
        "epsilon, rounded up, is of that run alone: releasing several runs, or the best of them, costs more"
    )
    if "shared" in set(every["noise"]):
        text += "; runs here share their noise, so at most one of them may ever be released"
    return text
