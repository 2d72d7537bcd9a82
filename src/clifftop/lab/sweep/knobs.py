"""What a sweep can set: each knob's name and the values that it takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep.errors import nearest


class Refused(ValueError):
    """A value that a knob does not take: what must hold, what was found, what to do."""


class Kind(ABC):
    """The values that a knob takes."""

    whole = False
    """Whether a range of this knob holds whole numbers only."""
    ranged = True
    """Whether a range makes sense at all."""

    @abstractmethod
    def accept(self, value: object) -> Scalar:
        """The value in the knob's own type.

        Raises:
            Refused: it takes no such value.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Real(Kind):
    """A finite number above ``low``, or from it on if ``closed``, and below ``below``."""

    low: float = 0.0
    closed: bool = False
    below: float = math.inf

    def accept(self, value: object) -> float:
        """See `Kind.accept`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"must be a number, found {value!r}; write a number such as 0.5, without quotes")
        number = float(value)
        sign = ">=" if self.closed else ">"
        rule = f"finite and {sign} {self.low:g}"
        if self.below < math.inf:
            rule = f"{sign} {self.low:g} and < {self.below:g}"
        above = number >= self.low if self.closed else number > self.low
        if not (math.isfinite(number) and above and number < self.below):
            raise Refused(f"must be {rule}, found {value!r}; choose a number in that range")
        return number


@final
@dataclass(frozen=True, kw_only=True)
class Whole(Kind):
    """A whole number from ``low`` on, and below ``below``."""

    low: int
    below: int = 2**63
    whole = True

    def accept(self, value: object) -> int:
        """See `Kind.accept`."""
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(number, bool) or not isinstance(number, int) or not self.low <= number < self.below:
            raise Refused(
                f"must be a whole number >= {self.low}, found {value!r}; "
                "write it without quotes or a fraction"
            )
        return number


@final
@dataclass(frozen=True, kw_only=True)
class OneOf(Kind):
    """A name from a list."""

    names: tuple[str, ...]
    ranged = False

    def accept(self, value: object) -> str:
        """See `Kind.accept`."""
        if not isinstance(value, str) or value not in self.names:
            hint = nearest(value, self.names) if isinstance(value, str) else ""
            raise Refused(f"must be one of {', '.join(self.names)}, found {value!r}; choose one{hint}")
        return value


@final
@dataclass(frozen=True, kw_only=True)
class Anything(Kind):
    """An option of a factory: a string, a boolean, None or a finite number."""

    def accept(self, value: object) -> Scalar:
        """See `Kind.accept`."""
        if isinstance(value, float) and not math.isfinite(value):
            raise Refused(f"must be finite, found {value!r}; choose a finite number")
        if value is not None and not isinstance(value, str | bool | int | float):
            raise Refused(
                f"must be a string, a boolean or a number, found {value!r}; an axis holds single values"
            )
        return value


CLIPPINGS = ("flat", "automatic", "per-layer")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam")
SAMPLERS = ("poisson", "fixed-order")

KNOBS: Mapping[str, Kind] = {
    "seed": Whole(low=0),
    "optimizer": OneOf(names=OPTIMIZERS),
    "clipping": OneOf(names=CLIPPINGS),
    "expected_batch_size": Whole(low=1),
    "epochs": Real(),
    "steps": Whole(low=1),
    "target_epsilon": Real(),
    "noise_multiplier": Real(closed=True),
    "clip_norm": Real(),
    "lr": Real(),
}
"""What an axis may vary, in the order in which a grid runs through it, slowest first."""

NOISE_LEVELS = ("target_epsilon", "noise_multiplier")
"""What says how much noise a run has."""

NOT_OF_A_BASELINE = (*NOISE_LEVELS, "clip_norm", "clipping")
"""Settings that a run without clipping and noise has none of."""

PARTS = ("data", "model", "optimizer")
"""What has options of its own, which an axis names ``PART.OPTION``."""


def kind_of(name: str) -> Kind | None:
    """The values that the axis ``name`` may take; None if there is no such axis.

    >>> kind_of("lr"), kind_of("model.width"), kind_of("width")
    (Real(low=0.0, closed=False, below=inf), Anything(), None)
    """
    part, _, option = name.partition(".")
    if option and part in PARTS:
        return Anything() if option.isidentifier() else None
    return KNOBS.get(name)


def place_of(name: str) -> tuple[int, str]:
    """Where an axis stands in the order of a grid: what makes cohorts apart before what is only data."""
    part, _, option = name.partition(".")
    if option:
        return 1 + PARTS.index(part), name
    return (0, "") if name == "seed" else (4 + list(KNOBS).index(name), "")
