"""Check a results folder: everything there, nothing twice, every derived number derived again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from clifftop.analysis import results as result_files
from clifftop.analysis import summary as summaries
from clifftop.analysis.jsonio import ResultsError, read_document
from clifftop.analysis.results import Results, load_results
from clifftop.analysis.summary import Summary, summarise
from clifftop.report.checks import Finding, differences
from clifftop.report.checks_epsilon import Recompute, epsilon_findings
from clifftop.report.checks_runs import metadata_findings, run_findings
from clifftop.report.page.build import FILE_NAME as REPORT
from clifftop.report.png import png_fault

MOST_PER_CHECK = 20


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One thing that is wrong; ``str`` of it is one line.

    Attributes:
        file: the file's name in the folder.
        item: the run, key or table row.
        problem: what is wrong with it.
    """

    file: str
    item: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.item}: {self.problem}" if self.item else f"{self.file}: {self.problem}"


def validate(folder: Path, *, recompute: Recompute) -> list[Failure]:
    """Everything that is wrong with the results folder; empty when nothing is.

    Args:
        folder: holds ``results.json`` and the report that was built from it.
        recompute: from a run and the config, both as in ``results.json``, the published formula's
            epsilon (None where it says nothing) and the true one, computed anew.

    Checked: every run of the grid and every baseline there exactly once; accuracies in [0, 1] and
    whole counts of the test rows; epsilons that fall as the noise rises and that recompute; the
    summary, so the cliff and every configuration, derived again; plots that are real pictures; the
    page, and that it was built from these results; metadata of the right types.
    """
    try:
        results = load_results(folder)
        summary = summarise(results)
    except ResultsError as error:
        return [Failure(file=result_files.FILE_NAME, item="", problem=_without_path(error, folder))]
    checks: list[tuple[str, Iterator[Finding]]] = [
        (result_files.FILE_NAME, run_findings(results)),
        (result_files.FILE_NAME, epsilon_findings(results, recompute)),
        (result_files.FILE_NAME, metadata_findings(results.metadata)),
        (summaries.FILE_NAME, _summary_findings(folder, summary)),
    ]
    found = [failure for file, findings in checks for failure in _some(file, findings)]
    return [*found, *_report_failures(folder, results)]


def _some(file: str, findings: Iterator[Finding]) -> Iterator[Failure]:
    """At most `MOST_PER_CHECK` of one check's findings, then how many more there are."""
    for finding in islice(findings, MOST_PER_CHECK):
        yield Failure(file=file, item=finding.item, problem=finding.problem)
    rest = sum(1 for _ in findings)
    if rest:
        yield Failure(file=file, item="", problem=f"and {rest:,} more of the same check")


def _summary_findings(folder: Path, summary: Summary) -> Iterator[Finding]:
    try:
        found, _ = read_document(folder / summaries.FILE_NAME)
    except ResultsError as error:
        yield Finding(item="", problem=_without_path(error, folder))
        return
    yield from differences(found, summary.to_json())


def _report_failures(folder: Path, results: Results) -> Iterator[Failure]:
    path = folder / REPORT
    if not path.is_file():
        yield Failure(file=REPORT, item="page", problem="is missing; build the report again")
        return
    page = path.read_text(encoding="utf-8", errors="replace")
    if not page.rstrip().endswith("</html>"):
        yield Failure(file=REPORT, item="page", problem="is cut short; build the report again")
        return
    if f'content="sha256:{results.digest}"' not in page:
        problem = f"was not built from this {result_files.FILE_NAME}; build the report again"
        yield Failure(file=REPORT, item="page", problem=problem)
    yield from _plot_failures(folder, page)


def _plot_failures(folder: Path, page: str) -> Iterator[Failure]:
    """Of the charts' files that the page says were written with it."""
    listed = re.search(r'<meta name="clifftop-figures" content="([^"]*)">', page)
    names = [name for name in (listed[1].split() if listed else ()) if name.endswith(".png")]
    if not names:
        yield Failure(file=REPORT, item="plots", problem="names none as PNG files; build the report again")
    for name in names:
        path = folder / Path(name).name
        fault = png_fault(path.read_bytes()) if path.is_file() else "is missing; build the report again"
        if fault is not None:
            yield Failure(file=path.name, item="plot", problem=fault)


def _without_path(error: ResultsError, folder: Path) -> str:
    text = str(error)
    for name in (result_files.FILE_NAME, summaries.FILE_NAME):
        text = text.removeprefix(f"{folder / name}: ").removeprefix(f"{name}: ")
    return text
