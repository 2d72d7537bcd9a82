"""One JSON object of a file, read key by key: a fault names the file, the key and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from clifftop.analysis.jsonio import NON_FINITE, ResultsError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A JSON object and where it lies.

    Attributes:
        source: the file, for messages.
        where: the path of keys down to this object, empty for the whole file.
        values: the object.
    """

    source: str
    where: str
    values: Mapping[str, object]

    def text(self, key: str) -> str:
        """The string at ``key``."""
        return _text(self._get(key), self, key)

    def count(self, key: str) -> int:
        """The whole number at ``key``."""
        return _count(self._get(key), self, key)

    def number(self, key: str) -> float:
        """The number at ``key``; "inf", "-inf" and "nan" are numbers."""
        return _number(self._get(key), self, key)

    def optional_number(self, key: str) -> float | None:
        """The number at ``key``, or None where it is null."""
        value = self._get(key)
        return None if value is None else _number(value, self, key)

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of strings at ``key``."""
        return self._list(key, _text)

    def counts(self, key: str) -> tuple[int, ...]:
        """The list of whole numbers at ``key``."""
        return self._list(key, _count)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The list of numbers at ``key``."""
        return self._list(key, _number)

    def section(self, key: str) -> Section:
        """The object at ``key``."""
        return _section(self._get(key), self, key)

    def optional_section(self, key: str) -> Section | None:
        """The object at ``key``, or None where it is null."""
        value = self._get(key)
        return None if value is None else _section(value, self, key)

    def sections(self, key: str) -> tuple[Section, ...]:
        """The list of objects at ``key``."""
        return self._list(key, _section)

    def fault(self, key: str, must: str, found: object) -> ResultsError:
        """The error for ``key``: what must hold and what was found."""
        shown = repr(found)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return ResultsError(f"{self.source}: key '{self.path(key)}' must be {must}, found {shown}")

    def path(self, key: str) -> str:
        """``key`` with the path of keys before it."""
        return f"{self.where}.{key}" if self.where else key

    def _get(self, key: str) -> object:
        try:
            return self.values[key]
        except KeyError:
            raise ResultsError(
                f"{self.source}: key '{self.path(key)}' is missing; run the study again"
            ) from None

    def _list(self, key: str, read: Callable[[object, Section, str], T]) -> tuple[T, ...]:
        value = self._get(key)
        if not isinstance(value, list):
            raise self.fault(key, "a list", value)
        return tuple(read(item, self, f"{key}[{index}]") for index, item in enumerate(value))


def _text(value: object, section: Section, key: str) -> str:
    if not isinstance(value, str):
        raise section.fault(key, "a string", value)
    return value


def _count(value: object, section: Section, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise section.fault(key, "a whole number", value)
    return value


def _number(value: object, section: Section, key: str) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    raise section.fault(key, 'a number, or "inf", "-inf" or "nan"', value)


def _section(value: object, section: Section, key: str) -> Section:
    if not isinstance(value, dict):
        raise section.fault(key, "an object", value)
    return Section(source=section.source, where=section.path(key), values=value)
