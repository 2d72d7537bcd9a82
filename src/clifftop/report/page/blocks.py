"""What a section of the page is made of. Each kind of block names the template that writes it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final


class Block(ABC):
    """A part of a section; text in it is plain, and is escaped when it is written."""

    template: ClassVar[str]

    def cited(self) -> tuple[str, ...]:
        """The keys of the papers that it refers to."""
        return ()


@final
@dataclass(frozen=True, kw_only=True)
class Paragraph(Block):
    """Sentences, and the keys of the papers behind them."""

    template = "paragraph.html.j2"
    text: str
    cites: tuple[str, ...] = ()

    def cited(self) -> tuple[str, ...]:
        """The keys of the papers that it refers to."""
        return self.cites


@final
@dataclass(frozen=True, kw_only=True)
class Heading(Block):
    """The title of a part of a section."""

    template = "heading.html.j2"
    text: str


@final
@dataclass(frozen=True, kw_only=True)
class Items(Block):
    """Several statements, one a line."""

    template = "items.html.j2"
    items: tuple[str, ...]
    cites: tuple[str, ...] = ()

    def cited(self) -> tuple[str, ...]:
        """The keys of the papers that it refers to."""
        return self.cites


@final
@dataclass(frozen=True, kw_only=True)
class FactList(Block):
    """Names and what they are."""

    template = "facts.html.j2"
    rows: tuple[tuple[str, str], ...]


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cell of a static table: its text, and the number it sorts by."""

    text: str
    value: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class StaticTable(Block):
    """A small table, sorted by clicking on a header.

    Attributes:
        caption: what it holds.
        headers: of its columns.
        rows: each with an entry a column.
        marked: a column to point out; None points out none.
    """

    template = "table.html.j2"
    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    marked: int | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Charts(Block):
    """The drawings of these names, those that there are."""

    template = "charts.html.j2"
    names: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True)
class AllCells(Block):
    """The table of all cells, which the page's script fills."""

    template = "cells.html.j2"


@final
@dataclass(frozen=True, kw_only=True)
class Listing(Block):
    """Text to be copied as it is."""

    template = "listing.html.j2"
    name: str
    text: str


@final
@dataclass(frozen=True, kw_only=True)
class Details(Block):
    """Blocks behind a line that opens them; paper shows them open."""

    template = "details.html.j2"
    summary: str
    blocks: tuple[Block, ...]

    def cited(self) -> tuple[str, ...]:
        """Those of the blocks inside."""
        return cited(self.blocks)


@final
@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        blocks: in order.
        short: its name in the list of sections; empty for its title.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    short: str = ""


def cited(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The keys of all papers that blocks refer to, in order, each once."""
    return tuple(dict.fromkeys(key for block in blocks for key in block.cited()))


def chart_names(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The names of the drawings that blocks ask for."""
    found: list[str] = []
    for block in blocks:
        if isinstance(block, Charts):
            found += block.names
        if isinstance(block, Details):
            found += chart_names(block.blocks)
    return tuple(found)
