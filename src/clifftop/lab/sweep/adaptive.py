"""A search that looks at what was trained before it asks for more: optuna, by its ask and tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, final

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep.axes import Axes
from clifftop.lab.sweep.axis import Axis, Between, Counted, Scale
from clifftop.lab.sweep.errors import SweepFault
from clifftop.lab.sweep.search import (
    REPEATS,
    Point,
    Scored,
    Search,
    check_cross,
    check_settings,
    in_order,
    product,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_LEVELS = ("noise_multiplier", "target_epsilon")
_PRICED = ("expected_batch_size", "epochs", "steps")
_ATTEMPTS = 10  # to find a point that was not trained yet, where there are few left


@final
@dataclass(frozen=True, kw_only=True)
class Optuna(Search):
    """Rounds of points that optuna's tree-structured Parzen estimator asks for, given the earlier ones.

    Each round is trained together. What a round asks follows from the seed and the scores so far: a search
    that was interrupted is told of the runs that the store holds and goes on. Source of the estimator:
    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization". Needs the extra ``optuna``.

    The points depend on scores of earlier runs, so the search costs what all its runs cost together. That
    composition holds for settings chosen on the way only if noise, batches and steps are not among them:
    such axes must be crossed, unless the data are public.

    Attributes:
        n: distinct points to train for each combination of the crossed axes.
        seed: names the draws.
        round_size: points asked for at a time.
        cross: axes of which every value is searched by itself, besides seeds, over which scores are averaged.
    """

    n: int
    seed: int = 0
    round_size: int = 8
    cross: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_settings(self, {"n": 1, "seed": 0, "round_size": 1})

    def check(self, axes: Axes, *, public: bool) -> None:
        """See `Search.check`."""
        check_cross(self.cross, axes)
        for name in axes:
            if name in self.cross or name in REPEATS:
                continue
            if name in _LEVELS:
                raise SweepFault(
                    "search.cross",
                    f"must hold {name} where optuna searches, found it left out: the search would choose the "
                    f'least private; write cross = ["{name}"]',
                )
            if not public and (name in _PRICED or name.startswith("data.")):
                raise SweepFault(
                    "search.cross",
                    f"must hold {name} where optuna searches private data, found it left out: scores must "
                    f'not decide what a run costs; write cross = ["{name}"]',
                )
        if not self._searched(axes):
            raise SweepFault(
                "search.kind", "must have an axis to search, found all of them crossed; use kind = 'grid'"
            )

    def ask(self, axes: Axes, scored: Sequence[Scored]) -> tuple[Point, ...]:
        """See `Search.ask`."""
        repeats = product(axes.only(REPEATS))
        asked: list[Point] = []
        for level in product(axes.only(self.cross)):
            own = [one for one in scored if all(one.point[name] == value for name, value in level.items())]
            asked += [{**level, **point} for point in self._new(self._searched(axes), own)]
        return tuple(in_order(axes, {**repeat, **point}) for repeat in repeats for point in asked)

    def _searched(self, axes: Axes) -> Axes:
        return axes.without((*REPEATS, *self.cross))

    def _new(self, axes: Axes, scored: Sequence[Scored]) -> list[Point]:
        """A round of points that are not among those that were trained; none when there are enough."""
        known = {_key(axes, one.point) for one in scored}
        found: dict[tuple[str, ...], Point] = {}
        wanted = min(self.round_size, self.n - len(known))
        for attempt in range(_ATTEMPTS):
            if len(found) >= wanted:
                break
            for point in _asked(axes, scored, wanted, seed=self.seed + (len(known) << 8) + attempt):
                if _key(axes, point) not in known and len(found) < wanted:
                    found.setdefault(_key(axes, point), point)
        return list(found.values())


def _key(axes: Axes, point: Point) -> tuple[str, ...]:
    return tuple(repr(point[name]) for name in axes)


def _law(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match axis:
        case Between(whole=True):
            return IntDistribution(int(axis.low), int(axis.high), log=axis.scale is Scale.LOG)
        case Between():
            return FloatDistribution(axis.low, axis.high, log=axis.scale is Scale.LOG)
        case Counted(step=step) if step > 0:
            first, last = axis.values()[0], axis.values()[-1]
            assert isinstance(first, int)
            assert isinstance(last, int)
            return IntDistribution(first, last, step=step)
        case _:
            return CategoricalDistribution(axis.values())


def _asked(axes: Axes, scored: Sequence[Scored], count: int, *, seed: int) -> list[Point]:
    """``count`` points from a study that was told of all scores."""
    optuna = _optuna()
    laws = {name: _law(axis) for name, axis in axes.items()}
    level, verbosity = optuna.logging.WARNING, optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)  # it would announce every study
    try:
        sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: one.point[name] for name in axes}, distributions=laws, value=one.score
                )
                for one in scored
            ]
        )
        taken = [study.ask(laws).params for _ in range(count)]
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [{name: _written(axis, point[name]) for name, axis in axes.items()} for point in taken]


def _written(axis: Axis, value: Scalar) -> Scalar:
    return axis.rounded(value) if isinstance(axis, Between) and isinstance(value, int | float) else value


def _optuna() -> ModuleType:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise SweepFault(
            "search.kind", f"needs the package {error.name}; run: pip install 'clifftop[optuna]'"
        ) from error
    return optuna
