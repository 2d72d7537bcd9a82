"""What a `Trainer` does, heard at the places that it offers: its ranks, its summing, its optimiser's step."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from clifftop.audit.trainings.adapter import Array, UnusableTraining
from clifftop.flow import Batch, Params
from clifftop.gradients import GradientEngine, PerExampleLoss
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Streams, Summed, Summing, clipped_sum
from clifftop.sampling import Indices
from clifftop.training.snapshot import state_of


@final
@dataclass(frozen=True, kw_only=True)
class Heard:
    """One release.

    Attributes:
        value: ``(K,)`` what the optimiser was handed: the noisy sum over the batch size.
        noise: ``(K,)`` the noise in it, up to the rounding of ``value``.
        batch: the examples of the step.
        clipping: the numbers of the clipping rule that the step went by.
    """

    value: Array
    noise: Array
    batch: tuple[int, ...]
    clipping: Mapping[str, Array]


@final
class Listener:
    """The one rank of a trainer, and its summing: both do what they did, and are listened to.

    Args:
        summing: the trainer's own, or None.
        empty: whether nobody of a batch is handed on.
    """

    def __init__(self, summing: Summing | None, *, empty: bool) -> None:
        self._summing = clipped_sum if summing is None else summing
        self._empty = empty
        self._batch: tuple[int, ...] = ()
        self._clean: Params | None = None
        self._clipping: Mapping[str, Array] = {}

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def world_size(self) -> int:
        """1."""
        return 1

    def shard(self, indices: Indices) -> Indices:
        """The whole batch, or nobody; it is noted."""
        part = indices[:0] if self._empty else indices
        self._batch = tuple(part.tolist())
        return part

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""
        del tensors

    def agree(self, what: str, value: bytes) -> None:
        """One rank always agrees."""
        del what, value

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
        """The clipped sum, which is noted before any noise is added."""
        self._clipping = dict(_numbers("clipping", state_of(state.clipping)))
        summed = self._summing(
            plan,
            engine,
            loss,
            params,
            batch,
            state,
            streams,
            diagnose=diagnose,
            microbatch_size=microbatch_size,
        )
        size = plan.expected_batch_size or max(1, len(self._batch))
        # Divided as the step divides, so that a sum without noise is equal to the bit. (Nobody's sum is 0.)
        self._clean = {
            name: value / value.new_full((1,) * value.dim(), size)
            for name, value in summed.clipped.value.items()
        }
        return summed

    @contextmanager
    def listening(
        self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], fed: Array | None
    ) -> Generator[list[Heard]]:
        """Within it, what ``optimizer`` is handed is noted, and replaced by ``fed`` where that is given.

        Before any hook of the optimiser's own: those see a release, and work on it.
        """
        heard: list[Heard] = []

        def hook(stepping: torch.optim.Optimizer, *_: Any) -> None:
            # An optimiser whose step calls that of its base class comes here twice with one release.
            if stepping is optimizer and self._clean is not None:
                heard.append(self._released(self._clean, parameters, fed))
                self._clean = None

        handle = register_optimizer_step_pre_hook(hook)
        try:
            yield heard
        finally:
            handle.remove()

    def _released(self, clean: Params, parameters: Mapping[str, nn.Parameter], fed: Array | None) -> Heard:
        grads = {name: parameter.grad for name, parameter in parameters.items()}
        there = [grad for grad in grads.values() if grad is not None]
        if len(there) != len(grads):
            name = next(name for name, grad in grads.items() if grad is None)
            raise UnusableTraining(
                f"a trainer must hand its optimiser a gradient of every parameter, found none of '{name}'; "
                "set none of them to None"
            )
        value = _flat(there)
        if fed is not None:
            parts = torch.from_numpy(fed).split([grad.numel() for grad in there])
            for grad, part in zip(there, parts, strict=True):
                grad.copy_(part.view_as(grad))
        return Heard(
            value=value,
            noise=value - _flat([clean[name][0] for name in grads]),
            batch=self._batch,
            clipping=self._clipping,
        )


def _flat(values: Sequence[Tensor]) -> Array:
    return np.concatenate([value.detach().double().flatten().cpu().numpy() for value in values])


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    """All numbers in a state of plain values, by their path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(f"{name}.{key}", item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(f"{name}.{place}", item)
    elif isinstance(value, (Tensor, int, float)):
        yield name, torch.as_tensor(value).detach().double().flatten().cpu().numpy()
