"""One axis of a sweep: the values that it holds, and a law to draw one from."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep.knobs import Anything, Kind, Refused

_DIGITS = 6  # of a number that is computed: short to read, and the same on every machine
_MOST_VALUES = 1_000_000


class Axis(ABC):
    """What one setting may be."""

    @abstractmethod
    def values(self) -> tuple[Scalar, ...]:
        """Every value, in order.

        Raises:
            Refused: the axis is a range without a number of values.
        """

    @abstractmethod
    def at(self, u: float) -> Scalar:
        """The value at quantile ``u`` in [0, 1) of the axis's law."""

    @abstractmethod
    def of(self, kind: Kind) -> Axis:
        """The same axis with values that a knob takes.

        Raises:
            Refused: the knob takes no such values.
        """


@final
@dataclass(frozen=True)
class Choices(Axis):
    """Values from a list, each as likely as any other.

    >>> Choices((0.1, 1.0)).at(0.7)
    1.0
    """

    choices: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise Refused("must hold at least one value, found none; give values, or remove the axis")
        object.__setattr__(self, "choices", tuple(self.choices))

    def values(self) -> tuple[Scalar, ...]:
        """See `Axis.values`."""
        return self.choices

    def at(self, u: float) -> Scalar:
        """See `Axis.at`."""
        return self.choices[int(u * len(self.choices))]

    def of(self, kind: Kind) -> Choices:
        """See `Axis.of`; values that are equal are refused."""
        accepted = tuple(kind.accept(value) for value in self.choices)
        seen: list[tuple[type, Scalar]] = []
        for value in accepted:
            if (type(value), value) in seen:
                raise Refused(f"must not repeat a value, found {value!r} more than once; remove it")
            seen.append((type(value), value))
        return Choices(accepted)


@final
@dataclass(frozen=True, kw_only=True)
class Counted(Axis):
    """Whole numbers from ``start`` on by ``step``, ``stop`` left out, each as likely as any other.

    >>> Counted(start=1, stop=10, step=3).values()
    (1, 4, 7)
    """

    start: int = 0
    stop: int
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("start", "stop", "step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise Refused(
                    f"must have whole start, stop and step, found {name}={value!r}; use low and high"
                )
        if self.step == 0 or not self._range:
            raise Refused(
                f"must hold at least one value, found none from {self.start} to {self.stop} by {self.step}; "
                "stop itself is left out"
            )
        if len(self._range) > _MOST_VALUES:
            raise Refused(
                f"must hold at most {_MOST_VALUES} values, found {len(self._range)}; use low and high"
            )

    @property
    def _range(self) -> range:
        return range(self.start, self.stop, self.step)

    def values(self) -> tuple[Scalar, ...]:
        """See `Axis.values`."""
        return tuple(self._range)

    def at(self, u: float) -> Scalar:
        """See `Axis.at`."""
        return self._range[int(u * len(self._range))]

    def of(self, kind: Kind) -> Axis:
        """See `Axis.of`."""
        if not kind.ranged:
            raise Refused("must be a list of names, found a range; write the names")
        if isinstance(kind, Anything):
            return self
        return Choices(self.values()).of(kind)


class Scale(enum.StrEnum):
    """What is uniform over a range: the number or its logarithm."""

    LINEAR = "linear"
    LOG = "log"


@final
@dataclass(frozen=True, kw_only=True)
class Between(Axis):
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: the least.
        high: the greatest.
        scale: whether numbers or their logarithms are evenly spread.
        num: how many values a grid takes; None if the range is only ever drawn from.
        whole: whether the numbers are whole; those of a range are rounded.

    >>> Between(low=0.01, high=1.0, scale=Scale.LOG, num=3).values()
    (0.01, 0.1, 1.0)
    """

    low: float
    high: float
    scale: Scale = Scale.LINEAR
    num: int | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise Refused(f"must have finite numbers for ends, found {name}={value!r}; write a number")
        if not self.low < self.high:
            raise Refused(f"must have low < high, found low={self.low} and high={self.high}; swap them")
        if self.num is not None and not (type(self.num) is int and 2 <= self.num <= _MOST_VALUES):
            raise Refused(f"must have num, a whole number >= 2, found num={self.num!r}; use a list for one")
        try:
            object.__setattr__(self, "scale", Scale(self.scale))
        except ValueError:
            raise Refused(f"must have scale log or linear, found scale={self.scale!r}; choose one") from None
        if self.scale is Scale.LOG and self.low <= 0:
            raise Refused(f"must have low > 0 on a log scale, found low={self.low}; raise it, or use linear")

    def values(self) -> tuple[Scalar, ...]:
        """See `Axis.values`."""
        if self.num is None:
            raise Refused(
                "must have num values in a grid, found a range without num; add num = 5, or a search"
            )
        spread = (self._between(i / (self.num - 1)) for i in range(self.num))
        return tuple(dict.fromkeys(spread))

    def at(self, u: float) -> Scalar:
        """See `Axis.at`."""
        if not self.whole:
            return self._between(u)
        # Each whole number gets the part of the range that is nearest to it, the two ends included.
        wide = replace(self, low=self.low - 0.5, high=self.high + 0.5, whole=False)
        return min(int(self.high), max(int(self.low), round(wide._exact(u))))  # noqa: SLF001 - its own class

    def of(self, kind: Kind) -> Between:
        """See `Axis.of`."""
        if not kind.ranged:
            raise Refused("must be a list of names, found a range; write the names")
        whole = kind.whole or (
            isinstance(kind, Anything) and all(type(end) is int for end in (self.low, self.high))
        )
        low, high = (kind.accept(end) for end in (self.low, self.high))
        assert isinstance(low, int | float)
        assert isinstance(high, int | float)
        return replace(self, low=low, high=high, whole=whole)

    def rounded(self, number: float) -> int | float:
        """A number of the range as a person would write it: whole, or with six digits."""
        if self.whole:
            return round(number)
        return min(self.high, max(self.low, float(f"{number:.{_DIGITS}g}")))

    def _between(self, u: float) -> int | float:
        if u in (0, 1):
            return (self.low, self.high)[int(u)]
        return self.rounded(self._exact(u))

    def _exact(self, u: float) -> float:
        if self.scale is Scale.LOG:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)
