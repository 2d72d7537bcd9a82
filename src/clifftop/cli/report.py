"""`clifftop report`: build the page of a results folder again."""

from __future__ import annotations

from pathlib import Path

from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line


def report(results: Path, /, *, as_json: Json = False) -> int:
    """Build the plots and the offline page of a results folder again.

    Nothing is trained: `clifftop report out/no-cliff`.

    Args:
        results: the folder that a study wrote.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.report import build_report

    page = build_report(results)
    if as_json:
        print_json({"folder": str(results), "report": str(page)})
    else:
        print_line(f"report: {page}")
    return 0
