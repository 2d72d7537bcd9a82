"""Which points of the axes a sweep trains: all of them, or some drawn at random or evenly."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep.axes import Axes
from clifftop.lab.sweep.errors import SweepFault

Point = Mapping[str, Scalar]
"""A value for each axis, by name."""

REPEATS = ("seed",)
"""Axes that are never searched: every point is trained with each of their values."""

_MOST_POINTS = 1_000_000


@final
@dataclass(frozen=True, kw_only=True)
class Scored:
    """A point that was trained, and the goal that it reached: finite, or the worst infinity."""

    point: Point
    score: float


class Search(ABC):
    """How points are chosen."""

    @abstractmethod
    def check(self, axes: Axes, *, public: bool) -> None:
        """Refuse axes that it cannot search, or not if the data are not public.

        Raises:
            SweepFault: there are such.
        """

    @abstractmethod
    def ask(self, axes: Axes, scored: Sequence[Scored]) -> tuple[Point, ...]:
        """The points to train next, given what was trained; none when done.

        What is asked follows from the arguments alone, so a search resumes by being asked again.
        """


class Fixed(Search):
    """A search whose points do not depend on what came of others."""

    @abstractmethod
    def points(self, axes: Axes) -> tuple[Point, ...]:
        """All points, each once."""

    def ask(self, axes: Axes, scored: Sequence[Scored]) -> tuple[Point, ...]:
        """See `Search.ask`."""
        return () if scored else self.points(axes)


@final
@dataclass(frozen=True, kw_only=True)
class Grid(Fixed):
    """Every combination of every value."""

    def check(self, axes: Axes, *, public: bool) -> None:
        """See `Search.check`."""
        del public
        _check_product(axes, tuple(axes))

    def points(self, axes: Axes) -> tuple[Point, ...]:
        """See `Fixed.points`."""
        return product(axes)


@final
@dataclass(frozen=True, kw_only=True)
class Random(Fixed):
    """``n`` points, each drawn by itself from the axes' laws; more of them keep the first.

    Attributes:
        n: points to draw for each combination of the crossed axes.
        seed: names the draw.
        cross: axes of which every value is trained at every point, besides seeds.
    """

    n: int
    seed: int = 0
    cross: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, {"n": 1, "seed": 0})

    def check(self, axes: Axes, *, public: bool) -> None:
        """See `Search.check`."""
        del public
        check_cross(self.cross, axes)

    def points(self, axes: Axes) -> tuple[Point, ...]:
        """See `Fixed.points`."""
        searched = axes.without((*REPEATS, *self.cross))
        drawn = [draw(searched, np.random.default_rng((self.seed, i))) for i in range(self.n)]
        return _crossed(axes, self.cross, drawn)


@final
@dataclass(frozen=True, kw_only=True)
class Sobol(Fixed):
    """``n`` points of a scrambled Sobol sequence, which fill the axes evenly; more of them keep the first.

    Source: Owen 1998, "Scrambling Sobol' and Niederreiter-Xing points"; drawn by ``scipy.stats.qmc``.

    Attributes:
        n: points for each combination of the crossed axes; a power of two fills most evenly.
        seed: names the scrambling.
        cross: axes of which every value is trained at every point, besides seeds.
    """

    n: int
    seed: int = 0
    cross: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, {"n": 1, "seed": 0})

    def check(self, axes: Axes, *, public: bool) -> None:
        """See `Search.check`."""
        del public
        check_cross(self.cross, axes)

    def points(self, axes: Axes) -> tuple[Point, ...]:
        """See `Fixed.points`."""
        from scipy.stats import qmc

        searched = axes.without((*REPEATS, *self.cross))
        if not searched:
            return _crossed(axes, self.cross, [{}])
        rows = qmc.Sobol(len(searched), rng=np.random.default_rng(self.seed)).random_base2(
            math.ceil(math.log2(self.n))
        )
        taken = [
            {name: axis.at(float(u)) for (name, axis), u in zip(searched.items(), row, strict=True)}
            for row in rows[: self.n]
        ]
        return _crossed(axes, self.cross, taken)


def draw(axes: Axes, rng: np.random.Generator) -> Point:
    """One point from the axes' laws, each axis by itself."""
    return {name: axis.at(float(rng.random())) for name, axis in axes.items()}


def product(axes: Axes) -> tuple[Point, ...]:
    """Every combination of every value, the last axis fastest."""
    listed = [axes.listed(name) for name in axes]
    return tuple(dict(zip(axes, values, strict=True)) for values in itertools.product(*listed))


def _crossed(axes: Axes, cross: Sequence[str], points: Sequence[Point]) -> tuple[Point, ...]:
    """Every point with every value of the crossed axes, each once, in the axes' order."""
    kept = product(axes.only((*REPEATS, *cross)))
    whole = [in_order(axes, {**fixed, **point}) for fixed in kept for point in points]
    return tuple({tuple(map(repr, point.values())): point for point in whole}.values())


def in_order(axes: Axes, point: Mapping[str, Scalar]) -> Point:
    """The point with its axes in their order."""
    return {name: point[name] for name in axes}


def check_settings(search: Any, least: Mapping[str, int]) -> None:
    """Refuse a number below its least, and crossed axes that are no list."""
    for name, low in least.items():
        value = getattr(search, name)
        if type(value) is not int or not low <= value <= _MOST_POINTS * 1000:
            raise SweepFault(
                f"search.{name}", f"must be a whole number >= {low}, found {value!r}; write a number"
            )
    if search.n > _MOST_POINTS:
        raise SweepFault(
            "search.n", f"must be at most {_MOST_POINTS}, found {search.n}; ask for fewer points"
        )
    names = search.cross
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SweepFault("search.cross", f"must be a list of axes, found {names!r}; write ['target_epsilon']")
    object.__setattr__(search, "cross", tuple(names))


def check_cross(cross: Sequence[str], axes: Axes) -> None:
    """Refuse crossed axes that are not there, or that are ranges without values."""
    for name in cross:
        if name not in axes:
            raise SweepFault(
                "search.cross",
                f"must name axes of this sweep, found {name!r}; use {', '.join(axes) or 'none'}",
            )
    _check_product(axes, (*REPEATS, *cross))


def _check_product(axes: Axes, names: Sequence[str]) -> None:
    """Refuse a range without values, and more points than a sweep can hold."""
    count = math.prod(len(axes.listed(name)) for name in axes if name in names)
    if count > _MOST_POINTS:
        raise SweepFault(
            "axes", f"must make at most {_MOST_POINTS} points, found {count}; give fewer values, or a search"
        )
