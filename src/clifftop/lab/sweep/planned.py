"""What a sweep would train, found out without training anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from clifftop.lab.arms import arm_of
from clifftop.lab.cohort import cohort_size, static_key
from clifftop.lab.contract import RunSetting
from clifftop.lab.spec import RunSpec
from clifftop.lab.sweep.base import Sweep
from clifftop.lab.sweep.fit import Loaded, check_fit
from clifftop.lab.sweep.privacy import epsilon_of
from clifftop.lab.sweep.search import Fixed, Point
from clifftop.lab.tuning.streams import SecretStreams
from clifftop.vocabulary import Arm


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run, where it lies on the axes, and what it costs alone."""

    spec: RunSpec
    setting: RunSetting


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that can train together.

    Attributes:
        runs: how many there are, counterfactuals included.
        baselines: how many of them are not private: baselines and other counterfactuals.
        cohorts: into how many they are cut so that each fits memory.
        steps: of each run.
        expected_batch_size: of each run.
        shared: the axes on which they all have one value.
        least_epsilon: of their private runs, each alone, from above; infinite without one.
        greatest_epsilon: of the same.
        neighboring_relation: of both.
    """

    runs: int
    baselines: int
    cohorts: int
    steps: int
    expected_batch_size: float
    shared: Point
    least_epsilon: float
    greatest_epsilon: float
    neighboring_relation: str


@final
@dataclass(frozen=True, kw_only=True)
class PlannedSweep:
    """What a sweep would train.

    Attributes:
        num_examples: N, the fewest training rows of any run.
        groups: runs that can train together.
        more: whether a search will add runs after it has seen these.
    """

    num_examples: int
    groups: tuple[Group, ...]
    more: bool

    @property
    def runs(self) -> int:
        """Runs in all."""
        return sum(group.runs for group in self.groups)

    @property
    def run_steps(self) -> int:
        """Steps of all runs."""
        return sum(group.runs * group.steps for group in self.groups)


def with_secret(found: Sequence[Entry], secret: int) -> list[Entry]:
    """The same runs with batches, dropout and noise that hang on a secret besides their seeds."""
    specs = [replace(entry.spec, streams=SecretStreams(secret)) for entry in found]
    return [
        Entry(spec=spec, setting=replace(entry.setting, run_id=spec.id))
        for spec, entry in zip(specs, found, strict=True)
    ]


def entries(sweep: Sweep, points: Sequence[Point], data: Loaded) -> list[Entry]:
    """The runs at these points, each once, counterfactuals included."""
    found = {spec.id: (spec, point) for spec, point in sweep.entries(tuple(points), data.count)}
    return [
        Entry(spec=spec, setting=_setting(sweep, spec, point, data.count(point)))
        for spec, point in found.values()
    ]


def prepare(sweep: Sweep) -> tuple[list[Entry], Loaded]:
    """The runs of the first round, and the data; everything that can be found wrong beforehand is.

    Raises:
        SweepFault: model, data and loss do not fit together, a factory raises, or a setting cannot be.
    """
    data = Loaded(sweep)
    points = sweep.search.ask(sweep.axes_in_order, ())
    check_fit(sweep, points, data)
    return entries(sweep, points, data), data


def plan_sweep(sweep: Sweep) -> PlannedSweep:
    """What `train_sweep` would train; model and data are built, and nothing is trained or written.

    Raises:
        SweepFault: as `train_sweep`.
    """
    found, data = prepare(sweep)
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        groups.setdefault(static_key(entry.spec), []).append(entry)
    return PlannedSweep(
        num_examples=min(data.count(entry.setting.point) for entry in found),
        groups=tuple(map(_group, groups.values())),
        more=not isinstance(sweep.search, Fixed),
    )


def _group(found: Sequence[Entry]) -> Group:
    spec = found[0].spec
    private = [entry.setting for entry in found if arm_of(entry.spec) is Arm.BOTH]
    size = spec.plan.expected_batch_size
    assert size is not None
    points = [setting.point for setting in private] or [entry.setting.point for entry in found]
    return Group(
        runs=len(found),
        baselines=len(found) - len(private),
        cohorts=math.ceil(len(found) / cohort_size(spec)),
        steps=spec.steps,
        expected_batch_size=size,
        shared={
            name: value for name, value in points[0].items() if all(point[name] == value for point in points)
        },
        least_epsilon=min((setting.epsilon_upper for setting in private), default=math.inf),
        greatest_epsilon=max((setting.epsilon_upper for setting in private), default=math.inf),
        neighboring_relation=spec.plan.neighboring_relation.value,
    )


def _setting(sweep: Sweep, spec: RunSpec, point: Point, num_examples: int) -> RunSetting:
    relation = spec.plan.neighboring_relation
    event = spec.plan.event(steps=spec.steps, num_examples=num_examples)
    bound = epsilon_of(event, delta=sweep.delta, neighboring_relation=relation)
    return RunSetting(
        run_id=spec.id,
        point=dict(point),
        delta=sweep.delta,
        epsilon_lower=bound.lower,
        epsilon_upper=bound.upper,
        neighboring_relation=relation.value,
    )
