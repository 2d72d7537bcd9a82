"""Clifftop's own engines, each driven by what a user calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.flow import Batch, ClippedSum, NoisySum
from clifftop.gradients import GradientEngine, PerExampleLoss
from clifftop.gradients.base import constant_tensors, trainable_parameters
from clifftop.noise import Gaussian, Secure
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.sampling import FixedOrder
from steps.base import Engine, Phase


class Clifftop(Engine):
    """What every way of calling the library shares: the plan and the optimiser."""

    def prepare(self) -> None:
        """A fixed order of one batch: no draw differs between engines but the noise."""
        self.plan = PrivacyPlan(
            sampler=FixedOrder(batch_size=self.task.batch_size),
            clipping=Flat(clip_norm=self.settings.clip_norm),
            noise=Gaussian(noise_multiplier=self.settings.noise_multiplier),
            neighboring_relation=NeighboringRelation.ZERO_OUT,
            expected_batch_size=float(self.task.batch_size),
        )
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=self.settings.lr)


class ByTrainer(Clifftop):
    """``Trainer.step`` at its defaults, as `Trainer.fit` takes it: the draw of the batch is in its price."""

    def prepare(self) -> None:
        """A trainer over one batch of data."""
        from clifftop.training import Trainer

        super().prepare()
        self.trainer = Trainer(
            module=self.module,
            criterion=self.task.criterion,
            optimizer=self.optimizer,
            plan=self.plan,
            inputs=self.inputs,
            targets=self.targets,
        )

    def step(self) -> None:
        """One step."""
        self.trainer.step(diagnose=False)


class BySteps(Clifftop):
    """``private_gradient`` and the optimiser, with one gradient engine."""

    @abstractmethod
    def gradient_engine(self) -> GradientEngine:
        """The engine."""

    def prepare(self) -> None:
        """The engine, the batch with its run axis, the states."""
        super().prepare()
        self.engine = self.gradient_engine()
        self.batch = Batch(
            inputs=tuple(x[None] for x in self.inputs),
            targets=tuple(y[None] for y in self.targets),
            mask=torch.ones(1, self.task.batch_size, dtype=torch.bool),
        )
        constants = {name: value[None] for name, value in constant_tensors(self.module).items()}
        self.loss = PerExampleLoss(module=self.module, criterion=self.task.criterion, constants=constants)
        self.params = {name: p[None] for name, p in trainable_parameters(self.module).items()}
        self.owned = dict(self.module.named_parameters())
        self.state = initial_state([self.plan], next(iter(self.params.values())))
        self.streams = Secure().open([0])
        self.done = 0

    def step(self) -> None:
        """Private gradient, update."""
        noisy, self.state, _ = private_gradient(
            plan=self.plan,
            engine=self.engine,
            loss=self.loss,
            params=self.params,
            batch=self.batch,
            state=self.state,
            streams=self.streams.at(self.done),
            diagnose=False,
        )
        self.done += 1
        self.update(noisy)

    def update(self, noisy: NoisySum) -> None:
        """The optimiser's step on the noisy gradient."""
        for name, parameter in self.owned.items():
            parameter.grad = noisy.value[name][0]
        self.optimizer.step()

    def phases(self) -> Iterator[Phase]:
        """The parts of `private_gradient`, one after another; the forward pass is also timed alone."""
        kept: dict[str, Any] = {}
        groups = self.plan.clipping.groups(self.params)
        streams = self.streams.at(self.done)
        self.done += 1

        def forward() -> None:
            with torch.enable_grad():
                self.task.criterion(self.module(*self.inputs), *self.targets)

        def engine() -> None:
            with torch.no_grad():
                kept["grads"] = self.engine(self.loss, self.params, self.batch, groups, streams)

        def norms() -> None:
            with torch.no_grad():
                squares = kept["grads"].sq_norms()
                kept["weights"] = self.plan.clipping.weights(squares, self.batch.mask, self.state.clipping)

        def contraction() -> None:
            with torch.no_grad():
                bound = self.plan.clipping.norm_bound(self.state.clipping)
                value = kept["grads"].weighted_sum(kept["weights"])
                kept["sum"] = ClippedSum(value=value, norm_bound=bound)

        def noise() -> None:
            with torch.no_grad():
                kept["noisy"], _ = self.plan.noise(kept["sum"], self.state.noise, streams)

        yield "forward alone", forward
        yield "forward and backward to outputs", engine
        yield "norms", norms
        yield "contraction", contraction
        yield "noise", noise
        yield "update", lambda: self.update(kept["noisy"])


class ByTape(BySteps):
    """The functional tape."""

    def gradient_engine(self) -> GradientEngine:
        """The tape."""
        from clifftop.gradients import TapeEngine

        return TapeEngine()


class ByGraph(BySteps):
    """The walk of the autograd graph."""

    def gradient_engine(self) -> GradientEngine:
        """The walk."""
        from clifftop.gradients.graph import GraphEngine

        return GraphEngine()


class ByPrivateStep(Clifftop):
    """The bare `PrivateStep`, its whole step captured as one graph where that can be."""

    compiled = False

    def prepare(self) -> None:
        """The step."""
        from clifftop.capture.graphs import Graphs
        from clifftop.capture.step import PrivateStep

        super().prepare()
        self.private_step = PrivateStep(
            module=self.module,
            criterion=self.task.criterion,
            optimizer=self.optimizer,
            plan=self.plan,
            graphs=Graphs(compiled=self.compiled),
        )

    def step(self) -> None:
        """One step."""
        self.private_step(self.inputs, self.targets)


class ByCompiledStep(ByPrivateStep):
    """The same graph compiled."""

    compiled = True


class ByTables(ByPrivateStep):
    """Tables by the rows that are read, their noise deferred, in a captured `PrivateStep`."""

    def model(self) -> nn.Module:
        """The model whose tables may be deferred."""
        return self.task.model(sparse=True)

    def prepare(self) -> None:
        """The step, with the tables apart."""
        from clifftop.capture.step import PrivateStep
        from clifftop.tables import DeferredTables

        Clifftop.prepare(self)
        self.tables = DeferredTables(self.module, self.optimizer, seed=0)
        self.private_step = PrivateStep(
            module=self.module,
            criterion=self.task.criterion,
            optimizer=self.optimizer,
            plan=self.plan,
            tables=self.tables,
        )

    def settled(self) -> dict[str, Tensor]:
        """The parameters after the rows that no step read got their noise."""
        self.tables.flush()
        return self.parameters()

    def phases(self) -> Iterator[Phase]:
        """The step, and the pass over the tables that comes once, before a release."""
        yield "step", self.step
        yield "flush before a release", self.tables.flush
