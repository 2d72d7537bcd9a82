"""Whether the metrics of a sweep can be taken of its model and data, and by what names they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.criteria import ClippingScore, ScoredExamples, SetScore
from clifftop.datasets import TrainTest
from clifftop.gradients.base import constant_tensors, stack_runs, trainable_parameters
from clifftop.lab.evaluate import Metric, evaluate, scored_examples
from clifftop.lab.spec import RunSpec
from clifftop.lab.sweep.errors import SweepFault, told
from clifftop.vocabulary import is_part

_SHOWN = 12  # names in an error


@final
@dataclass(frozen=True, kw_only=True)
class Names:
    """Names under which metrics are recorded.

    Attributes:
        of_test: of scores of test rows, the loss among them.
        of_clipping: of scores of what clipping does to training rows.
    """

    of_test: frozenset[str]
    of_clipping: frozenset[str]


def check_scores(
    spec: RunSpec, metrics: Mapping[str, Metric], output: Any, few: ScoredExamples, data: TrainTest
) -> Names:
    """Take each set score of a few test rows, and each clipping score of the training rows it looks at.

    Args:
        spec: names the metrics.
        metrics: built, in their order.
        output: of the model on a few test rows.
        few: these rows.
        data: all rows.

    Raises:
        SweepFault: a score that fails, or two of one name.
    """
    test, clipping = ["loss"], list[str]()
    for metric, (name, score) in zip(spec.metrics, metrics.items(), strict=True):
        if isinstance(score, SetScore):
            test += _checked(metric.target, lambda score=score: _of_few(score, output, few))
        elif isinstance(score, ClippingScore):
            clipping += _checked(metric.target, lambda score=score: _of_chosen(score, data))
        else:
            test.append(name)
    _refuse_repeated([*test, *clipping])
    return Names(of_test=frozenset(test), of_clipping=frozenset(clipping))


def check_goal(
    goal: str, names: Names, *, model: nn.Module, metrics: Iterable[Metric], data: TrainTest, public: bool
) -> None:
    """Whether the metric that the best run is chosen by is recorded, and may choose.

    Raises:
        SweepFault: it is not, or may not.
    """
    if goal in names.of_clipping and not public:
        raise SweepFault(
            "objective",
            f"must be a score of test rows, found {goal!r}, which private training rows decide; "
            "look at it, and choose by another",
        )
    known = set(names.of_test | names.of_clipping)
    if goal not in known and is_part(goal):  # a class or group that a few rows may not have
        known |= set(_of_all(model, [m for m in metrics if isinstance(m, SetScore)], data))
    if goal not in known:
        listed = sorted(known)
        more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        raise SweepFault(
            "objective",
            f"must be a name that is recorded, found {goal!r}; there are {', '.join(listed[:_SHOWN])}{more}",
        )


def _of_few(score: SetScore, output: Any, few: ScoredExamples) -> list[str]:
    kept = score.keep(output, *(torch.from_numpy(y) for y in few.targets))
    size = len(few.targets[0])
    if not isinstance(kept, Tensor) or kept.shape[:1] != (size,):
        shape = tuple(kept.shape) if isinstance(kept, Tensor) else type(kept).__name__
        raise ValueError(f"keep must give a row an example, ({size}, ...), found {shape}")
    return _names(score.values(kept.numpy(), few))


def _of_chosen(score: ClippingScore, data: TrainTest) -> list[str]:
    rows = scored_examples(data.train)
    chosen = rows.take(score.chosen(rows))
    return _names(score.values(np.ones((len(chosen.targets[0]), 1), dtype=np.float32), chosen))


def _of_all(model: nn.Module, sets: list[SetScore], data: TrainTest) -> Iterable[str]:
    """The names of set scores of all test rows, with the model as it is."""
    test = data.test
    inputs, targets = ([torch.from_numpy(x)[None] for x in some] for some in (test.inputs, test.targets))
    params, constants = (stack_runs([some(model)]) for some in (trainable_parameters, constant_tensors))
    rows = [scored_examples(test)]
    return evaluate(model, {}, params, constants, inputs, targets, sets=sets, rows=rows)


def _names(found: object) -> list[str]:
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, int | float) for name, value in found.items()
    ):
        raise ValueError(f"values must give a mapping from names to numbers, found {found!r}")
    return list(found)


def _checked(target: str, names: Callable[[], list[str]]) -> list[str]:
    try:
        with torch.no_grad():
            return names()
    except Exception as error:
        raise SweepFault(
            "metrics",
            f"must fit the model's outputs and the data, found {told(error)} in {target}; "
            "choose another, or change the data",
        ) from error


def _refuse_repeated(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SweepFault(
                "metrics",
                f"must have names of their own, found {name!r} twice; remove one",
            )
