"""The moving parts of the runs that train together: parameters, optimiser, streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from clifftop.batching import draw_batch
from clifftop.clipping import WholeBatch
from clifftop.flow import Batch
from clifftop.gradients import GraphEngine, PerExampleLoss, TapeEngine
from clifftop.gradients.base import (
    GradientEngine,
    UnsupportedModule,
    constant_tensors,
    stack_runs,
    trainable_parameters,
)
from clifftop.lab.by_run import ByRun
from clifftop.lab.cohort.parts import build_criterion, build_metrics, build_model, examples_of, load_each
from clifftop.lab.cohort.whole_batch import WholeBatches
from clifftop.lab.evaluate import Clipping, Scores, evaluate
from clifftop.lab.optim import CohortOptimizer
from clifftop.lab.spec import RunSpec
from clifftop.noise import OwnNoise, RunStreams
from clifftop.private_gradient import StepRecord, initial_state, private_gradient


@final
class Members:
    """R runs with one static key, from their specs.

    Attributes:
        params: the runs' parameters, ``(R, ...)``.
        engine: gives their per-example gradients.
        summing: makes clipped sums; for convolutional chains by kernels of its own.
    """

    def __init__(self, specs: Sequence[RunSpec], *, device: torch.device) -> None:
        self._specs, self._device = tuple(specs), device
        spec = self._specs[0]
        self._streams = _open_streams(specs)
        by_seed = {spec.seed: spec for spec in specs}
        distinct = [by_seed[seed] for seed in self._streams.seeds]
        data = load_each(distinct)
        self._train, self._test = examples_of(data, device)
        models = [build_model(spec).to(device) for spec in distinct]
        self._module = models[0]
        self._criterion = build_criterion(spec)
        self._scores = Scores(build_metrics(spec), data, self._streams)
        self._widest = 1  # examples of a run that have gone through a step at once
        spread = self._streams.spread
        self.params = {n: spread(v).clone() for n, v in stack_runs(map(trainable_parameters, models)).items()}
        self._constants = {n: spread(v) for n, v in stack_runs(map(constant_tensors, models)).items()}
        self._plain = self._whole_batches(models)
        self._optimizer = CohortOptimizer([spec.optimizer for spec in specs], self.params)
        self._privacy = initial_state([spec.plan for spec in specs], next(iter(self.params.values())))
        self.engine: GradientEngine = TapeEngine()
        self.summing = ByRun()

    def advance(self, step: int, *, microbatch_size: int | None, per_layer: bool = False) -> StepRecord:
        """One step of every run."""
        batch = self.batch(step)
        self._widest = microbatch_size or batch.padded_size
        if self._plain is not None:
            gradient, record = self._plain.step(
                self._specs[0].plan, batch, self._streams, step, per_layer=per_layer
            )
            self._optimizer.step(gradient)
            return record
        try:
            return self._step(batch, step, microbatch_size, per_layer=per_layer)
        except UnsupportedModule:
            if isinstance(self.engine, GraphEngine):
                raise
            # The graph engine takes more models, run by run; nothing was changed by the attempt.
            self.engine = GraphEngine()
            return self._step(batch, step, microbatch_size, per_layer=per_layer)

    def _step(self, batch: Batch, step: int, microbatch_size: int | None, *, per_layer: bool) -> StepRecord:
        noisy, self._privacy, record = private_gradient(
            plan=self._specs[0].plan,
            engine=self.engine,
            loss=self.loss(),
            params=self.params,
            batch=batch,
            state=self._privacy,
            streams=self._streams.at(step),
            microbatch_size=microbatch_size,
            per_layer=per_layer,
            summing=self.summing,
        )
        self._optimizer.step(noisy)
        assert record is not None
        return record

    def batch(self, step: int) -> Batch:
        """The batches of a step."""
        return draw_batch(self._specs[0].plan.sampler, self._train, self._streams, step)

    def loss(self) -> PerExampleLoss:
        """The model and the criterion."""
        return PerExampleLoss(module=self._module, criterion=self._criterion, constants=self._constants)

    def evaluate(self) -> dict[str, Tensor]:
        """Loss and metrics of each run, ``(R,)`` each."""
        found = evaluate(
            self._module,
            {"loss": self._criterion, **self._scores.criteria},
            self.params,
            self._constants if self._plain is None else self._plain.constants(),
            tuple(map(self._streams.spread, self._test.inputs)),
            tuple(map(self._streams.spread, self._test.targets)),
            sets=self._scores.sets,
            rows=self._scores.rows,
        )
        if self._plain is not None:
            return found  # no example was clipped, or left unclipped: none was seen apart
        clipping = Clipping(
            plans=[spec.plan for spec in self._specs],
            engine=self.engine,
            summing=self.summing,
            loss=self.loss(),
            state=self._privacy,
            streams=self._streams,
            most=self._widest,
        )
        return found | self._scores.of_clipping(clipping, self.params, self._train, tuple(found))

    def finite(self) -> Tensor:
        """``(R,)`` whether every parameter of a run is finite."""
        return torch.stack([torch.isfinite(p).flatten(1).all(1) for p in self.params.values()]).all(0).cpu()

    def only(self, rows: Sequence[int]) -> Self:
        """Some of the runs, as they are now."""
        chosen = type(self)([self._specs[row] for row in rows], device=self._device)
        chosen.engine, chosen.summing = self.engine, self.summing
        index = torch.tensor(rows, device=self._device)
        for name, p in chosen.params.items():
            p.copy_(self.params[name].index_select(0, index))
        chosen._optimizer.take(self._optimizer, index)  # noqa: SLF001 - its own class
        chosen._streams.load_state(self._streams.state())  # noqa: SLF001 - its own class
        if self._plain is not None and chosen._plain is not None:  # noqa: SLF001 - its own class
            chosen._plain.load_constants(self._plain.constants(), rows)  # noqa: SLF001 - its own class
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """What a resumed cohort needs; clipping and noise hold the specs' numbers and never change."""
        trained = {} if self._plain is None else {"constants": self._plain.constants()}
        return {
            "params": self.params,
            "optimizer": self._optimizer.state_dict(),
            "streams": self._streams.state(),
            **trained,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for name, p in self.params.items():
            p.copy_(state["params"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._streams.load_state(state["streams"])
        if self._plain is not None:
            self._plain.load_constants(state["constants"], range(len(self._specs)))

    @property
    def sees_examples(self) -> bool:
        """Whether examples have gradients of their own; if not, a batch cannot go through in parts."""
        return self._plain is None

    def _whole_batches(self, models: Sequence[nn.Module]) -> WholeBatches | None:
        if not isinstance(self._specs[0].plan.clipping, WholeBatch):
            return None
        seeds = self._streams.seeds
        own = [models[seeds.index(spec.seed)] for spec in self._specs]
        return WholeBatches(own, self.params, self._criterion)


def _open_streams(specs: Sequence[RunSpec]) -> RunStreams:
    kind = specs[0].streams
    draws: RunStreams = kind.open([spec.seed for spec in specs])
    if all(spec.noise_seed is None for spec in specs):
        return draws
    return OwnNoise(draws, kind.open([spec.noise_key for spec in specs]))
