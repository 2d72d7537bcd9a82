"""Mislabelled records: the auditor sees the final model's losses, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.audit.one_run.protocol import CanaryKind, Coins, Scores
from clifftop.audit.runs import TrainingClaim
from clifftop.audit.runs.claim import claim_of
from clifftop.gradients import Criterion
from clifftop.noise import Secure, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.training import Trainer

MakeOptimizer: TypeAlias = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]

KIND = CanaryKind(
    name="mislabelled records, black box",
    sees="the whole training, but only by what the final model's losses betray, which is little",
    independent=False,
)


@final
@dataclass(frozen=True, kw_only=True)
class MislabelledRecords:
    """A training by `Trainer` of which the final model is seen; a `OneRunTraining`.

    Attributes:
        plan: of the training; Poisson sampling and Gaussian noise.
        module: the model; it is copied.
        criterion: one loss an example, without side effects.
        inputs: ``(N, ...)`` rows that are always there.
        targets: ``(N, ...)`` their targets.
        canary_inputs: ``(m, ...)`` rows of the canaries, real ones for instance.
        canary_targets: ``(m, ...)`` their targets, wrong ones as from `mislabelled`.
        steps: of the training.
        delta: at which epsilon is meant.
        lr: learning rate of the default optimiser, plain SGD.
        optimizer: makes another from parameters.
        streams: where the draws of the training come from.

    Raises:
        ValueError: the plan is of another kind.
    """

    plan: PrivacyPlan
    module: nn.Module
    criterion: Criterion
    inputs: Tensor
    targets: Tensor
    canary_inputs: Tensor
    canary_targets: Tensor
    steps: int
    delta: float = 1e-5
    lr: float = 0.1
    optimizer: MakeOptimizer | None = None
    streams: StreamKind | None = None

    def __post_init__(self) -> None:
        claim_of(self.plan, steps=self.steps, delta=self.delta)

    @property
    def claim(self) -> TrainingClaim:
        """What the plan is accounted as."""
        return claim_of(self.plan, steps=self.steps, delta=self.delta)

    @property
    def num_canaries(self) -> int:
        """How many canaries there are."""
        return len(self.canary_inputs)

    @property
    def kind(self) -> CanaryKind:
        """Mislabelled records."""
        return KIND

    def scores(self, included: Coins, *, seed: int) -> Scores:
        """Minus each canary's loss under the final model, ``(m,)``."""
        kept, module = torch.from_numpy(included), copy.deepcopy(self.module)
        make = partial(torch.optim.SGD, lr=self.lr) if self.optimizer is None else self.optimizer
        trainer = Trainer(
            module=module,
            criterion=self.criterion,
            optimizer=make(list(module.parameters())),
            plan=self.plan,
            inputs=(torch.cat((self.inputs, self.canary_inputs[kept])),),
            targets=(torch.cat((self.targets, self.canary_targets[kept])),),
            seed=seed,
            streams=Secure() if self.streams is None else self.streams,
        )
        trainer.fit(steps=self.steps)
        module.eval()
        with torch.no_grad():
            losses = self.criterion(module(self.canary_inputs), self.canary_targets)
        return -losses.cpu().numpy().astype(np.float64)


def mislabelled(targets: Tensor, *, num_classes: int, seed: int) -> Tensor:
    """A wrong class for each record, each wrong class as likely.

    >>> bool((mislabelled(torch.zeros(100, dtype=torch.long), num_classes=3, seed=0) == 0).any())
    False
    """
    shift = np.random.default_rng(seed).integers(1, num_classes, len(targets))
    return (targets + torch.from_numpy(shift).to(targets)) % num_classes
