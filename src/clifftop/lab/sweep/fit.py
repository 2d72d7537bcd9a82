"""Whether model, data and loss fit together, seen on a few examples before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.checks import FirstExamples, NotPrivate, check
from clifftop.criteria import ClippingScore, ScoredExamples, SetScore
from clifftop.datasets import Rows, TrainTest
from clifftop.gradients import Criterion
from clifftop.lab.cohort.parts import build_criterion, build_metrics, build_model
from clifftop.lab.data import load_data
from clifftop.lab.evaluate import scored_examples
from clifftop.lab.optim import OPTIMIZERS
from clifftop.lab.spec import Factory, RunSpec, SpecError
from clifftop.lab.sweep.errors import SweepFault, factory_key, told
from clifftop.lab.sweep.fit_scores import Names, check_goal, check_scores

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep
    from clifftop.lab.sweep.search import Point

_EXAMPLES = 3
_LIMITS = FirstExamples(max_examples=_EXAMPLES, engine_examples=1, max_seconds=2.0)


@final
class Loaded:
    """The data of a sweep, loaded where they are asked for; how many rows they have is kept."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._counts: dict[Factory, tuple[int, int]] = {}

    def at(self, point: Point) -> TrainTest:
        """The data at a point.

        Raises:
            SweepFault: the factory raises, or gives no data.
        """
        seed, factory = self._sweep.value("seed", point), self._sweep.data_at(point)
        assert isinstance(seed, int)
        key = factory_key("data", factory.target)
        return _called(key, factory.target, lambda: load_data(factory, seed=seed))

    def count(self, point: Point) -> int:
        """N, the training rows at a point: those of the first seed, as every seed must give as many."""
        return self._both(point)[0]

    def count_test(self, point: Point) -> int:
        """The test rows at a point, of the first seed too."""
        return self._both(point)[1]

    def _both(self, point: Point) -> tuple[int, int]:
        factory = self._sweep.data_at(point)
        if factory not in self._counts:
            axes = self._sweep.axes_in_order
            first = {"seed": axes.listed("seed")[0]} if "seed" in axes else {}
            found = self.at({**point, **first})
            self._counts[factory] = len(found.train.targets[0]), len(found.test.targets[0])
        return self._counts[factory]


def check_fit(sweep: Sweep, points: Sequence[Point], data: Loaded) -> None:
    """Run each distinct model on a few rows of its data, and look whether it can be trained privately.

    Raises:
        SweepFault: a factory raises, or its product does not fit; the line names which.
    """
    for point in {(sweep.model_at(p), sweep.data_at(p)): p for p in reversed(points)}.values():
        spec = sweep.spec(point, num_examples=data.count(point))
        _check_one(sweep, spec, data.at(point))
        if sweep.original_model is not None:
            _check_original(spec, sweep.original_model, data.at(point))
    _check_optimizers(sweep, points)


def _check_one(sweep: Sweep, spec: RunSpec, data: TrainTest) -> None:
    model = _called("model.factory", spec.model.target, lambda: build_model(spec))
    criterion = build_criterion(spec)
    metrics = _called("metrics", "a metric", lambda: build_metrics(spec))
    named = [("criterion", spec.criterion.target, criterion)]
    for metric, score in zip(spec.metrics, metrics.values(), strict=True):
        if not isinstance(score, SetScore | ClippingScore):
            named.append(("metrics", metric.target, score))
    names: Names | None = None
    for rows in (data.test, data.train):
        few = _few(rows)
        inputs, targets = (tuple(map(torch.from_numpy, some)) for some in (few.inputs, few.targets))
        output = _forward(spec, model, inputs)
        for key, target, score in named:
            _check_score(key, target, score, output, targets)
        names = names or check_scores(spec, metrics, output, few, data)
    assert names is not None
    goal = sweep.goal.metric
    check_goal(goal, names, model=model, metrics=metrics.values(), data=data, public=sweep.public)
    try:
        check(module=model, criterion=criterion, inputs=inputs, targets=targets, limits=_LIMITS).require()
    except NotPrivate as error:
        raise SweepFault("model.factory", f"{error} (from {spec.model.target})") from error


def _check_original(spec: RunSpec, original: Factory, data: TrainTest) -> None:
    """Run the original model on a few rows; it trains on whole batches, so that it need not fit privacy."""
    key, spec = "original_model.factory", replace(spec, model=original)
    model = _called(key, original.target, lambda: build_model(spec))
    for rows in (data.test, data.train):
        few = _few(rows)
        inputs, targets = (tuple(map(torch.from_numpy, some)) for some in (few.inputs, few.targets))
        output = _forward(spec, model, inputs, key=key)
        _check_score("criterion", spec.criterion.target, build_criterion(spec), output, targets)


def _few(rows: Rows) -> ScoredExamples:
    """A few rows, that with the largest target among them: a model may have too few outputs for it."""
    first = rows.targets[0]
    largest = int(first.argmax()) // max(1, first[0].size)
    chosen = sorted({*range(min(_EXAMPLES - 1, len(first))), largest})
    return scored_examples(rows).take(np.array(chosen))


def _forward(
    spec: RunSpec, model: nn.Module, inputs: tuple[Tensor, ...], *, key: str = "model.factory"
) -> Any:
    training = model.training
    shapes = " and ".join(f"{tuple(x.shape)} {x.dtype}".replace("torch.", "") for x in inputs)
    try:
        with torch.no_grad():
            return model.eval()(*inputs)
    except Exception as error:
        raise SweepFault(
            key,
            f"must take the rows of {spec.data.target}, found {told(error)} on inputs of {shapes}; "
            f"change the options of {spec.model.target} or the data",
        ) from error
    finally:
        model.train(training)


def _check_score(key: str, target: str, score: Criterion, output: Any, targets: tuple[Tensor, ...]) -> None:
    size = len(targets[0])
    shapes = " and ".join(str(tuple(y.shape)) for y in targets)
    try:
        with torch.no_grad():
            found = score(output, *targets)
    except Exception as error:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise SweepFault(
            key,
            f"must take the model's output and the targets, found {told(error)} in {target} on outputs "
            f"{shape} and targets {shapes}; choose another, or change the model's last layer",
        ) from error
    if not isinstance(found, Tensor) or found.shape != (size,):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SweepFault(
            key,
            f"must give one number an example, ({size},) for {size} examples, found {shape} from {target}; "
            "leave out the mean over examples",
        )


def _check_optimizers(sweep: Sweep, points: Sequence[Point]) -> None:
    asked = {
        (
            str(sweep.value("optimizer", point)),
            tuple((name, value) for name, value in point.items() if name.startswith("optimizer.")),
        )
        for point in points
    }
    for name, own in sorted(asked, key=repr):
        options = {**sweep.optimizer_options, **{key.partition(".")[2]: value for key, value in own}}
        if not options:
            continue  # the first optimiser that torch makes takes a second; plain SGD needs none
        try:
            OPTIMIZERS[name]([torch.zeros(1, requires_grad=True)], lr=1.0, **options)  # type: ignore[call-arg]
        except (TypeError, ValueError, AssertionError) as error:
            raise SweepFault(
                "optimizer",
                f"must take its options, found {told(error)} from {name} with {options}; change them",
            ) from error


def _called(key: str, target: str, make: Callable[[], Any]) -> Any:
    """What a factory makes; whatever it raises is the sweep's to report."""
    try:
        return make()
    except SweepFault:
        raise
    except SpecError as error:
        raise SweepFault(key, f"{error}; mend it, or change its options") from error
    except Exception as error:
        raise SweepFault(
            key, f"must be made by {target}, found {told(error)}; mend it, or its options"
        ) from error
