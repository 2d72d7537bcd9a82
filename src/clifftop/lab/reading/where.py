"""A condition on runs in a small language, as a polars expression: ``lr > 0.1 and clip_norm == 1``.

The text is parsed by Python's own grammar and never executed: only the nodes that are named here have a
meaning, and every name must be a column of the table. A value that is not known, or that is not a
number, satisfies no comparison, and neither does its negation; ``is null`` and ``is nan`` ask for it.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import polars as pl

_LONGEST = 10_000
_SHOWN = 80  # characters of it that an error repeats
_MANY = 12  # names that an error lists

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_WORDS: Mapping[str, object] = {"null": None, "nan": math.nan, "inf": math.inf, "true": True, "false": False}


class ConditionError(ValueError):
    """A condition that cannot be read, in one line."""


def condition(text: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The polars expression of a condition on a table's columns.

    Comparisons (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, also chained) of columns, numbers, ``inf``,
    strings, ``true`` and ``false``; ``in [..]`` and ``not in [..]``; ``is null``, ``is not null``,
    ``is nan``, ``is not nan``; ``and``, ``or``, ``not`` and brackets. A column of booleans is a condition
    by itself.

    Args:
        text: the condition.
        schema: the table's columns and their types.

    Raises:
        ConditionError: the text is no such condition, or names no column of the table.

    >>> table = pl.DataFrame({"lr": [0.1, 1.0, None], "model.width": [8, 16, 32]})
    >>> table.filter(condition("lr >= 0.1 and not model.width == 8", table.schema))["lr"].to_list()
    [1.0]
    >>> table = pl.DataFrame({"accuracy[group=old]": [0.5, 0.9]})
    >>> table.filter(condition("accuracy[group=old] > 0.6", table.schema)).height
    1
    """
    if len(text) > _LONGEST:
        raise ConditionError(
            f"a condition must have at most {_LONGEST} characters, found {len(text)}; filter in Python"
        )
    text = text.strip()
    plain, names = _with_plain_names(text, schema)
    try:
        with warnings.catch_warnings(action="ignore"):  # an odd escape in a string is no fault of the table
            tree = ast.parse(plain, mode="eval")
        return _Reader(plain, schema, names).condition(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ConditionError):
            raise
        remedy = "== to compare" if _has_single_equals(text) else "for example: lr > 0.1 and seed in [0, 1]"
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise ConditionError(f"a condition must be an expression, found {shown!r}; write {remedy}") from error


def known_column(name: str, columns: Iterable[str], *, more: str = "") -> str:
    """``name``, if it is a column; ``more`` goes behind the error.

    Raises:
        ConditionError: it is none; names the nearest one.
    """
    names = list(columns)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    some = ", ".join(names[:_MANY]) + (", ..." if len(names) > _MANY else "")
    hint = f"did you mean {close[0]}?" if close else f"there are {some}"
    raise ConditionError(f"a column must be one of the table's, found {name!r}; {hint}{more}")


@final
@dataclass(frozen=True, kw_only=True)
class _Operand:
    """One side of a comparison, with its name and its kind for people."""

    expression: pl.Expr
    kind: str
    name: str


@final
class _Reader:
    def __init__(self, text: str, schema: Mapping[str, pl.DataType], names: Mapping[str, str]) -> None:
        self._text, self._schema, self._names = text, schema, names

    def condition(self, node: ast.expr) -> pl.Expr:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return pl.all_horizontal([self.condition(value) for value in values])
            case ast.BoolOp(op=ast.Or(), values=values):
                return pl.any_horizontal([self.condition(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.condition(operand)
            case ast.Compare(left=left, ops=ops, comparators=rights):
                pairs = zip(ops, [left, *rights[:-1]], rights, strict=True)
                return pl.all_horizontal([self._compare(*pair) for pair in pairs])
            case _:
                operand = self._operand(node)
                if operand.kind != "true or false":
                    raise ConditionError(
                        f"a condition must compare, found {self._source(node)} alone; "
                        f"write for example: {operand.name} == ..."
                    )
                return operand.expression

    def _compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> pl.Expr:
        if isinstance(op, ast.Is | ast.IsNot):
            return self._is(left, right, negated=isinstance(op, ast.IsNot))
        if isinstance(op, ast.In | ast.NotIn):
            return self._is_in(left, right, negated=isinstance(op, ast.NotIn))
        first, second = self._operand(left), self._operand(right)
        self._check_kinds(first, second)
        return _COMPARISONS[type(op)](first.expression, second.expression)

    def _is(self, left: ast.expr, right: ast.expr, *, negated: bool) -> pl.Expr:
        name, word = self._column_name(left), right.id if isinstance(right, ast.Name) else None
        if isinstance(right, ast.Constant) and right.value is None:
            word = "null"
        if name is None or word not in {"null", "nan"}:
            raise ConditionError(
                f"'is' must stand between a column and null or nan, found "
                f"{self._source(left)} is {self._source(right)}; write == to compare values"
            )
        column = pl.col(known_column(name, self._schema))
        if word == "null":
            return column.is_not_null() if negated else column.is_null()
        if not self._schema[name].is_float():
            return pl.lit(negated)
        return column.is_not_nan() if negated else column.is_nan()

    def _is_in(self, left: ast.expr, right: ast.expr, *, negated: bool) -> pl.Expr:
        operand = self._operand(left)
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
            raise ConditionError(
                f"'in' needs a list of values, found {self._source(right)}; write for example: seed in [0, 1]"
            )
        equal: list[pl.Expr] = []
        for item in right.elts:
            value = self._operand(item)
            self._check_kinds(operand, value)
            equal.append(operand.expression == value.expression)
        return ~pl.any_horizontal(equal) if negated else pl.any_horizontal(equal)

    def _operand(self, node: ast.expr) -> _Operand:
        name = self._column_name(node)
        if name is not None and (name in self._schema or name not in _WORDS):
            dtype = self._schema[known_column(name, self._schema, more="; text stands in quotes")]
            column = pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
            return _Operand(expression=column, kind=_kind_of(dtype), name=name)
        found, value = _constant(node)
        if not found or value is None or (isinstance(value, float) and math.isnan(value)):
            raise ConditionError(
                f"a value must be a column, a number, a string, true or false, found {self._source(node)}; "
                "write 'is null' or 'is nan' for what has no value, and strings in quotes"
            )
        if isinstance(value, int) and abs(value) >= 2**63:
            value = float(value)
        kind = "true or false" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
        return _Operand(expression=pl.lit(value), kind=kind, name=self._source(node))

    def _check_kinds(self, first: _Operand, second: _Operand) -> None:
        if first.kind != second.kind:
            raise ConditionError(
                f"both sides of a comparison must be of one kind, found {first.name} ({first.kind}) and "
                f"{second.name} ({second.kind}); strings stand in quotes, numbers do not"
            )

    def _source(self, node: ast.expr) -> str:
        source = ast.get_source_segment(self._text, node) or ast.unparse(node)
        for plain, name in self._names.items():
            source = source.replace(plain, name)
        return source

    def _column_name(self, node: ast.expr) -> str | None:
        """``model.width`` is one name: an axis of a sweep may have a dot in its own."""
        match node:
            case ast.Name(id=name):
                return self._names.get(name, name)
            case ast.Attribute(value=value, attr=attribute):
                owner = self._column_name(value)
                return None if owner is None else f"{owner}.{attribute}"
            case _:
                return None


def _with_plain_names(text: str, columns: Iterable[str]) -> tuple[str, Mapping[str, str]]:
    """The text with names that Python has not (``accuracy[class=3]``) replaced, and what stands for them."""
    plain = {name: f"_column_{place}_" for place, name in enumerate(columns) if "[" in name}
    if not plain:
        return text, {}
    longest_first = sorted(plain, key=len, reverse=True)
    found = re.compile("|".join(["'[^']*'", '"[^"]*"', *map(re.escape, longest_first)]))
    replaced = found.sub(lambda match: plain.get(match[0], match[0]), text)
    return replaced, {standing: name for name, standing in plain.items()}


def _constant(node: ast.expr) -> tuple[bool, Any]:
    match node:
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str) or value is None:
            return True, value
        case ast.Name(id=name) if name in _WORDS:
            return True, _WORDS[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            found, value = _constant(operand)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return found and number, (-value if number and isinstance(sign, ast.USub) else value)
        case _:
            return False, None


def _kind_of(dtype: pl.DataType) -> str:
    if dtype.is_numeric():
        return "number"
    return "true or false" if dtype == pl.Boolean() else "text"


def _has_single_equals(text: str) -> bool:
    padded = f" {text} "
    return any(
        padded[at] == "=" and padded[at - 1] not in "=!<>" and padded[at + 1] != "="
        for at in range(1, len(padded) - 1)
    )
