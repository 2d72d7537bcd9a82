"""The learning rate as data: one torch optimiser steps R runs with R learning rates.

For an optimiser whose step is proportional to its learning rate, a step at lr = 1 on stacked
``(R, ...)`` tensors, scaled by each run's own lr, equals R separate steps. SGD (momentum, weight
decay), Adam, AdamW, RMSprop, Adagrad and NAdam are of this kind; Adafactor is not. The test
``tests/lab/test_optim.py`` decides which names stand here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from clifftop.flow import NoisySum, Params
from clifftop.lab.spec import OptimizerSpec, SpecError

OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "nadam": torch.optim.NAdam,
}
"""Optimisers that may train a cohort, by the name a spec uses."""


@final
class CohortOptimizer:
    """One optimiser over R runs that share its settings, each with its own learning rate.

    Args:
        specs: one a run; all but ``lr`` equal.
        params: the runs' parameters, ``(R, ...)``, updated in place by `step`.

    Raises:
        SpecError: the name is not in `OPTIMIZERS`, or an option is not the optimiser's.
    """

    def __init__(self, specs: Sequence[OptimizerSpec], params: Params) -> None:
        spec = specs[0]
        if spec.name not in OPTIMIZERS:
            raise SpecError(
                f"name must be an optimiser of a cohort, found name={spec.name!r}; "
                f"use one of {', '.join(OPTIMIZERS)}"
            )
        self._params = params
        first = next(iter(params.values()))
        self._lr = torch.tensor([s.lr for s in specs], device=first.device, dtype=first.dtype)
        # Plain SGD has no state and its step is lr times the gradient: no second copy is needed.
        self._plain = spec.name == "sgd" and not any(spec.options.values())
        self._shadow = {} if self._plain else {name: p.clone() for name, p in params.items()}
        self._optimizer = None if self._plain else _build(spec, self._shadow)

    @torch.no_grad()
    def step(self, gradient: NoisySum) -> None:
        """Update every run's parameters from its noisy gradient."""
        if self._optimizer is None:
            for name, p in self._params.items():
                p.addcmul_(gradient.value[name], self._column(p), value=-1)
            return
        for name, shadow in self._shadow.items():
            shadow.copy_(self._params[name])
            shadow.grad = gradient.value[name]
        self._optimizer.step()
        for name, p in self._params.items():
            p.addcmul_(self._shadow[name] - p, self._column(p))

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's own state; empty for plain SGD."""
        return {} if self._optimizer is None else self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state)

    def take(self, other: CohortOptimizer, rows: Tensor) -> None:
        """Go on from the state of runs ``rows`` of another cohort's optimiser, with the same settings."""
        saved = other.state_dict()
        runs = len(other._lr)

        def chosen(value: object) -> object:
            if not isinstance(value, Tensor):
                return value
            per_run = value.dim() > 0 and len(value) == runs
            return value.index_select(0, rows) if per_run else value.clone()  # a count of steps

        if saved:
            state = {p: {name: chosen(v) for name, v in of.items()} for p, of in saved["state"].items()}
            self.load_state_dict({**saved, "state": state})

    def _column(self, like: Tensor) -> Tensor:
        return self._lr.view(-1, *(1,) * (like.dim() - 1))


def _build(spec: OptimizerSpec, shadow: Params) -> torch.optim.Optimizer:
    try:
        return OPTIMIZERS[spec.name](list(shadow.values()), lr=1.0, **spec.options)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"options must be {spec.name}'s own, found options={dict(spec.options)} ({error})"
        ) from error
