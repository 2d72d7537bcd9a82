"""Clifftop's own trainings, many at once, with canaries that go through its sampler, noise and streams."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.audit.runs.claim import TrainingClaim, claim_of
from clifftop.audit.runs.protocol import Flags, Observed
from clifftop.flow import Batch, ClippedSum, NoisySum, Params
from clifftop.gradients import Criterion, GradientEngine, PerExampleLoss, TapeEngine
from clifftop.gradients.base import constant_tensors, trainable_parameters
from clifftop.noise import RunStreams, Secure, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import (
    PrivacyState,
    Streams,
    Summed,
    Summing,
    clipped_sum,
    initial_state,
    private_gradient,
)
from clifftop.sampling import Indices

CANARIES = "clifftop.canaries"
"""The name of the canaries' coordinates among the parameters."""
_PAD_TO = 8

MakeOptimizer: TypeAlias = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def seeds_of(seed: int, runs: int) -> list[int]:
    """Seeds of as many runs, 256 bits each, all different from those of another ``seed``."""
    return [
        int.from_bytes(hashlib.sha256(f"clifftop/audit/{seed}/{run}".encode()).digest())
        for run in range(runs)
    ]


@final
@dataclass(frozen=True)
class _WithCanaries:
    """A way to the clipped sum that adds canaries to it: each a gradient of the clip norm on its own axis.

    Attributes:
        summing: the way without them.
        added: ``(R, k)`` 1 for each canary that is in this batch.
    """

    summing: Summing
    added: Tensor

    def __call__(
        self,
        plan: PrivacyPlan,
        engine: GradientEngine,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        state: PrivacyState,
        streams: Streams,
        *,
        diagnose: bool,
        microbatch_size: int | None,
    ) -> Summed:
        """The clipped sum with its canaries."""
        summed = self.summing(
            plan, engine, loss, params, batch, state, streams,
            diagnose=diagnose, microbatch_size=microbatch_size,
        )  # fmt: skip
        clip_norms = plan.clipping.noise_scale_of(state.clipping)
        value = summed.clipped.value | {CANARIES: self.added * clip_norms[:, None]}
        return replace(summed, clipped=replace(summed.clipped, value=value))


class _Releasing:
    """Runs between two steps: hands over the next noisy sum."""

    def __init__(self, plan: PrivacyPlan, streams: RunStreams) -> None:
        self._plan, self._streams = plan, streams

    def release(self, step: int, drawn: Sequence[Indices], added: Tensor) -> Tensor:
        """The released sum along the canaries, divided by the clip norm, ``(R, k)``."""
        raise NotImplementedError


@final
class _Model(_Releasing):
    """R models that train on the same rows from the same start."""

    def __init__(
        self, plan: PrivacyPlan, streams: RunStreams, parts: _Parts, loss: PerExampleLoss, runs: int
    ) -> None:
        super().__init__(plan, streams)
        self._parts = parts
        module = loss.module
        self._params = {n: _stacked(v, runs).clone() for n, v in trainable_parameters(module).items()}
        constants = {n: _stacked(v, runs) for n, v in constant_tensors(module).items()}
        self._loss = replace(loss, constants=constants)
        self._optimizer = parts.optimizer(self._params.values())
        self._first = next(iter(self._params.values()))
        self._state = initial_state([plan] * runs, self._first)

    def release(self, step: int, drawn: Sequence[Indices], added: Tensor) -> Tensor:
        """By `private_gradient`; then the optimiser takes its step."""
        noisy, self._state, _ = private_gradient(
            plan=self._plan,
            engine=self._parts.engine,
            loss=self._loss,
            params=self._params,
            batch=_batch(self._parts.inputs, self._parts.targets, drawn),
            state=self._state,
            streams=self._streams.at(step),
            diagnose=False,
            summing=_WithCanaries(self._parts.summing, added.to(self._first)),
        )
        seen = noisy.value.pop(CANARIES)
        for name, p in self._params.items():
            p.grad = noisy.value[name]
        self._optimizer.step()
        return seen * self._scale(seen, drawn)

    def _scale(self, like: Tensor, drawn: Sequence[Indices]) -> Tensor:
        """``(R, 1)`` divisor over clip norm: what makes the release a sum in units of the clip norm."""
        size = self._plan.expected_batch_size
        clip = self._plan.clipping.noise_scale_of(self._state.clipping)
        divisor = [size if size is not None else max(1, len(rows)) for rows in drawn]
        return (torch.tensor(divisor, dtype=like.dtype, device=like.device) / clip)[:, None]


@final
class _Coordinates(_Releasing):
    """The canaries' coordinates alone: sampling, noise and streams as in a training, no model."""

    def release(self, step: int, drawn: Sequence[Indices], added: Tensor) -> Tensor:
        """By the plan's noise mechanism."""
        del drawn
        ones = torch.ones(len(added), dtype=added.dtype)
        state = self._plan.noise.stack([self._plan.noise.init(device_of=added)] * len(added))
        total = ClippedSum(value={CANARIES: added}, norm_bound=ones)
        noisy: NoisySum
        noisy, _ = self._plan.noise(total, state, self._streams.at(step))
        return noisy.value[CANARIES]


@final
@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What the runs of a training share."""

    engine: GradientEngine
    summing: Summing
    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    optimizer: MakeOptimizer


@final
class OwnTraining:
    """Clifftop's trainings under test; a `TrainingUnderTest`. Made by `ours` and `canaries_alone`."""

    def __init__(
        self,
        *,
        plan: PrivacyPlan,
        claim: TrainingClaim,
        num_canaries: int,
        num_examples: int,
        streams: StreamKind,
        begin: Callable[[RunStreams, int], _Releasing],
    ) -> None:
        """Made by `ours`."""
        self.claim = claim
        self.num_canaries = num_canaries
        self._plan, self._num_examples = plan, num_examples
        self._streams, self._begin = streams, begin

    def observe(self, present: Flags, *, seed: int) -> Observed:
        """Train ``len(present)`` models at once, each with streams of its own."""
        runs, steps = len(present), self.claim.steps
        streams = self._streams.open(seeds_of(seed, runs))
        training = self._begin(streams, runs)
        releases = np.empty((runs, steps, self.num_canaries), dtype=np.float32)
        drawn = np.zeros((runs, steps, self.num_canaries), dtype=np.bool_)
        for step in range(steps):
            rows: list[Indices] = []
            for run, own in enumerate(streams.seeds):
                indices = self._plan.sampler.batch(
                    step,
                    num_examples=self._num_examples + self.num_canaries,
                    rng=partial(streams.sampling, own),
                )
                of_data = indices < self._num_examples
                rows.append(indices[of_data])
                drawn[run, step, indices[~of_data] - self._num_examples] = True
            added = torch.from_numpy((drawn[:, step] & present).astype(np.float32))
            releases[:, step] = training.release(step, rows, added).cpu().numpy()
        return Observed(releases=releases, present=present, drawn=drawn)


def ours(
    plan: PrivacyPlan,
    module: nn.Module,
    criterion: Criterion,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    *,
    num_canaries: int,
    steps: int,
    delta: float = 1e-5,
    lr: float = 0.1,
    optimizer: MakeOptimizer | None = None,
    engine: GradientEngine | None = None,
    streams: StreamKind | None = None,
    summing: Summing | None = None,
    claim: TrainingClaim | None = None,
) -> OwnTraining:
    """Clifftop's training with these parts: real rows, sampler, per-example gradients, noise and optimiser.

    Every step of every run is `private_gradient`. The canaries have places in the data after the rows, so
    the sampler draws them as it draws rows. One that is drawn and present adds a gradient of exactly the
    clip norm on an axis of its own, after clipping: the worst gradient that clipping lets through, in a
    direction that no row moves along. What clips rows is therefore not audited here; `check_step` does it.

    Args:
        plan: sampler, clipping, noise and relation.
        module: the model; it is copied, and every run starts from it.
        criterion: one loss an example.
        inputs: the rows, each ``(N, ...)``.
        targets: their targets, each ``(N, ...)``.
        num_canaries: k, canaries a run; each costs the noise of one parameter.
        steps: of each run.
        delta: at which epsilon is meant.
        lr: learning rate of the default optimiser, plain SGD.
        optimizer: makes another from parameters ``(R, ...)``; it must act coordinate by coordinate.
        engine: gives the per-example gradients of all runs; `TapeEngine` by default, as in a cohort.
        streams: where draws come from; `Secure` by default, as in a `Trainer`.
        summing: another way to the clipped sum, or None.
        claim: what is audited; by default what ``plan`` is accounted as.

    Raises:
        ValueError: the plan claims nothing that can be audited this way: it needs Poisson sampling, a bound
            on each example, Gaussian noise, and a relation under which an example may be missing.
    """
    module = copy.deepcopy(module)
    chosen = claim_of(plan, steps=steps, delta=delta) if claim is None else claim
    loss = PerExampleLoss(module=module, criterion=criterion, constants={})
    parts = _Parts(
        engine=TapeEngine() if engine is None else engine,
        summing=clipped_sum if summing is None else summing,
        inputs=tuple(inputs),
        targets=tuple(targets),
        optimizer=partial(torch.optim.SGD, lr=lr) if optimizer is None else optimizer,
    )
    return OwnTraining(
        plan=plan,
        claim=chosen,
        num_canaries=num_canaries,
        num_examples=len(inputs[0]),
        streams=Secure() if streams is None else streams,
        begin=lambda opened, runs: _Model(plan, opened, parts, loss, runs),
    )


def canaries_alone(
    plan: PrivacyPlan,
    *,
    num_canaries: int,
    steps: int,
    delta: float = 1e-5,
    streams: StreamKind | None = None,
    claim: TrainingClaim | None = None,
) -> OwnTraining:
    """The canaries of `ours` without a model: sampler, noise mechanism and streams, at less cost.

    What happens in the model, the clipping or the optimiser is not seen.

    Arguments and errors as `ours` has them.
    """
    return OwnTraining(
        plan=plan,
        claim=claim_of(plan, steps=steps, delta=delta) if claim is None else claim,
        num_canaries=num_canaries,
        num_examples=0,
        streams=Secure() if streams is None else streams,
        begin=lambda opened, _: _Coordinates(plan, opened),
    )


def _batch(inputs: Sequence[Tensor], targets: Sequence[Tensor], drawn: Sequence[Indices]) -> Batch:
    """Each run's rows, padded with row 0 and masked."""
    width = max(_PAD_TO, -(-max(map(len, drawn)) // _PAD_TO) * _PAD_TO)
    rows = np.zeros((len(drawn), width), dtype=np.int64)
    mask = np.zeros((len(drawn), width), dtype=np.bool_)
    for row, kept, own in zip(rows, mask, drawn, strict=True):
        row[: len(own)] = own
        kept[: len(own)] = True
    index = torch.from_numpy(rows)

    def taken(data: Tensor) -> Tensor:
        return data.index_select(0, index.flatten().to(data.device)).unflatten(0, index.shape)

    return Batch(
        inputs=tuple(map(taken, inputs)),
        targets=tuple(map(taken, targets)),
        mask=torch.from_numpy(mask).to(inputs[0].device),
    )


def _stacked(value: Tensor, runs: int) -> Tensor:
    return value.detach()[None].expand(runs, *value.shape)
