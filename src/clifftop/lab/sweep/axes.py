"""The axes of a sweep, as a person writes them and in the order of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep.axis import Axis, Between, Choices, Counted
from clifftop.lab.sweep.errors import SweepFault, nearest
from clifftop.lab.sweep.knobs import KNOBS, Refused, kind_of, place_of

Spread = Axis | Sequence[Scalar] | Mapping[str, Any]
"""How an axis may be written: itself, a list, or a table such as ``{"low": 0.1, "high": 1.0, "num": 3}``."""

_TABLES: tuple[tuple[type[Axis], frozenset[str], frozenset[str]], ...] = (
    (Counted, frozenset({"start", "stop", "step"}), frozenset({"stop"})),
    (Between, frozenset({"low", "high", "scale", "num"}), frozenset({"low", "high"})),
)


def read_axis(written: object) -> Axis:
    """An axis from what a person writes.

    Raises:
        Refused: it is none.

    >>> read_axis([1, 2]).values(), read_axis({"stop": 2}).values()
    ((1, 2), (0, 1))
    """
    if isinstance(written, Axis):
        return written
    if isinstance(written, Mapping):
        return _read_table(written)
    if isinstance(written, Sequence) and not isinstance(written, str | bytes):
        return Choices(tuple(written))
    raise Refused(
        f"must be a list of values or a range, found {written!r}; "
        "write [value, value], or set the one value outside the axes"
    )


def _read_table(written: Mapping[str, Any]) -> Axis:
    for made, known, needed in _TABLES:
        if needed & set(written):
            unknown = sorted(set(written) - known)
            if unknown:
                raise Refused(
                    f"must have the keys {', '.join(sorted(known))}, found {unknown[0]!r}; remove it"
                    f"{nearest(unknown[0], known)}"
                )
            missing = sorted(needed - set(written))
            if missing:
                raise Refused(
                    f"must have the keys {' and '.join(sorted(needed))}, found no {missing[0]}; add it"
                )
            return made(**written)
    raise Refused(
        f"must be a range of start, stop, step or of low, high, scale, num, found "
        f"{', '.join(map(repr, written)) or 'nothing'}; write one of the two"
    )


@final
class Axes(Mapping[str, Axis]):
    """The axes of a sweep by name, in the order in which a grid runs through them, the slowest first.

    The order is the same however the axes were written: seeds first, then what makes cohorts, then what is
    only data, so that runs that share their draws lie side by side.
    """

    __slots__ = ("_axes",)

    def __init__(self, written: Mapping[str, Spread]) -> None:
        for name in written:
            if kind_of(name) is None:
                raise SweepFault(
                    f"axes.{name}",
                    f"must be an axis that there is, found {name!r}; use one of {', '.join(KNOBS)}, "
                    f"model.OPTION, data.OPTION or optimizer.OPTION{nearest(name, KNOBS)}",
                )
        self._axes: dict[str, Axis] = {}
        for name in sorted(written, key=place_of):
            kind = kind_of(name)
            assert kind is not None
            try:
                self._axes[name] = read_axis(written[name]).of(kind)
            except Refused as refused:
                raise SweepFault(f"axes.{name}", str(refused)) from None

    def __getitem__(self, name: str) -> Axis:
        return self._axes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._axes)

    def __len__(self) -> int:
        return len(self._axes)

    def __hash__(self) -> int:
        return hash(frozenset(self._axes.items()))

    def __repr__(self) -> str:
        return repr(self._axes)

    def listed(self, name: str) -> tuple[Scalar, ...]:
        """Every value of one axis.

        Raises:
            SweepFault: it is a range without a number of values.
        """
        try:
            return self._axes[name].values()
        except Refused as refused:
            raise SweepFault(f"axes.{name}", str(refused)) from None

    def only(self, names: Sequence[str]) -> Axes:
        """Some of the axes."""
        return Axes({name: self._axes[name] for name in self._axes if name in names})

    def without(self, names: Sequence[str]) -> Axes:
        """All but some of the axes."""
        return Axes({name: self._axes[name] for name in self._axes if name not in names})


__all__ = ["Axes", "Axis", "Between", "Choices", "Counted", "Spread", "read_axis"]
