r"""Input canaries: rows with one large feature that no other row has, through the whole of a real training.

The module's first layer, a linear one, gets m more inputs with weights 0, and every real row has 0 there.
Canary j is ``size`` on input j, 0 elsewhere, with a label drawn at random. In its gradient the weights of
its own input have ``size`` times the part of a bias, so that after clipping nearly all of the clip norm lies
there, where no other row's gradient is. At each step its own gradient at the current parameters gives the
direction; the released sum along it, divided by the clip norm, is noise, plus nearly 1 if the canary is in
the batch.

Where the canary's gradient vanishes, since its label is learned, the direction says nothing and the score of
that step is that of noise: fewer detections, never wrong ones. Canaries share the layers above, so that they
are not independent, and only tests for any mechanism refute a claim here.
"""

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
from clifftop.audit.runs import TrainingClaim, log_likelihood_ratios
from clifftop.audit.runs.claim import claim_of
from clifftop.audit.runs.protocol import Releases
from clifftop.clipping import Flat
from clifftop.gradients import Criterion
from clifftop.noise import Secure, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import Summing
from clifftop.training import Trainer

MakeOptimizer: TypeAlias = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]

KIND = CanaryKind(
    name="input canaries",
    sees="forward and backward pass, clipping, sampler, noise and release of every step",
    independent=False,
)
SIZE = 30.0


@final
@dataclass(frozen=True, kw_only=True)
class InputCanaries:
    """A training by `Trainer` with input canaries; a `OneRunTraining`.

    Attributes:
        plan: of the training; Poisson sampling, flat clipping, Gaussian noise.
        module: the model; it is copied.
        layer: the name, in ``module``, of the linear layer that sees the inputs.
        criterion: one loss an example, of outputs and class labels.
        inputs: ``(N, D)`` real rows.
        targets: ``(N,)`` their labels, from 0.
        num_canaries: m.
        steps: of the training.
        delta: at which epsilon is meant.
        lr: learning rate of the default optimiser, plain SGD.
        optimizer: makes another from parameters.
        size: of the one feature of a canary.
        labels_seed: draws the canaries' labels.
        streams: where the draws of the training come from.
        summing: another way to the clipped sum, or None.

    Raises:
        ValueError: the plan or the layer is of another kind.
    """

    plan: PrivacyPlan
    module: nn.Module
    layer: str
    criterion: Criterion
    inputs: Tensor
    targets: Tensor
    num_canaries: int
    steps: int
    delta: float = 1e-5
    lr: float = 0.1
    optimizer: MakeOptimizer | None = None
    size: float = SIZE
    labels_seed: int = 0
    streams: StreamKind | None = None
    summing: Summing | None = None

    def __post_init__(self) -> None:
        claim_of(self.plan, steps=self.steps, delta=self.delta)
        _scale(self.plan)
        _linear(self.module, self.layer, self.inputs[0].numel())

    @property
    def claim(self) -> TrainingClaim:
        """What the plan is accounted as."""
        return claim_of(self.plan, steps=self.steps, delta=self.delta)

    @property
    def kind(self) -> CanaryKind:
        """Input canaries."""
        return KIND

    def scores(self, included: Coins, *, seed: int) -> Scores:
        """Log-likelihood ratios of the releases along each canary's gradient, ``(m,)``."""
        return log_likelihood_ratios(self.releases(included, seed=seed)[None], self.claim)[0]

    def releases(self, included: Coins, *, seed: int) -> Releases:
        """``(T, m)`` float32, as in `clifftop.audit.runs.Observed`, of one run."""
        first = self.inputs[0].numel()
        module, layer = _widened(self.module, self.layer, first, self.num_canaries)
        rows, labels = self._canaries()
        kept = torch.from_numpy(included)
        trainer = self._trainer(module, rows[kept], labels[kept], seed)
        seen = np.empty((self.steps, self.num_canaries), dtype=np.float32)
        for step in range(self.steps):
            directions = _directions(module, layer, self.criterion, rows, labels)
            trainer.step(diagnose=False)
            released = _gradient(layer.weight)[:, first:].T
            seen[step] = (released * directions).sum(dim=1).cpu().numpy()
        return seen * np.float32(_scale(self.plan))

    def _canaries(self) -> tuple[Tensor, Tensor]:
        """``(m, D + m)`` rows and their labels."""
        first = self.inputs[0].numel()
        rows = torch.zeros(self.num_canaries, first + self.num_canaries, dtype=self.inputs.dtype)
        rows[:, first:].fill_diagonal_(self.size)
        classes = int(self.targets.max()) + 1
        labels = np.random.default_rng(self.labels_seed).integers(0, classes, self.num_canaries)
        return rows, torch.from_numpy(labels).to(self.targets.dtype)

    def _trainer(self, module: nn.Module, rows: Tensor, labels: Tensor, seed: int) -> Trainer:
        flat = self.inputs.flatten(start_dim=1)
        real = torch.cat((flat, flat.new_zeros(len(flat), self.num_canaries)), dim=1)
        make = partial(torch.optim.SGD, lr=self.lr) if self.optimizer is None else self.optimizer
        return Trainer(
            module=module,
            criterion=self.criterion,
            optimizer=make(list(module.parameters())),
            plan=self.plan,
            inputs=(torch.cat((real, rows)),),
            targets=(torch.cat((self.targets, labels)),),
            seed=seed,
            streams=Secure() if self.streams is None else self.streams,
            summing=self.summing,
        )


def _scale(plan: PrivacyPlan) -> float:
    """From a released gradient to a sum in clip norms."""
    if not isinstance(plan.clipping, Flat) or plan.expected_batch_size is None:
        raise ValueError(
            "input canaries need a constant clip norm and a constant divisor, found "
            f"clipping={plan.clipping} expected_batch_size={plan.expected_batch_size}; use Flat and a size"
        )
    return plan.expected_batch_size / plan.clipping.clip_norm


def _linear(module: nn.Module, name: str, features: int) -> nn.Linear:
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.Linear) or layer.in_features != features:
        raise ValueError(
            f"canaries need a linear layer that sees rows of {features} features, found {name}={layer}; "
            "name the first layer"
        )
    return layer


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a step must leave the released gradient in p.grad, found none; report this")
    return parameter.grad


def _widened(module: nn.Module, name: str, features: int, more: int) -> tuple[nn.Module, nn.Linear]:
    """A copy whose layer has more inputs, with weights 0."""
    module = copy.deepcopy(module)
    old = _linear(module, name, features)
    layer = nn.Linear(
        old.in_features + more, old.out_features, bias=old.bias is not None,
        dtype=old.weight.dtype, device=old.weight.device,
    )  # fmt: skip
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, : old.in_features] = old.weight
        if old.bias is not None:
            layer.bias.copy_(old.bias)
    module.set_submodule(name, layer)
    return module, layer


def _directions(
    module: nn.Module, layer: nn.Linear, criterion: Criterion, rows: Tensor, labels: Tensor
) -> Tensor:
    """``(m, H)``: of each canary's gradient in the weights of its own input, of length 1 or 0."""
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
        kept.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        losses = criterion(module(rows), labels)
    finally:
        handle.remove()
    (slopes,) = torch.autograd.grad(losses.sum(), kept[0])
    return torch.nn.functional.normalize(slopes, dim=1)
