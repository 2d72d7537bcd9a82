"""From a step's number to its noisy gradient: draw, deal out, measure once, run the engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import final

import numpy as np
import torch
from torch import nn

from clifftop.checks import Checks
from clifftop.flow import Batch, ClippedSum, NoisySum
from clifftop.gradients import Criterion, GradientEngine, PerExampleLoss
from clifftop.gradients.base import constant_tensors
from clifftop.noise import RunStreams
from clifftop.parallel import Ranks, ShardStreams
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, StepRecord, Streams, Summing, private_gradient
from clifftop.sampling import Indices
from clifftop.training.data import Rows, batch_of
from clifftop.training.deferred import DeferredNoise
from clifftop.training.health import BatchWatch
from clifftop.training.microbatches import Microbatches
from clifftop.training.precision import AutocastCriterion, autocast_module

_CHECKED_ROWS = 32
_LOG = logging.getLogger(__name__)


@final
class Stepper:
    """What a step needs besides its number and the state before it.

    Args:
        module: the user's.
        criterion: the user's.
        parameters: what is trained, by the module's own names.
        plan: of the run.
        rows: the training data.
        engine: gives per-example gradients.
        summing: another way to the clipped sum, or None.
        microbatches: decides the microbatch size, at the first step.
        autocast: the dtype of the forward pass, or None.
        ranks: the processes that share each batch.
        deferred: what is trained by rows, or None.
        device: where the parameters lie.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        criterion: Criterion,
        parameters: Mapping[str, nn.Parameter],
        plan: PrivacyPlan,
        rows: Rows,
        engine: GradientEngine,
        summing: Summing | None,
        microbatches: Microbatches,
        autocast: torch.dtype | None,
        ranks: Ranks,
        deferred: DeferredNoise | None,
        device: torch.device,
    ) -> None:
        """See the class."""
        self._module, self._model, self._criterion = module, module, criterion
        if autocast is not None:
            self._model = autocast_module(module, device, autocast)
            self._criterion = AutocastCriterion(criterion, device, autocast)
        self._parameters, self._plan, self._rows = parameters, plan, rows
        self._engine, self._summing, self._microbatches = engine, summing, microbatches
        self._ranks, self._device = ranks, device
        self._deferred = deferred
        # Looking through a small module for buffers takes as long as running it.
        self._has_constants = bool(constant_tensors(module))
        self._plain_loss = PerExampleLoss(module=self._model, criterion=self._criterion)
        self.watch = BatchWatch()
        self.size: int | None = None
        self.sized = False

    def check(self, checks: Checks, optimizer: torch.optim.Optimizer) -> None:
        """Run ``checks`` on the data's first rows, and log what they warn of.

        A model with deferred tables is not checked: checks read and copy whole tables.

        Raises:
            NotPrivate: a check found a problem.
        """
        if self._deferred is not None:
            return
        count = min(_CHECKED_ROWS, self._rows.num_examples)
        batch = batch_of(self._rows, np.arange(count), self._device)
        loss = self._loss()
        report = checks(
            module=loss.module,
            criterion=loss.criterion,
            inputs=[x[0] for x in batch.inputs],
            targets=[y[0] for y in batch.targets],
            optimizer=optimizer,
            engine=self._engine,
            plan=self._plan,
            num_examples=self._rows.num_examples,
        )
        for finding in () if report is None else report.warnings:
            _LOG.warning("%s", finding.message)

    def draw(self, step: int, streams: RunStreams) -> tuple[Indices, Batch]:
        """The rows of the whole batch, and this rank's part of it."""
        rng = partial(streams.sampling, streams.seeds[0])
        indices = self._plan.sampler.batch(step, num_examples=self._rows.num_examples, rng=rng)
        return indices, batch_of(self._rows, self._ranks.shard(indices), self._device)

    def gradient(
        self,
        step: int,
        indices: Indices,
        batch: Batch,
        *,
        state: PrivacyState,
        streams: RunStreams,
        diagnose: bool,
    ) -> tuple[NoisySum, PrivacyState, StepRecord | None]:
        """The private gradient of ``step`` on ``batch``, this rank's part of the rows ``indices``."""
        params = {name: p.detach()[None] for name, p in self._parameters.items()}
        loss = self._loss()
        reading: AbstractContextManager[None] = nullcontext()
        if self._deferred is not None:
            params |= self._deferred.begin(batch)
            reading = self._deferred.reading()
            loss = self._deferred.loss(loss)
        several = self._ranks.world_size > 1
        at = streams.at(step)
        draws: Streams = at
        if several:
            draws = ShardStreams(streams=at, places=self._ranks.shard(np.arange(len(indices))))
        with reading:
            if not self.sized:
                self.size = self._microbatches.size(
                    engine=self._engine, loss=loss, params=params, batch=batch
                )
                self.sized = True
            return private_gradient(
                plan=self._plan,
                engine=self._engine,
                loss=loss,
                params=params,
                batch=batch,
                state=state,
                streams=draws,
                diagnose=diagnose,
                microbatch_size=self.size,
                reduce=self._sum_over_ranks if several else None,
                realised_size=len(indices),
                watch=self.watch,
                summing=self._summing,
            )

    def release(self, noisy: NoisySum) -> None:
        """Hand the noisy gradient to the optimiser, and to the tables at the learning rate of this step."""
        tables = () if self._deferred is None else self._deferred.names
        for name, parameter in self._parameters.items():
            parameter.grad = None if name in tables else noisy.value[name][0]
        if self._deferred is not None:
            self._deferred.apply({name: noisy.value[name] for name in tables}, float(noisy.noise_std[0]))

    def _loss(self) -> PerExampleLoss:
        if self._model is not self._module:
            self._model.training = self._module.training  # a twin has a flag of its own
        if not self._has_constants:
            return self._plain_loss
        constants = {name: value[None] for name, value in constant_tensors(self._module).items()}
        return replace(self._plain_loss, constants=constants)

    def _sum_over_ranks(self, clipped: ClippedSum) -> ClippedSum:
        self._ranks.all_reduce(list(clipped.value.values()))
        return clipped
