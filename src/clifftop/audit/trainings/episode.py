"""One training of a user's own trainer, step by step, with a restart in it if that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import nn

from clifftop.accounting import Ledger
from clifftop.audit.trainings.adapter import Array, Data, UnusableTraining
from clifftop.audit.trainings.listening import Heard, Listener
from clifftop.checks import NoChecks
from clifftop.events import DpEvent, FixedOrder, SelfComposed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder as InOrder
from clifftop.sampling import Poisson
from clifftop.training import CheckpointError, Trainer

MakeTrainer = Callable[[list[int], int], Trainer]
"""``make_trainer(rows, seed)`` gives a new trainer of these rows of the private data."""
OnTrainer = Callable[[Trainer], object]
OnFile = Callable[[Trainer, Path], object]

_NEVER = 1e-300
"""A sampling probability at which no batch that will ever be drawn has an example."""
_PARTS = 1_000
"""More than the restarts of a training: each part's draws from torch's own generator are its own."""


@final
@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a user makes a trainer, takes a step with it, saves it and loads it."""

    make: MakeTrainer
    step: OnTrainer
    save: OnFile
    load: OnFile


@final
@dataclass(kw_only=True)
class Episode:
    """One training.

    Attributes:
        ways: the user's.
        rows: of the private data.
        data: which of them are drawn; `Data.NONE` for none.
        seed: given to ``make_trainer``.
        folder: an empty one, for checkpoints and a ledger.
        fed: ``(T, K)`` releases in place of the trainer's own, or None.
        keys: seeds of the trainers, one of each part, in place of the user's.
        checked: whether the trainer's own checks are made.
        trainer: the current one.
        heard: every release so far.
        parameters: those after each release.
        charged: how many releases were paid for, after each release.
        rates: the numbers of the optimiser's groups, after each release.
    """

    ways: Ways
    rows: list[int]
    data: Data
    seed: int
    folder: Path
    fed: Array | None = None
    keys: Sequence[int] = ()
    checked: bool = False
    heard: list[Heard] = field(default_factory=list[Heard], init=False)
    parameters: list[Array] = field(default_factory=list[Array], init=False)
    charged: list[int] = field(default_factory=list[int], init=False)
    rates: list[dict[str, float]] = field(default_factory=list[dict[str, float]], init=False)
    seeds: list[int] = field(default_factory=list[int], init=False)

    def __post_init__(self) -> None:
        self._ledger: Ledger | None = None
        self.trainer, self._listener = self._made()

    def __enter__(self) -> Episode:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def advance(self, steps: int, *, stop_at: int | None) -> Episode:
        """Take so many steps, with a restart before step ``stop_at``."""
        for number in range(steps):
            if number == stop_at:
                self._restart()
            self._step()
        return self

    def _made(self) -> tuple[Trainer, Listener]:
        """A new trainer, whose ledger is the training's own and whose releases are heard."""
        part = len(self.seeds)
        torch.manual_seed((_PARTS * self.seed + part) % 2**63)
        made = self.ways.make(list(self.rows), self.seed)
        if made.ledger is not None and self._ledger is None:
            self._ledger = Ledger.create(
                self.folder / "audit.ledger",
                dataset="audit",
                neighboring_relation=made.plan.neighboring_relation,
                delta=made.ledger.delta,
            )
        seed = self.keys[part] if part < len(self.keys) else made.seed
        assert seed is not None  # a trainer has drawn one
        self.seeds.append(seed)
        none = self.data is Data.NONE
        listener = Listener(made.summing, empty=none)
        trainer = replace(
            made,
            plan=_never_drawing(made.plan) if none else made.plan,
            seed=seed,
            summing=listener,
            ranks=listener,
            ledger=self._ledger,
            checks=made.checks if self.checked else NoChecks(),
        )
        for name in vars(made).keys() - vars(trainer).keys():
            setattr(trainer, name, getattr(made, name))  # what a user has hung on it
        return trainer, listener

    def _restart(self) -> None:
        file = self.folder / f"checkpoint-{len(self.seeds)}"
        self.ways.save(self.trainer, file)
        self.trainer, self._listener = self._made()
        try:
            self.ways.load(self.trainer, file)
        except CheckpointError as error:
            raise UnusableTraining(
                f"a trainer must load what one that was made alike has saved, found that it does not: {error}"
            ) from error

    def _step(self) -> None:
        fed = self.fed
        row = None if fed is None else fed[min(len(self.heard), len(fed) - 1)]
        trained = trained_of(self.trainer.module)
        with self._listener.listening(self.trainer.optimizer, trained, row) as heard:
            self.ways.step(self.trainer)
        if len(heard) > 1:
            raise UnusableTraining(
                f"step(trainer) must take one step of the trainer, found {len(heard)} releases; take one"
            )
        for one in heard:
            self.heard.append(one)
            self.parameters.append(
                np.concatenate([p.detach().double().flatten().cpu().numpy() for p in trained.values()])
            )
            self.charged.append(self._paid())
            self.rates.append(_rates(self.trainer.optimizer))

    def _paid(self) -> int:
        """How many of the releases the trainer's event pays for; where its ledger differs, what that says."""
        made, trainer = len(self.heard), self.trainer
        counted = paid([trainer.event()], trainer.plan, trainer.num_examples, made)
        if self._ledger is None or counted != made:
            return counted
        entries = [entry.event for entry in self._ledger.entries]
        return paid(entries, trainer.plan, trainer.num_examples, made)


def trained_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def paid(events: Iterable[DpEvent], plan: PrivacyPlan, num_examples: int, made: int) -> int:
    """How many steps of a plan these events account for, where ``made`` were made.

    An epoch in a fixed order is one release, so events are then in whole epochs, paid ahead.
    """
    one = plan.event(steps=1, num_examples=num_examples)
    if isinstance(plan.sampler, InOrder) and isinstance(one, FixedOrder):
        epochs = sum(e.participations for e in events if isinstance(e, FixedOrder) and e.event == one.event)
        return min(made, epochs * plan.sampler.steps_per_epoch(num_examples))
    alike = [e for e in events if isinstance(e, SelfComposed) and isinstance(one, SelfComposed)]
    return sum(e.count for e in alike if replace(e, count=1) == one)


def _never_drawing(plan: PrivacyPlan) -> PrivacyPlan:
    """The plan with a sampler that draws nobody; in a fixed order nobody is handed on, as with any other."""
    if isinstance(plan.sampler, Poisson):
        return replace(plan, sampler=Poisson(sampling_prob=_NEVER))
    return plan


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate, momentum and other numbers of each group."""
    found: dict[str, float] = {}
    for place, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            single = isinstance(value, torch.Tensor) and value.numel() == 1
            if single or (isinstance(value, (int, float)) and not isinstance(value, bool)):
                found[f"{key} of the optimiser's group {place}"] = float(value)
    return found
