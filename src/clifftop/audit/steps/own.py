"""Clifftop's own private step, as a step under test."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from clifftop.audit.steps.adapter import SamplingClaim, StepClaim
from clifftop.audit.steps.examples import hard_examples
from clifftop.flow import Params
from clifftop.gradients import Criterion, GradientEngine, PerExampleLoss
from clifftop.gradients.base import constant_tensors, trainable_parameters
from clifftop.gradients.graph import GraphEngine
from clifftop.noise import RunStreams, Secure, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import Streams, Summing, initial_state, private_gradient
from clifftop.sampling import Poisson
from clifftop.training.data import TensorRows, batch_of

_STEPS_A_RUN = 16


@final
@dataclass(frozen=True)
class _Silent:
    """A step's streams whose normals are all zero: what a release is without its noise, on the same way."""

    streams: Streams

    def normal(self, like: Params) -> Params:
        """Zeros."""
        return {name: torch.zeros_like(value) for name, value in like.items()}

    def add_normal(self, value: Params, std: Tensor) -> Params:
        """``value`` itself, as new tensors."""
        del std
        return {name: part.clone() for name, part in value.items()}

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """The step's own draws for the model."""
        return self.streams.uniform(label, shape, offset=offset)


@final
class OwnStep:
    """`private_gradient` under test; a `PrivateStepUnderTest` that can be sampled, too.

    Consecutive seeds are consecutive steps of a run, 16 of them; then comes the next run. What is
    released is the very `NoisySum` that a `Trainer` hands to its optimiser.
    """

    def __init__(
        self,
        *,
        plan: PrivacyPlan,
        loss: PerExampleLoss,
        rows: TensorRows,
        num_examples: int,
        engine: GradientEngine,
        streams: StreamKind,
        microbatch_size: int | None,
        summing: Summing | None,
    ) -> None:
        """Made by `ours`."""
        self._plan, self._loss, self._rows = plan, loss, rows
        self._engine, self._streams, self._summing = engine, streams, summing
        self._microbatch_size = microbatch_size
        self._params = {name: value[None] for name, value in trainable_parameters(loss.module).items()}
        self._first = next(iter(self._params.values()))
        self._opened: dict[int, RunStreams] = {}
        self._num_examples = num_examples
        self.claim = _claim_of(plan, self._params, num_examples)

    @property
    def examples(self) -> int:
        """The examples given, and the hard ones made of them."""
        return self._rows.num_examples

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The noisy sum over the batch size, flat."""
        run, step = divmod(seed, _STEPS_A_RUN)
        at = self._run(run).at(step)
        noisy, _, _ = private_gradient(
            plan=self._plan,
            engine=self._engine,
            loss=self._loss,
            params=self._params,
            batch=batch_of(self._rows, np.asarray(indices, dtype=np.int64), self._first.device),
            state=initial_state([self._plan], self._first),
            streams=at if noise else _Silent(at),
            diagnose=False,
            microbatch_size=self._microbatch_size,
            summing=self._summing,
        )
        return torch.cat([noisy.value[name][0].flatten() for name in self._params]).cpu().numpy()

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """The batch that the plan's sampler draws."""
        rng = partial(self._run(seed).sampling, seed)
        drawn = self._plan.sampler.batch(step, num_examples=self._num_examples, rng=rng)
        batch: list[int] = drawn.tolist()
        return batch

    def _run(self, seed: int) -> RunStreams:
        if seed not in self._opened:
            self._opened = {seed: self._streams.open([seed])}
        return self._opened[seed]


def ours(
    plan: PrivacyPlan,
    module: nn.Module,
    criterion: Criterion,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    *,
    engine: GradientEngine | None = None,
    streams: StreamKind | None = None,
    microbatch_size: int | None = None,
    summing: Summing | None = None,
) -> OwnStep:
    """Clifftop's step, as a `Trainer` with these parts takes it, on these examples and hard ones.

    A copy of the module is examined, with its dropout off: what is drawn for an example by its place in the
    batch has no sum to be linear in. For a trainer, pass its ``plan``, ``module``, ``criterion``, ``inputs``
    and ``targets``.

    Args:
        plan: sampler, clipping, noise and relation; its claim is what is examined.
        module: the model.
        criterion: one loss an example.
        inputs: real examples, a few dozen, each ``(N, ...)``.
        targets: their targets, each ``(N, ...)``.
        engine: gives the per-example gradients; `GraphEngine` by default, as in a `Trainer`.
        streams: where draws come from; `Secure` by default, as in a `Trainer`.
        microbatch_size: how many examples go through the engine at once; None for all.
        summing: another way to the clipped sum, or None.

    Raises:
        ValueError: the plan claims nothing: no bound on an example, or no noise.
    """
    module = copy.deepcopy(module)
    for layer in module.modules():
        if isinstance(layer, _DropoutNd):
            layer.eval()
    constants = {name: value[None] for name, value in constant_tensors(module).items()}
    hard_inputs, hard_targets = hard_examples(inputs, targets)
    return OwnStep(
        plan=plan,
        loss=PerExampleLoss(module=module, criterion=criterion, constants=constants),
        rows=TensorRows(inputs=hard_inputs, targets=hard_targets),
        num_examples=len(inputs[0]),
        engine=GraphEngine() if engine is None else engine,
        streams=Secure() if streams is None else streams,
        microbatch_size=microbatch_size,
        summing=summing,
    )


def _claim_of(plan: PrivacyPlan, params: Params, num_examples: int) -> StepClaim:
    noise_multiplier = getattr(plan.noise, "noise_multiplier", 0.0)
    if not plan.is_private:
        raise ValueError(
            f"a step must claim something to be examined, found clipping={plan.clipping} and "
            f"noise={plan.noise}; set a clip norm and a noise_multiplier above 0"
        )
    first = next(iter(params.values()))
    bound = plan.clipping.noise_scale_of(plan.clipping.init(device_of=first))
    sampling = None
    if isinstance(plan.sampler, Poisson):
        sampling = SamplingClaim(sampling_prob=plan.sampler.sampling_prob, num_examples=num_examples)
    return StepClaim(
        clip_norm=float(bound[0]),
        noise_multiplier=float(noise_multiplier),
        divisor=plan.expected_batch_size,
        relation=plan.neighboring_relation,
        parameters=tuple((name, value[0].numel()) for name, value in params.items()),
        sampling=sampling,
    )
