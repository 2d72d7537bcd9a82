"""Build the report of any results folder: the page, and its charts as files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from clifftop.analysis.results import FILE_NAME as RESULTS
from clifftop.files import write_all

if TYPE_CHECKING:
    from clifftop.report.drawings import Drawing, FileFormat
    from clifftop.report.material import Material

FILE_NAME = "report.html"
_HEAD = 100_000
_FIGURES = re.compile(r'<meta name="clifftop-figures" content="([^"]*)">')
_FILE = re.compile(r"(?:^| )(\w+\.(?:png|svg|pdf))(?= |$)")
Tell = Callable[[str], None]


@final
@dataclass(frozen=True, kw_only=True)
class BuiltPage:
    """What was written.

    Attributes:
        page: the HTML file.
        figures: its charts, a file a chart and format.
    """

    page: Path
    figures: tuple[Path, ...]


def build_page(
    folder: Path | str,
    *,
    out: Path | None = None,
    formats: Sequence[FileFormat] = ("png",),
    metric: str | None = None,
    tell: Tell | None = None,
) -> BuiltPage:
    """Write the page of a sweep's or a study's folder, and its charts as files beside it.

    Everything is made in memory first and then written together, each file whole or not at all. Charts that
    an earlier report of that name wrote and this one does not have are removed.

    Args:
        folder: what a sweep or a study wrote; nothing in it is changed but the files of the report.
        out: the HTML file; by default ``report.html`` in the folder.
        formats: of the files of each chart; none for the page alone.
        metric: what to compare cells by; by default what the sweep was made for.
        tell: is told what is done, a few words each time.

    Raises:
        StoreError: there is no store, or it cannot be read.
        ResultsError: a study's results cannot be read.
        EvidenceError: no run has finished, or runs that cannot be compared.
        FileWriteError: the files cannot be written; one line, and the folder is as it was.
    """
    from clifftop.report.drawings import drawings
    from clifftop.report.material import load_material

    say = tell or _silent
    material = load_material(folder, metric=metric, tell=say)
    say("drawing charts")
    drawn = drawings(material)
    page = (Path(folder) / FILE_NAME) if out is None else out
    names = [f"{drawing.name}.{form}" for drawing in drawn for form in formats]
    before = _figures_of(page)
    write_all(page.parent, _files(material, drawn, page.name, formats, say))
    for name in before - set(names):
        (page.parent / name).unlink(missing_ok=True)
    return BuiltPage(page=page, figures=tuple(page.parent / name for name in names))


def _figures_of(page: Path) -> set[str]:
    """The charts' files that an earlier page says it came with: plain names, so none lies elsewhere."""
    if not page.is_file():
        return set()
    head = page.read_text(encoding="utf-8", errors="replace")[:_HEAD]
    found = _FIGURES.search(head)
    return set(_FILE.findall(found[1])) if found else set()


def _files(
    material: Material, drawn: Sequence[Drawing], name: str, formats: Sequence[FileFormat], say: Tell
) -> dict[str, bytes]:
    from clifftop.report.page.render import render_page

    say("writing the page")
    made = [f"{drawing.name}.{form}" for drawing in drawn for form in formats]
    page = render_page(material, drawn, digest=_digest(material.folder), figures=made)
    files = {name: page.encode()}
    for drawing in drawn:
        for form in formats:
            say(f"drawing {drawing.name}.{form}")
            files[f"{drawing.name}.{form}"] = drawing.file(form)
    return files


def _digest(folder: Path) -> str | None:
    """Of a study's results, so that the page can be checked against them."""
    results = folder / RESULTS
    return hashlib.sha256(results.read_bytes()).hexdigest() if results.is_file() else None


def _silent(_: str) -> None:
    pass
