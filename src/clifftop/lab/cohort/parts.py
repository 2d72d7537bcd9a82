"""What a spec names, built: model, examples, criterion and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.batching import Examples
from clifftop.datasets import Rows, TrainTest
from clifftop.gradients import Criterion
from clifftop.lab.data import load_data
from clifftop.lab.evaluate import Metric, build_metric
from clifftop.lab.spec import Factory, RunSpec, SpecError


def build_model(spec: RunSpec) -> nn.Module:
    """The model of a run, initialised from its seed without touching the global generator.

    Raises:
        SpecError: the factory gives no module.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        model = spec.model.resolve()(**spec.model.options)
    if not isinstance(model, nn.Module):
        raise SpecError(
            f"model must be a torch.nn.Module, found {type(model).__name__} from {spec.model.target}"
        )
    return model


def build_criterion(spec: RunSpec) -> Criterion:
    """The per-example loss."""
    return _bound(spec.criterion)


def build_metrics(spec: RunSpec) -> Mapping[str, Metric]:
    """The scores by their names: those under which means of per-example scores are recorded."""
    return {name: build_metric(metric) for name, metric in zip(spec.metric_names, spec.metrics, strict=True)}


def load_each(specs: Sequence[RunSpec]) -> list[TrainTest]:
    """The data of the distinct seeds; once if they do not depend on the seed."""
    data = [load_data(spec.data, seed=spec.seed) for spec in specs]
    return data[:1] if all(d is data[0] for d in data) else data


def examples_of(data: Sequence[TrainTest], device: torch.device) -> tuple[Examples, Examples]:
    """Training and test examples."""
    return _stacked(data, lambda d: d.train, device), _stacked(data, lambda d: d.test, device)


def _stacked(data: Sequence[TrainTest], rows: Callable[[TrainTest], Rows], device: torch.device) -> Examples:
    def stack(columns: Sequence[tuple[np.ndarray[Any, Any], ...]]) -> tuple[Tensor, ...]:
        # One data set is not copied: these are the arrays themselves.
        return tuple(
            torch.from_numpy(same[0])[None].to(device)
            if len(same) == 1
            else torch.stack([torch.from_numpy(x) for x in same]).to(device)
            for same in zip(*columns, strict=True)
        )

    return Examples(
        inputs=stack([rows(d).inputs for d in data]), targets=stack([rows(d).targets for d in data])
    )


def _bound(factory: Factory) -> Criterion:
    found = factory.resolve()
    return partial(found, **factory.options) if factory.options else found
