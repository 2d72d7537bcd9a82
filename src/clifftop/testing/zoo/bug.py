"""What the zoo says of a planted bug."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import final


class BugKind(StrEnum):
    """The part of a private training that is wrong."""

    CLIPPING = "clipping"
    NOISE = "noise"
    SAMPLING = "sampling"
    ACCOUNTING = "accounting"
    STATE = "state"
    DISTRIBUTED = "distributed"
    PREPROCESSING = "preprocessing"
    TUNING = "tuning"


@final
@dataclass(frozen=True, kw_only=True)
class Bug:
    """A fault planted in a correct training or step.

    Attributes:
        name: its own.
        kind: the part that is wrong.
        description: what it does, in words.
        source: the real case that it is made after; empty for one that was made up for the zoo.
        plant: builds the faulty training or step.
        caught_by: the check that must find it; others may, too.
    """

    name: str
    kind: BugKind
    description: str
    source: str
    plant: Callable[[], object]
    caught_by: str


def bug(
    kind: BugKind, plant: type, caught_by: str, *, source: str = "", description: str | None = None
) -> Bug:
    """A bug that is a class, called after it and described by its docstring."""
    words = description or (plant.__doc__ or "")
    return Bug(
        name=plant.__name__,
        kind=kind,
        description=words.strip().split("\n", maxsplit=1)[0].rstrip("."),
        source=source,
        plant=plant,
        caught_by=caught_by,
    )
