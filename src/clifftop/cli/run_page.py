"""One run as a page for people: what was asked for, what it costs, what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.cli.run_cells import STATUS_STYLES, cells, epsilon_text, header, measured, sparkline
from clifftop.lab.reading.columns import settings_of
from clifftop.report.wording import counted, plain

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from clifftop.lab.reading.one_run import RunRecord

_SPEC_ORDER = ("model", "data", "optimizer", "criterion", "metrics", "evaluate_every", "streams")
_PLAN_ORDER = ("sampler", "clipping", "noise", "neighboring_relation", "expected_batch_size")
_NARROW = 100
_BESIDE_CURVE = 72  # columns that the rest of a row needs
_EVENTS = 8


def run_page(record: RunRecord, *, study: str, width: int) -> Iterator[RenderableType]:
    """The parts of the page, from top to bottom, for a terminal of ``width`` columns."""
    yield _title(record, study)
    yield ""
    yield _pairs(_settings(record))
    yield ""
    yield from _epsilon(record)
    yield ""
    yield _pairs(_spec(record.spec))
    yield ""
    if record.metrics.height:
        yield _metrics(record, width)
        yield ""
    if record.trace.height:
        yield _diagnostics(record, width)
        yield ""
    yield _timeline(record)


def spelled(value: Any) -> str:
    """A part of a spec's JSON in the notation of Python.

    >>> spelled({"$kind": "clifftop.lab.spec:Factory", "target": "shop.nets:mlp", "options": {"width": 8}})
    'shop.nets:mlp(width=8)'
    >>> spelled({"$kind": "clifftop.clipping.flat:Flat", "clip_norm": {"$float": "inf"}})
    'Flat(clip_norm=inf)'
    """
    match value:
        case {"$float": text}:
            return str(text)
        case {"$enum": _, "name": name}:
            return str(name)
        case {"$kind": kind, "target": target, "options": options} if str(kind).endswith(":Factory"):
            return f"{target}{_arguments(options)}" if options else str(target)
        case {"$kind": kind, **fields}:
            name = str(kind).rpartition(":")[2]
            return f"{name}{_arguments(fields)}" if fields else name
        case Mapping():
            return "{" + ", ".join(f"{name}: {spelled(item)}" for name, item in value.items()) + "}"
        case list():
            return f"[{', '.join(map(spelled, value))}]"
        case float():
            return plain(value)
        case _:
            return repr(value)


def _arguments(fields: Mapping[str, object]) -> str:
    return f"({', '.join(f'{name}={spelled(item)}' for name, item in fields.items())})"


def _title(record: RunRecord, study: str) -> RenderableType:
    from rich.text import Text

    row = record.row
    title = Text.assemble(
        (record.id, "bold"), f"  {study}  ", (row["status"], STATUS_STYLES.get(row["status"], ""))
    )
    title.append(f"  step {row['step']:,} of {row['steps']:,}")
    if row["error"]:
        title.append(f"\n{row['error']}", style="red")
    return title


def _settings(record: RunRecord) -> Mapping[str, str]:
    row = record.row
    shown = {name: cells(name, [row[name]])[0] for name in settings_of(list(row)) if row[name] is not None}
    meaning = {
        "own": "its own: no other run of this folder draws the same",
        "shared": "shared with other runs of this folder: at most one of them may ever be released",
    }
    return shown | ({"noise": meaning[row["noise"]]} if row["noise"] in meaning else {})


def _spec(spec: Mapping[str, Any]) -> Mapping[str, str]:
    plan = spec.get("plan", {})
    parts = {name: spec[name] for name in _SPEC_ORDER if name in spec}
    parts |= {f"plan.{name}": plan[name] for name in _PLAN_ORDER if name in plan}
    return {name: spelled(part) for name, part in parts.items()}


def _epsilon(record: RunRecord) -> Iterator[RenderableType]:
    row = record.row
    if row["epsilon"] is None:
        yield "epsilon: not in this folder; a sweep records it with its runs, clifftop epsilon computes it"
    elif math.isinf(row["epsilon_lower"]):
        yield "epsilon: infinite, a run without privacy"
    else:
        upper, lower = (
            epsilon_text("epsilon", row["epsilon"]),
            epsilon_text("epsilon_lower", row["epsilon_lower"]),
        )
        claim = f"epsilon <= {upper} at delta = {plain(row['delta'])} ({record.neighboring_relation})"
        yield f"{claim}, of this run alone"
        yield f"the true value is at least {lower}; releasing others, or having chosen this one, costs more"


def _pairs(rows: Mapping[str, str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, Text(text))
    return table


def _metrics(record: RunRecord, width: int) -> Table:
    parts = {str(name): part for (name,), part in record.metrics.group_by("name", maintain_order=True)}
    most = max(part.height for part in parts.values())
    label = f"metric, {counted(most, 'evaluation')}"
    return _curves(label, {name: part["value"].to_list() for name, part in parts.items()}, width)


def _diagnostics(record: RunRecord, width: int) -> Table:
    # Of a deep model there are too many to look at: those of layers are in the JSON only.
    names = [name for name in record.trace.columns if name != "step" and ":" not in name]
    curves = {name: record.trace[name].cast(float).to_list() for name in names}
    return _curves(f"diagnostic, {counted(record.trace.height, 'step')}", curves, width)


def _curves(label: str, curves: Mapping[str, Sequence[float]], width: int) -> Table:
    """Curves with their first, least, mean, largest and last value."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(header(label) if width < _NARROW else label, no_wrap=True, vertical="bottom")
    table.add_column("curve", no_wrap=True, vertical="bottom")
    for name in ("first", "least", "mean", "largest", "last"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for name, values in curves.items():
        finite = [value for value in values if math.isfinite(value)]
        mean = sum(finite) / len(finite) if finite else None
        numbers = [values[0], min(finite, default=None), mean, max(finite, default=None), values[-1]]
        curve = sparkline(values, width=min(40, max(6, width - _BESIDE_CURVE)))
        table.add_row(Text(name), curve, *measured(numbers))
    return table


def _timeline(record: RunRecord) -> Table:
    """The last events of the folder: a store does not say which of them was about which run."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for at, kind, detail in record.timeline.tail(_EVENTS).iter_rows():
        facts = {name: value for name, value in json.loads(detail).items() if name != "details"}
        told = ", ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
            for name, value in facts.items()
        )
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S} UTC", kind.replace("_", " "), Text(told))
    return table
