"""The sections of a page: those that there is something to say in, in the order of a reader's questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clifftop.report.page.audits import audits_section
from clifftop.report.page.blocks import AllCells, Charts, Section
from clifftop.report.page.doubt import doubt_section
from clifftop.report.page.drawn import Drawn
from clifftop.report.page.making import caveats_section, methods_section, reproduce_section
from clifftop.report.page.privacy import card_section, cost_section, published_section
from clifftop.report.page.results import (
    cliff_section,
    decomposition_section,
    frontier_section,
    scores_section,
    settings_section,
    training_section,
)

if TYPE_CHECKING:
    from clifftop.report.drawings import Drawing
    from clifftop.report.material import Material

FIRST = "frontier"
"""The drawing of the first screen."""


def sections(material: Material, drawings: Sequence[Drawing]) -> tuple[Section, ...]:
    """Every section of the page below the first screen."""
    drawn = Drawn(drawings, but=FIRST)
    before = [make(material, drawn) for make in _BEFORE]
    after = [make(material, drawn) for make in _AFTER]
    found = (*before, _more_section(drawn), *after)
    return tuple(section for section in found if section is not None and section.blocks)


def _more_section(drawn: Drawn) -> Section | None:
    """The charts that no other section asked for."""
    names = drawn.rest()
    return Section(name="more", title="More charts", blocks=(Charts(names=names),)) if names else None


def _cells_section(_: Material, __: Drawn) -> Section | None:
    return Section(name="cells", title="All cells", short="Cells", blocks=(AllCells(),))


_Make = Callable[["Material", Drawn], Section | None]
_BEFORE: tuple[_Make, ...] = (
    decomposition_section,
    frontier_section,
    published_section,
    cliff_section,
    doubt_section,
    settings_section,
    training_section,
    scores_section,
    audits_section,
)
_AFTER: tuple[_Make, ...] = (
    _cells_section,
    cost_section,
    card_section,
    caveats_section,
    methods_section,
    reproduce_section,
)
