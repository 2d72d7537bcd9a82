"""Build a report: a results folder to its page and its charts, and of a study ``summary.json`` too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clifftop.analysis import summary as summaries
from clifftop.analysis.jsonio import dumps
from clifftop.analysis.results import FILE_NAME as RESULTS
from clifftop.analysis.results import load_results
from clifftop.analysis.summary import summarise
from clifftop.files import write_all
from clifftop.report.page.build import BuiltPage, build_page

if TYPE_CHECKING:
    from clifftop.report.drawings import FileFormat


def build_report(
    folder: Path | str,
    *,
    out: Path | None = None,
    formats: Sequence[FileFormat] = ("png",),
    metric: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> BuiltPage:
    """Write the page and the charts of a results folder; see `clifftop.report.page.build_page`.

    A study's folder gets its ``summary.json`` again as well.

    Raises:
        ResultsError: ``results.json`` cannot be read; one line naming the file and the key.
        StoreError: there is no store, or it cannot be read.
        EvidenceError: no run has finished, or runs that cannot be compared.
        FileWriteError: the folder cannot be written; one line, and each file is whole or as it was.
    """
    folder = Path(folder)
    if (folder / RESULTS).is_file():
        summary = summarise(load_results(folder))
        write_all(folder, {summaries.FILE_NAME: dumps(summary.to_json())})
    return build_page(folder, out=out, formats=formats, metric=metric, tell=tell)
