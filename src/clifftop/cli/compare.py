"""`clifftop compare`: two sweeps or methods at matched epsilon, with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

from cyclopts import Parameter

from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from clifftop.analysis.comparison import Comparison
    from clifftop.analysis.evidence import Evidence
    from clifftop.report.material.source import Source

_GIVE_EPSILON = ("noise_multiplier", "target_epsilon")
_OTHER_DATA = "the two were trained on different data, so the verdict is of method and data together"
_UNKNOWN_DATA = "see that the two were trained on the same data: their folders do not say"
_UNKNOWN_RELATION = "the neighbouring relation of one side is not known; see that it is the other's"


def compare(
    first: Path,
    second: Path | None = None,
    /,
    *,
    where: str | None = None,
    against: str | None = None,
    metric: str | None = None,
    tolerance: Annotated[float, Parameter(allow_leading_hyphen=True)] = 0.01,
    as_json: Json = False,
) -> int:
    """Compare two sweeps, or two methods within one, at every epsilon that both have.

    - Two folders: `clifftop compare out/flat out/automatic`
    - Two methods in one: `clifftop compare out/sweep --where 'clip_norm == 1' --against 'clip_norm == 10'`

    Each side is represented by its best setting, chosen on other seeds than those that judge it. Epsilons
    are of one run alone; nothing is interpolated. Conditions are those of `clifftop runs`.

    Args:
        first: the results folder of a sweep or a study.
        second: another; left out to compare two conditions within the first.
        where: take only runs that satisfy this condition: of both folders, or as one side of a single one.
        against: the condition of the other side, with a single folder.
        metric: what to compare by, instead of the first folder's own.
        tolerance: how far two epsilons that count as one may lie apart, relative to the larger.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.analysis.comparison import compare as compared

    sides = (
        _within(first, where, against, metric) if second is None else _between(first, second, where, metric)
    )
    if second is not None and against is not None:
        raise ValueError("--against needs a single folder, found two; --where alone applies to both")
    found = compared(
        sides.first, sides.second, names=sides.names, tolerance=tolerance, same_data=sides.same_data
    )
    relations = (sides.first.neighboring_relation, sides.second.neighboring_relation)
    notes = [*sides.notes, *([_UNKNOWN_RELATION] if relations.count(None) == 1 else [])]
    if as_json:
        print_json(_document(found, notes))
        return 0
    print_table(_table(found))
    for line in (found.verdict, *_settings(found), *_left_out(found), *notes):
        print_line(line)
    return 0


@final
@dataclass(frozen=True, kw_only=True)
class _Sides:
    """What is compared, under which names, and what a reader must know."""

    first: Evidence
    second: Evidence
    names: tuple[str, str]
    same_data: bool = True
    notes: tuple[str, ...] = ()


def _within(folder: Path, where: str | None, against: str | None, metric: str | None) -> _Sides:
    """Two conditions within one folder."""
    from clifftop.lab.reading.where import condition
    from clifftop.report.material.source import load_source

    if where is None or against is None:
        raise ValueError(
            "a comparison needs two folders, or --where and --against for one, found one side; name the other"
        )
    source = load_source(folder)
    one, other = (condition(text, source.runs.schema) for text in (where, against))
    both = source.runs.filter(one & other).height
    if both:
        raise ValueError(
            f"the two conditions must share no run, found {both} that satisfy both; tell them apart"
        )
    first = _evidence(source, where, one, metric)
    return _Sides(first=first, second=_evidence(source, against, other, first.metric), names=(where, against))


def _between(folder: Path, other: Path, where: str | None, metric: str | None) -> _Sides:
    """Two folders."""
    from clifftop.lab.reading.where import condition
    from clifftop.report.material.source import load_source

    if folder.resolve() == other.resolve():
        raise ValueError(
            f"the two folders must differ, found {folder} twice; use --where and --against within one folder"
        )
    sources = [load_source(path) for path in (folder, other)]
    filters = [None if where is None else condition(where, source.runs.schema) for source in sources]
    names = _names(*sources)
    first = _evidence(sources[0], names[0], filters[0], metric)
    second = _evidence(sources[1], names[1], filters[1], first.metric)
    sweeps = [source.sweep for source in sources]
    if None in sweeps:  # of a sweep from before data were kept, or of a study
        notes = () if sources[0].name == sources[1].name else (_UNKNOWN_DATA,)
        return _Sides(first=first, second=second, names=names, notes=notes)
    same = _data(sources[0]) == _data(sources[1])
    notes = () if same else (_OTHER_DATA,)
    return _Sides(first=first, second=second, names=names, same_data=same, notes=notes)


def _evidence(source: Source, name: str, where: pl.Expr | None, metric: str | None) -> Evidence:
    from clifftop.analysis.evidence import EvidenceError

    try:
        return source.evidence(metric=metric, where=where)
    except EvidenceError as error:
        raise EvidenceError(f"{name}: {error}") from error


def _names(first: Source, second: Source) -> tuple[str, str]:
    if first.name != second.name:
        return first.name, second.name
    ends = first.folder.name, second.folder.name
    return ends if ends[0] != ends[1] else (str(first.folder), str(second.folder))


def _data(source: Source) -> object:
    """What a folder's runs were trained on, as far as it says."""
    return None if source.sweep is None else source.sweep.data


def _document(found: Comparison, notes: list[str]) -> Mapping[str, Any]:
    from clifftop.analysis.jsonio import to_jsonable

    document = to_jsonable(found)
    assert isinstance(document, dict)
    return {**document, "notes": notes}


def _table(found: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from clifftop.analysis.comparison import Verdict
    from clifftop.report.wording import epsilon_up

    table = Table(
        title=Text(f"{found.metric} at matched epsilon: A is {found.first}, B is {found.second}"),
        caption=Text(_caption(found)),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("epsilon", "A", "B", "A - B", "95% interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    sign = 1.0 if found.maximize else -1.0
    called = {Verdict.FIRST: "A", Verdict.SECOND: "B", Verdict.OPEN: "-"}
    for match in found.matches:
        ci95 = match.difference.ci95
        ends = "-" if ci95 is None else " to ".join(f"{end:.4f}" for end in sorted(sign * x for x in ci95))
        means = (sign * match.first.utility.mean, sign * match.second.utility.mean)
        numbers = (*(f"{mean:.4f}" for mean in means), f"{sign * match.difference.mean:+.4f}", ends)
        cells = (epsilon_up(match.epsilon), *numbers, f"{match.p_adjusted:.2g}", called[match.verdict])
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _caption(found: Comparison) -> str:
    relation = "" if found.neighboring_relation is None else f" ({found.neighboring_relation})"
    at = "" if found.delta is None else f" at delta = {found.delta:g}{relation}"
    return (
        f"epsilon is of one run alone{at}, rounded up; sides show the mean of their best setting, "
        "differences what settings chosen on the other seeds get; p is adjusted for all epsilons (Holm)"
    )


def _settings(found: Comparison) -> list[str]:
    """Where each side does best: what its settings differ in, but for what gives the epsilon."""
    sides = [
        [match.first.setting for match in found.matches],
        [match.second.setting for match in found.matches],
    ]
    shown = [_varying(settings) for settings in sides]
    lines: list[str] = []
    for match in found.matches:
        best = (match.first, match.second)
        said: list[str] = []
        for name, side, keys in zip((found.first, found.second), best, shown, strict=True):
            values = [f"{key}={_said(side.setting[key])}" for key in keys if key in side.setting]
            said.append(" ".join([name, *([f"at {', '.join(values)}"] if values else [])]))
            said[-1] += f" (best of {side.candidates})"
        lines.append(f"best at epsilon {match.epsilon:.4g}: {'; '.join(said)}")
    return lines


def _varying(settings: Sequence[Mapping[str, object]]) -> list[str]:
    names = list(dict.fromkeys(name for setting in settings for name in setting if name not in _GIVE_EPSILON))
    return [name for name in names if len({setting.get(name) for setting in settings}) > 1]


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _left_out(found: Comparison) -> list[str]:
    sides = ((found.first, found.unmatched_first), (found.second, found.unmatched_second))
    return [
        f"not compared, {name} alone has: epsilon {', '.join(f'{level:.4g}' for level in levels)}"
        for name, levels in sides
        if levels
    ]
