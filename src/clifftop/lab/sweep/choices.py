"""What a sweep is told beyond numbers: what its runs share, which are released, what the best is."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import final


class SharingMode(enum.StrEnum):
    """What the runs of a sweep share; it decides what may be released."""

    COMMON = "common"
    """Runs of one seed share batches, initialisation and noise: at most one of them may ever be released."""
    ORDER = "order"
    """Runs of one seed share batches and initialisation; each has noise of its own."""
    INDEPENDENT = "independent"
    """Each run has draws of its own."""


class Release(enum.StrEnum):
    """Which of the runs leave the house."""

    ONE_FIXED_BEFOREHAND = "one-fixed-beforehand"
    """One, chosen before any was trained."""
    BEST = "best"
    """The best of them, chosen by what they reached."""
    ALL = "all"
    """All of them, or the table of their scores."""


@final
@dataclass(frozen=True, kw_only=True)
class Goal:
    """The metric that the best run is chosen by, and whether more of it is better."""

    metric: str
    maximize: bool

    def score(self, value: float) -> float:
        """``value`` so that more is better."""
        return value if self.maximize else -value
