"""The front door for one run: any module, any torch optimiser, a privacy plan, and an epsilon."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop import accounting
from clifftop.accounting import Bound
from clifftop.batching import Examples, draw_batch
from clifftop.events import DpEvent, NoOp
from clifftop.gradients import Criterion, GradientEngine, PerExampleLoss, TapeEngine
from clifftop.gradients.base import constant_tensors, trainable_parameters
from clifftop.noise import Keyed, RunStreams, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, StepRecord, initial_state, private_gradient


@final
@dataclass(kw_only=True)
class Trainer:
    """Trains one module privately, in place.

    Attributes:
        module: any ``nn.Module`` that treats its examples independently; called ``module(*inputs)``.
        criterion: ``criterion(output, *targets)`` gives one loss an example, ``(B,)``.
        optimizer: a torch optimiser over the module's trainable parameters.
        plan: sampler, clipping, noise, neighbouring relation.
        inputs: the training data, each tensor ``(N, ...)``.
        targets: its targets, each ``(N, ...)``.
        seed: keys every random draw; by default 128 bits from the operating system. Whoever knows the
            seed can subtract the noise: one that is written down, or guessed, makes a run repeatable and
            its epsilon void for that reader. `state_dict` holds it, since a resumed run needs it.
        engine: gives the per-example gradients.
        streams: which random streams the run draws from.

    Raises:
        ValueError: the optimiser does not own exactly the module's trainable parameters, inputs and
            targets differ in length, or the plan has no event on this data.

    >>> from clifftop import Flat, Gaussian, NeighboringRelation, Poisson
    >>> plan = PrivacyPlan(
    ...     sampler=Poisson(sampling_prob=0.25),
    ...     clipping=Flat(clip_norm=1.0),
    ...     noise=Gaussian(noise_multiplier=2.0),
    ...     neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    ...     expected_batch_size=8,
    ... )
    >>> model = nn.Linear(3, 2)
    >>> trainer = Trainer(
    ...     module=model,
    ...     criterion=nn.CrossEntropyLoss(reduction="none"),
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    ...     plan=plan,
    ...     inputs=(torch.zeros(32, 3),),
    ...     targets=(torch.zeros(32, dtype=torch.long),),
    ... )
    >>> trainer.fit(steps=10)
    >>> 0 < trainer.epsilon(delta=1e-5).upper < 4
    True
    """

    module: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    plan: PrivacyPlan
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    seed: int | None = None
    engine: GradientEngine = field(default_factory=TapeEngine)
    streams: StreamKind = field(default_factory=Keyed)
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        lengths = {len(x) for x in (*self.inputs, *self.targets)}
        if len(lengths) != 1:
            raise ValueError(
                f"inputs and targets must have the same number of rows, found lengths={sorted(lengths)}"
            )
        self._parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        _require_same_parameters(self._parameters, self.optimizer)
        self._examples = Examples(
            inputs=tuple(x[None] for x in self.inputs), targets=tuple(y[None] for y in self.targets)
        )
        self.plan.event(steps=1, num_examples=self._examples.num_examples)  # refuses what cannot be claimed
        if self.seed is None:
            self.seed = secrets.randbits(128)
        self._open_streams: RunStreams = self.streams.open([self.seed])
        self._state: PrivacyState = initial_state([self.plan], next(iter(self._parameters.values())))

    def step(self) -> StepRecord:
        """One private step: gradient into ``p.grad``, then ``optimizer.step()``."""
        batch = draw_batch(self.plan.sampler, self._examples, self._open_streams, self.steps_done)
        constants = {name: value[None] for name, value in constant_tensors(self.module).items()}
        noisy, self._state, record = private_gradient(
            plan=self.plan,
            engine=self.engine,
            loss=PerExampleLoss(module=self.module, criterion=self.criterion, constants=constants),
            params={name: value[None] for name, value in trainable_parameters(self.module).items()},
            batch=batch,
            state=self._state,
            streams=self._open_streams.at(self.steps_done),
        )
        # Counted before the release: an interrupted step may cost privacy that it never used, not less.
        self.steps_done += 1
        for name, parameter in self._parameters.items():
            parameter.grad = noisy.value[name][0]
        self.optimizer.step()
        assert record is not None
        return record

    def fit(self, *, steps: int, on_step: Callable[[int, StepRecord], None] | None = None) -> None:
        """Take ``steps`` more steps; ``on_step(steps_done, record)`` is called after each."""
        for _ in range(steps):
            record = self.step()
            if on_step is not None:
                on_step(self.steps_done, record)

    def event(self) -> DpEvent:
        """What has been released so far."""
        if self.steps_done == 0:
            return NoOp()
        return self.plan.event(steps=self.steps_done, num_examples=self._examples.num_examples)

    def epsilon(self, *, delta: float) -> Bound:
        """The privacy spent so far, as an interval; report its upper end."""
        return accounting.epsilon(
            self.event(), delta=delta, neighboring_relation=self.plan.neighboring_relation
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly where this run stopped, for ``torch.save``."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps_done": self.steps_done,
            "seed": self.seed,
            "streams": self._open_streams.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` of a trainer with the same plan; its seed is taken over.

        Raises:
            ValueError: this trainer has taken steps of its own, whose cost would be forgotten.
        """
        if self.steps_done:
            raise ValueError(
                f"a run resumes in a trainer that has taken no step, found steps_done={self.steps_done}; "
                "construct a new Trainer"
            )
        self.seed = int(state["seed"])
        self._open_streams = self.streams.open([self.seed])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps_done"]
        self._open_streams.load_state(state["streams"])


def _require_same_parameters(parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """The optimiser must own exactly what the engine protects, or it would update from a stale gradient."""
    owned = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    missing = [name for name, p in parameters.items() if id(p) not in owned]
    foreign = len(owned - {id(p) for p in parameters.values()})
    if missing or foreign:
        raise ValueError(
            "the optimiser must own exactly the module's trainable parameters, found "
            f"{len(missing)} of them missing ({', '.join(missing[:3])}) and {foreign} foreign; "
            "build it from module.parameters()"
        )
