"""`clifftop report`: build the report of a results folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clifftop.cli.options import Json
from clifftop.cli.output import print_json, print_line
from clifftop.cli.progress import SECONDS_BETWEEN_LINES

if TYPE_CHECKING:
    from clifftop.report.drawings import FileFormat

_NO_FILES = "none"
_FORMATS: Mapping[str, FileFormat] = {"png": "png", "svg": "svg", "pdf": "pdf"}


def report(
    folder: Path,
    /,
    *,
    out: Path | None = None,
    formats: str = "png",
    metric: str | None = None,
    as_json: Json = False,
) -> int:
    """Build the report of a results folder: one offline page, and its charts as files.

    Nothing is trained, and a sweep may still be under way: `clifftop report out/sweep`.

    Args:
        folder: what a sweep or a study wrote.
        out: the page's file; by default report.html in the folder. The charts' files go beside it.
        formats: of the charts' files: a list of png, svg and pdf, or none.
        metric: what cells are compared by; by default what the sweep was made for.
        as_json: print one JSON document and nothing else.
    """
    from clifftop.report import build_report

    with shown() as tell:
        built = build_report(folder, out=out, formats=parse_formats(formats), metric=metric, tell=tell)
    return _tell(folder, built.page, built.figures, as_json=as_json)


def parse_formats(text: str) -> tuple[FileFormat, ...]:
    """The formats of a list, each once.

    Raises:
        ValueError: one is not among those that there are.

    >>> parse_formats("png,pdf"), parse_formats("none")
    (('png', 'pdf'), ())
    """
    if text.strip() == _NO_FILES:
        return ()
    found: dict[FileFormat, None] = {}
    for name in (piece.strip() for piece in text.split(",")):
        if name not in _FORMATS:
            known = ", ".join(_FORMATS)
            raise ValueError(
                f"--formats must be a list of {known}, or {_NO_FILES}, found {name!r}; write png,svg"
            )
        found[_FORMATS[name]] = None
    return tuple(found)


@contextmanager
def shown() -> Iterator[Callable[[str], None]]:
    """What is being done, on standard error: a line that changes on a terminal, else one now and then."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("reading runs") as status:
            yield status.update
        return
    last = time.monotonic()

    def tell(what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            sys.stderr.write(f"report: {what}\n")
            sys.stderr.flush()

    yield tell


def _tell(folder: Path, page: Path, figures: tuple[Path, ...], *, as_json: bool) -> int:
    if as_json:
        charts = {"figures": [str(path) for path in figures]} if figures else {}
        print_json({"folder": str(folder), "report": str(page)} | charts)
    else:
        if figures:
            print_line(f"charts: {len(figures)} files in {page.parent}")
        print_line(f"report: {page}")
    return 0
