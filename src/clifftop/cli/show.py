"""`clifftop show`: one run of a results folder; reads only, without torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop.cli.options import Json
from clifftop.cli.output import print_json

if TYPE_CHECKING:
    import polars as pl

    from clifftop.lab.reading.one_run import RunRecord


def show(folder: Path, run: str, /, *, as_json: Json = False) -> int:
    """Show one run: its setting, what it costs, how its metrics went, and how to train it again.

    Args:
        folder: the results folder of a sweep or a study.
        run: the first characters of the run's id, as `clifftop runs` lists it.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.lab.reading.one_run import find_run
    from clifftop.lab.store import Store

    with Store.read(folder) as store:
        record, study = find_run(store, run), store.study
    if as_json:
        print_json({"folder": str(folder), "study": study, **_document(record, folder, study)})
        return 0
    from rich.console import Console

    from clifftop.cli.run_page import run_page

    console = Console(file=sys.stdout, highlight=False)
    for part in run_page(record, study=study, width=console.width):
        console.print(part, soft_wrap=isinstance(part, str), markup=False)
    console.print(
        f"\nto train it again, in Python:\n\n{again(record, folder, study)}", soft_wrap=True, markup=False
    )
    return 0


def again(record: RunRecord, folder: Path, study: str) -> str:
    """The Python that trains the run once more, into a folder of its own.

    The spec comes from the store: it may hold a seed of the noise, which is not for printing.
    """
    modules = sorted({name.partition(":")[0] for name in record.foreign})
    kinds = ", ".join(name.replace(":", ".") for name in record.foreign)
    lines = [
        *(f"import {module}" for module in modules),
        "from clifftop.lab import Store, run_sweep",
        "",
        f"with Store.read({str(folder)!r}) as store:",
        f"    spec = store.specs({f'kinds=[{kinds}]' if kinds else ''})[{record.id!r}]",
        f"with Store.open({f'again-{record.id[:6]}'!r}, study={study!r}) as store:",
        "    run_sweep(store, [spec])",
    ]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _document(record: RunRecord, folder: Path, study: str) -> Mapping[str, Any]:
    row = dict(record.row)
    epsilon = {
        "of": "this run alone",
        "lower": row["epsilon_lower"],
        "upper": row["epsilon"],
        "delta": row["delta"],
        "neighboring_relation": record.neighboring_relation,
    }
    return {
        "run": row,
        "epsilon": epsilon if row["epsilon"] is not None else None,
        "spec": record.spec,
        "metrics": {
            name: {"step": part["step"].to_list(), "value": part["value"].to_list()}
            for (name,), part in record.metrics.group_by("name", maintain_order=True)
        },
        "diagnostics": {
            name: _summary(record.trace[name]) for name in record.trace.columns if name != "step"
        },
        "timeline": [{**event, "at": event["at"].isoformat()} for event in record.timeline.to_dicts()],
        "again": "\n".join(line.removeprefix("    ") for line in again(record, folder, study).splitlines()),
    }


def _summary(series: pl.Series) -> Mapping[str, object]:
    first, last = (series[0], series[-1]) if len(series) else (None, None)
    return {"mean": series.mean(), "first": first, "last": last}
