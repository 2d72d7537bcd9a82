"""The sections of a page: those that there is something to say in, in the order of a reader's questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

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
    made = (make(material, drawn) for make in _ORDER)
    return tuple(section for section in made if section is not None and section.blocks)


def _more_section(_: Material, drawn: Drawn) -> Section | None:
    names = drawn.rest()
    return Section(name="more", title="More charts", blocks=(Charts(names=names),)) if names else None


def _cells_section(_: Material, __: Drawn) -> Section | None:
    return Section(name="cells", title="All cells", short="Cells", blocks=(AllCells(),))


_ORDER: tuple[Callable[[Material, Drawn], Section | None], ...] = (
    decomposition_section,
    frontier_section,
    cliff_section,
    doubt_section,
    settings_section,
    training_section,
    scores_section,
    _more_section,
    _cells_section,
    published_section,
    cost_section,
    card_section,
    caveats_section,
    methods_section,
    reproduce_section,
)
