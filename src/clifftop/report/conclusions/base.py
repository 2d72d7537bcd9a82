"""A conclusion: what the numbers say, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final


class Kind(StrEnum):
    """How a conclusion is known."""

    CLAIM = "claim"
    """An effect, tested; all claims of a report together are wrong at most one time in twenty."""
    MEASURE = "measure"
    """A number with its interval; nothing is claimed beyond it."""
    FACT = "fact"
    """Arithmetic: an epsilon, a count."""
    CAUTION = "caution"
    """What the runs cannot say."""


@final
@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """One conclusion.

    Attributes:
        title: the conclusion in a few words.
        text: the numbers behind it, in sentences.
        kind: how it is known.
        cells: places in the evidence of the cells that it is about.
    """

    title: str
    text: str
    kind: Kind
    cells: tuple[int, ...] = ()
