"""Which columns of a table are read, and how: declared before a row is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from clifftop.datasets.readers.declared import check_task, declared_number, mapping, names
from clifftop.datasets.readers.errors import DataFileError

_SHOWN = 12  # column names in an error


@final
@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns are read, and how.

    Attributes:
        targets: the target columns.
        inputs: the input columns in their order.
        classes: whether targets are class numbers.
        categories: the values of a column, in the order of their numbers.
        offsets: subtracted from a column.
        scales: what a column is divided by afterwards.
        group: the column of group labels, or None.
    """

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    classes: bool
    categories: Mapping[str, tuple[Any, ...]]
    offsets: Mapping[str, float]
    scales: Mapping[str, float]
    group: str | None = None

    @classmethod
    def declared(
        cls,
        path: Path,
        found: Sequence[str],
        *,
        target: str | Sequence[str],
        inputs: str | Sequence[str] | None,
        task: str,
        categories: Any,
        offset: Any,
        scale: Any,
        group: str | None = None,
    ) -> Self:
        """What was declared, for a file with the columns ``found``.

        Raises:
            DataFileError: a column that is not there or both input and target, or a declaration of another
                form.
        """
        targets = names("target", target)
        if not isinstance(group, str | None):
            raise DataFileError(f"group must be the name of one column, found group={group!r}; join columns")
        no_inputs = {*targets, group}
        chosen = tuple(x for x in found if x not in no_inputs) if inputs is None else names("inputs", inputs)
        both = [x for x in chosen if x in targets]
        if both or not chosen:
            what = f"{both[0]!r} as both" if both else "none"
            raise DataFileError(f"{path} must have inputs beside its target, found {what}; name other inputs")
        listed = {name: _values(name, values) for name, values in mapping("categories", categories).items()}
        plain = [x for x in chosen if x not in listed]
        columns = cls(
            targets=targets,
            inputs=chosen,
            classes=check_task(task),
            categories=listed,
            offsets=_numbers("offset", offset, plain),
            scales=_numbers("scale", scale, plain),
            group=group,
        )
        columns.check(path, found)
        used = (*chosen, *targets)
        declarations = {"categories": listed, "offset": columns.offsets, "scale": columns.scales}
        for what, named in declarations.items():
            for name in named:
                if name not in used:
                    raise DataFileError(
                        f"{what} must name columns that are read from {path}, found {name!r}; {_shown(used)}"
                    )
        return columns

    def check(self, path: Path, found: Sequence[str]) -> None:
        """Whether a file has the columns.

        Raises:
            DataFileError: a column is not there.
        """
        for name in (*self.targets, *self.inputs, *(() if self.group is None else (self.group,))):
            if name not in found:
                raise DataFileError(f"{path} must have a column {name!r}, found none; {_shown(found)}")


def _values(column: str, values: Any) -> tuple[Any, ...]:
    kinds = {type(x) for x in values} if isinstance(values, (tuple, list)) else set()
    if len(kinds) != 1 or not kinds <= {str, int, bool} or len(set(values)) < len(values):
        raise DataFileError(
            f"categories of column {column!r} must be different values of one type, text or whole numbers, "
            f"found {values!r}; list them in the order of their numbers"
        )
    return tuple(values)


def _numbers(what: str, value: Any, plain: Sequence[str]) -> dict[str, float]:
    """A number for all plain input columns, or one a column; nothing where nothing was declared."""
    if value is None:
        return {}
    if isinstance(value, (Mapping, list, tuple)):
        named = mapping(what, value)
        return {name: declared_number(f"{what} of {name!r}", number) for name, number in named.items()}
    return dict.fromkeys(plain, declared_number(what, value))


def _shown(found: Sequence[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"the columns are {', '.join(found[:_SHOWN])}{more}"
