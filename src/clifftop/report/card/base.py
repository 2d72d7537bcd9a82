"""The privacy card as a value: sections of rows, what it refuses to state, and what may be released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from clifftop import __version__

SCHEMA = "clifftop privacy card"
SCHEMA_VERSION = 1
"""Goes up when a name is renamed or removed, or when what it means changes; new names may come at any "
"time."""


class CardError(ValueError):
    """There is no card to be made of this; one line with what must hold, what was found, what to do."""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """One fact.

    Attributes:
        name: in JSON; lower case with underscores.
        label: for people.
        text: the fact in words; numbers are rounded to the safe side.
        value: the fact as plain JSON where there is more to it than the words; numbers are not rounded.
    """

    name: str
    label: str
    text: str
    value: Any = None


@final
@dataclass(frozen=True, kw_only=True)
class Section:
    """Facts that belong together.

    Attributes:
        name: in JSON.
        title: for people.
        paragraphs: whole sentences, before the rows.
        rows: facts.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class NotStated:
    """Something that a card should say and this one cannot.

    Attributes:
        what: left unsaid.
        why: it cannot be supported, and what to do about it.
    """

    what: str
    why: str

    def __str__(self) -> str:
        return f"not stated: {self.what}, because {self.why}"


@final
@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may leave the house.

    Attributes:
        release: ``"nothing"``, ``"this run alone"``, ``"all private runs"``, ``"the tuned model"`` or
            ``"anything"`` (public data).
        epsilon: the price of that release, from above; None where there is none to name.
        text: the same in sentences, with the reasons.
    """

    release: str
    epsilon: float | None
    text: str


@final
@dataclass(frozen=True, kw_only=True)
class Card:
    """A privacy card.

    Attributes:
        title: of what.
        subject: names of what it is about, plain JSON.
        verdict: what may be released.
        sections: in order; `to_markdown` and the report's page show them as they are.
        not_stated: what is refused, and why.
    """

    title: str
    subject: Mapping[str, Any]
    verdict: Verdict
    sections: tuple[Section, ...]
    not_stated: tuple[NotStated, ...] = ()

    def section(self, name: str) -> Section:
        """The section of that name. Errors: KeyError."""
        return {section.name: section for section in self.sections}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of `SCHEMA_VERSION`; no number in it is infinite or NaN."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "clifftop": __version__,
            "title": self.title,
            "subject": dict(self.subject),
            "verdict": {
                "release": self.verdict.release,
                "epsilon": self.verdict.epsilon,
                "text": self.verdict.text,
            },
            "sections": {section.name: _section(section) for section in self.sections},
            "not_stated": [{"what": one.what, "why": one.why} for one in self.not_stated],
        }

    def to_markdown(self) -> str:
        """CommonMark with tables."""
        from clifftop.report.card.markdown import markdown

        return markdown(self)


def _section(section: Section) -> dict[str, Any]:
    rows = {row.name: {"label": row.label, "text": row.text, "value": row.value} for row in section.rows}
    return {"title": section.title, "paragraphs": list(section.paragraphs), "facts": rows}
