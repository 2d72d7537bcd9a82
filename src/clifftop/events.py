"""Privacy events: frozen values that say what a mechanism did to the data, and nothing else.

An event is what sampling and noise hand to accounting; the two sides meet only here. Events hold
public facts (a noise multiplier, a sampling probability, a count) and never data. An accountant
that does not know an event refuses it by name.

The vocabulary follows Google's ``dp_accounting`` (``DpEvent``), with shorter names.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class NeighboringRelation(enum.Enum):
    """Which pairs of data sets a privacy guarantee compares."""

    ADD_OR_REMOVE_ONE = "add_or_remove_one"
    """One data set has one example more than the other."""
    REPLACE_ONE = "replace_one"
    """The data sets have equal size and differ in one example."""
    ZERO_OUT = "zero_out"
    """One example is replaced by a null example whose gradient is zero; the size stays."""


@dataclass(frozen=True)
class DpEvent:
    """Base of all events; it has no meaning of its own."""


@dataclass(frozen=True)
class NoOp(DpEvent):
    """Nothing was released: costs nothing."""


@dataclass(frozen=True)
class NonPrivate(DpEvent):
    """Something was released with no protection: epsilon is infinite."""


@dataclass(frozen=True)
class Gaussian(DpEvent):
    """One release of a sum with Gaussian noise.

    The noise has standard deviation ``noise_multiplier`` times the largest L2 norm of one
    example's contribution. ``noise_multiplier == 0`` protects nothing.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        if not (self.noise_multiplier >= 0 and math.isfinite(self.noise_multiplier)):
            raise ValueError(
                "noise_multiplier must be finite and >= 0, "
                f"found noise_multiplier={self.noise_multiplier}; pass the ratio of noise std to clip norm"
            )


@dataclass(frozen=True)
class PoissonSampled(DpEvent):
    """``event`` applied to a batch that holds each example independently with ``sampling_prob``."""

    sampling_prob: float
    event: DpEvent

    def __post_init__(self) -> None:
        if not 0 <= self.sampling_prob <= 1:
            raise ValueError(
                f"sampling_prob must be in [0, 1], found sampling_prob={self.sampling_prob}; "
                "pass expected_batch_size / num_examples"
            )


@dataclass(frozen=True)
class FixedOrder(DpEvent):
    """Batches laid out in a fixed, public order; each example takes part ``participations`` times.

    No amplification by sampling. Positions depend on how many examples there are, so this event
    speaks of relations that keep the size (`NeighboringRelation.ZERO_OUT`, ``REPLACE_ONE``); an
    accountant for ``ADD_OR_REMOVE_ONE`` refuses it.
    """

    event: DpEvent
    participations: int

    def __post_init__(self) -> None:
        _require_count("participations", self.participations)


@dataclass(frozen=True)
class SelfComposed(DpEvent):
    """``event`` released ``count`` times, adaptively."""

    event: DpEvent
    count: int

    def __post_init__(self) -> None:
        _require_count("count", self.count)


@dataclass(frozen=True)
class Composed(DpEvent):
    """All of ``events`` released, adaptively, in order."""

    events: tuple[DpEvent, ...]


def _require_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(
            f"{name} must be a whole number >= 0, found {name}={value!r}; count releases exactly"
        )
