"""`clifftop study`: run a study, or go on with one, and build its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop.cli.options import Json, ValueList, Whole
from clifftop.cli.output import print_json, print_line, print_table
from clifftop.cli.values import parse_integers, parse_numbers

if TYPE_CHECKING:
    from clifftop.studies import Axes, StudyResult


def study(
    name: str,
    /,
    *,
    seeds: ValueList = None,
    sigma: ValueList = None,
    clip: ValueList = None,
    lr: ValueList = None,
    epsilon: ValueList = None,
    workers: Whole = None,
    out: Path | None = None,
    formats: str = "png",
    as_json: Json = False,
) -> int:
    """Run a study, or go on where it stopped, and build its report.

    Lists are written by commas, ranges by colons (stop left out): `clifftop study no-cliff --seeds 0:10
    --lr 0.1,1`. An axis that is not given has the study's own values.

    Args:
        name: the study, such as no-cliff or no-cliff-sound.
        seeds: seeds of the runs, such as 1,2,3 or 0:1000.
        sigma: noise multipliers.
        clip: clip norms.
        lr: learning rates.
        epsilon: target epsilons to calibrate the noise to, for studies that calibrate.
        workers: processes that train at the same time; the study's choice by default.
        out: folder of the results, out/NAME by default; runs found there are not trained again.
        formats: of the charts' files: a list of png, svg and pdf, or none.
        as_json: print one JSON document and nothing else.
    """
    lists = {
        "seeds": _parse(parse_integers, "--seeds", seeds),
        "noise_multipliers": _parse(parse_numbers, "--sigma", sigma),
        "clip_norms": _parse(parse_numbers, "--clip", clip),
        "lrs": _parse(parse_numbers, "--lr", lr),
        "target_epsilons": _parse(parse_numbers, "--epsilon", epsilon),
    }
    if workers is not None and workers < 1:
        raise ValueError(
            f"--workers must be at least 1, found {workers}; leave it out for the study's choice"
        )
    from clifftop.cli.report import parse_formats, shown
    from clifftop.report import build_report
    from clifftop.studies import Axes

    drawn = parse_formats(formats)
    folder = out if out is not None else Path("out") / name
    result = _train(name, Axes(**lists), folder, workers)
    with shown() as tell:
        page = build_report(folder, formats=drawn, tell=tell).page
    _tell(name, result, page, as_json=as_json)
    return 0


def _parse(parse: Callable[[str, str], Any], flag: str, text: str | None) -> Any:
    return None if text is None else parse(flag, text)


def _train(name: str, axes: Axes, folder: Path, workers: int | None) -> StudyResult:
    from clifftop.cli.progress import shown_progress
    from clifftop.studies import run_study

    with shown_progress() as show:
        return run_study(name, axes=axes, out=folder, workers=workers, progress=show)


def _tell(name: str, result: StudyResult, page: Path, *, as_json: bool) -> None:
    from clifftop.analysis.results import load_results
    from clifftop.analysis.summary import summarise
    from clifftop.report import learning_rate_table, summary_table

    summary = summarise(load_results(result.folder))
    if as_json:
        facts = {"runs": result.num_runs, "trained_now": result.num_trained}
        facts |= {"seconds": result.runtime_seconds, "training_seconds": result.training_seconds}
        where = {"study": name, "folder": str(result.folder), "report": str(page)}
        print_json(where | facts | {"summary": summary.to_json()})
    else:
        print_table(summary_table(summary))
        if len(summary.lrs) > 1:
            print_table(learning_rate_table(summary))
        print_line(
            f"{result.num_runs} runs, {result.num_trained} of them trained now, "
            f"in {result.runtime_seconds:.1f} s"
        )
        print_line(f"report: {page}")
