"""What a one-run audit asks of a training: train once with these canaries, and score all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.runs import TrainingClaim

Coins: TypeAlias = NDArray[np.bool_]
Scores: TypeAlias = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class CanaryKind:
    """What a canary is, and what may be said of several.

    Attributes:
        name: a word or two.
        sees: which parts of the training the canaries go through, and which they do not.
        independent: whether, in a training that does what it claims, what is released of one canary depends
            on no other canary's coin. Only then the tests for independent canaries may refute the claim.
    """

    name: str
    sees: str
    independent: bool


@runtime_checkable
class OneRunTraining(Protocol):
    """A training with m canaries, of which each may be there or not."""

    @property
    def claim(self) -> TrainingClaim:
        """What the training is accounted as."""
        ...

    @property
    def num_canaries(self) -> int:
        """How many canaries there are."""
        ...

    @property
    def kind(self) -> CanaryKind:
        """What the canaries are."""
        ...

    def scores(self, included: Coins, *, seed: int) -> Scores:
        """Train once with the canaries ``included``, ``(m,)``, and score all, ``(m,)``, finite.

        Higher is for what seems to be included. A score may depend on what was released and on the canaries
        themselves, not on the coins.
        """
        ...
