"""A card as CommonMark with tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clifftop.report.card.base import SCHEMA_VERSION, Card, Section


def markdown(card: Card) -> str:
    """The card as a document with one heading a section."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield f"# {escaped(card.title)}"
    yield ""
    yield f"**{escaped(headline(card))}** {escaped(card.verdict.text)}"
    for section in card.sections:
        yield ""
        yield f"## {escaped(section.title)}"
        yield from _section(section)
    if card.not_stated:
        yield ""
        yield "## Not stated"
        yield ""
        for one in card.not_stated:
            yield f"- {escaped(str(one))}"
    yield ""
    yield f"*Privacy card, form {SCHEMA_VERSION}. Ends of intervals are rounded outward.*"


def headline(card: Card) -> str:
    """The verdict in a few words."""
    return f"May be released: {card.verdict.release}."


def _section(section: Section) -> Iterator[str]:
    for paragraph in section.paragraphs:
        yield ""
        yield escaped(paragraph)
    if section.rows:
        yield ""
        yield "| | |"
        yield "|---|---|"
        for row in section.rows:
            yield f"| {_cell(row.label)} | {_cell(row.text)} |"


def _cell(text: str) -> str:
    return escaped(text).replace("|", r"\|")


def escaped(text: str) -> str:
    r"""Plain text so that Markdown shows it as it stands, on one line.

    >>> escaped("a_b *c*\n<d>")
    'a\\_b \\*c\\* \\<d>'
    """
    return re.sub(r"([\\`*_<\[#])", r"\\\1", " ".join(text.split()))
