"""Build a report: ``results.json`` to ``summary.json``, the PNG files and ``report.html``."""

from __future__ import annotations

from pathlib import Path

from clifftop.analysis import summary as summaries
from clifftop.analysis.jsonio import dumps
from clifftop.analysis.results import load_results
from clifftop.analysis.summary import summarise
from clifftop.files import write_all
from clifftop.report.figures import SEVERAL_LRS, figures, png
from clifftop.report.html import render

FILE_NAME = "report.html"


def build_report(folder: Path) -> Path:
    """Write the summary, the plots and the page of a results folder; return the page's path.

    Everything is made in memory first and then written together, each file whole or not at all. A
    plot that an earlier report of the folder had and this one has not is removed.

    Raises:
        ResultsError: ``results.json`` cannot be read; one line naming the file and the key.
        FileWriteError: the folder cannot be written; one line, and the folder is as it was.
    """
    results = load_results(folder)
    summary = summarise(results)
    drawn = {f"{figure.name}.png": png(figure, summary) for figure in figures(summary)}
    page = render(results, summary).encode()
    write_all(folder, {summaries.FILE_NAME: dumps(summary.to_json()), **drawn, FILE_NAME: page})
    if f"{SEVERAL_LRS}.png" not in drawn:
        (folder / f"{SEVERAL_LRS}.png").unlink(missing_ok=True)
    return folder / FILE_NAME
