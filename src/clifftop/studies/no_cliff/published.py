"""The paper's own accounting and random streams, kept to reproduce its numbers.

UNSOUND: `epsilon_as_published` is no bound on anything. It fills one column of one table, beside the
true values, and nothing else may use it. What is wrong with it:

- for orders below 2, ``comb(int(order), 2)`` is 0, so they cost nothing and epsilon can never exceed
  ``ln(1 / delta) / (1.5 - 1)``, which is 23.03, however small the noise;
- where ``(order - 1) / sigma^2 > 500``, an expansion for small sampling probabilities replaces the
  formula; it is not an upper bound;
- it credits amplification by Poisson sampling, and the batches were in fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.flow import Params
from clifftop.noise import RunStreams, StreamKind

ORDERS = (1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


def epsilon_as_published(noise_multiplier: float, sampling_prob: float, steps: int, delta: float) -> float:
    """Epsilon by the paper's formula. UNSOUND: see the module's first lines.

    >>> round(epsilon_as_published(1.0, 64 / 400, 140, 1e-5), 2)
    4.8
    """
    if noise_multiplier == 0:
        return math.inf
    return min(
        steps * _rdp_as_published(noise_multiplier, sampling_prob, order) - math.log(delta) / (order - 1)
        for order in ORDERS
    )


def _rdp_as_published(sigma: float, q: float, order: float) -> float:
    if (order - 1) / sigma**2 > 500:
        return q**2 * order / (2 * sigma**2)
    pairs = math.comb(int(order), 2)
    # exp(1 / sigma^2) overflows only where the branch above is taken, but for orders below 1.25.
    growth = min(4 * math.expm1(1 / sigma**2), math.expm1((order - 1) / sigma**2)) if pairs else 0.0
    return math.log1p(q**2 * pairs * growth) / (order - 1)


@final
class PublishedStreams(RunStreams):
    """One sequential torch generator a seed, read as the paper's program reads the global one.

    A data loader draws one integer at the start of every epoch; each step then draws one normal
    tensor a parameter, in the order of the parameters. Draws depend on the seed alone, so all runs
    of a seed share them.
    """

    def __init__(self, seeds: Sequence[int], steps_per_epoch: int) -> None:
        super().__init__(seeds)
        self._steps_per_epoch = steps_per_epoch
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self._next_step = 0

    def flat_normals(self, step: int, like: Params) -> Tensor:
        """Standard normals ``(S, P)``; steps are read in order."""
        if step < self._next_step:
            raise ValueError(
                f"a sequential stream cannot go back, found step={step} after {self._next_step - 1}"
            )
        shapes = [value.shape[1:] for value in like.values()]
        rows = torch.empty(len(self.seeds), sum(shape.numel() for shape in shapes))
        while self._next_step <= step:
            for row, generator in zip(rows, self._generators, strict=True):
                self._draw_step(row, generator, shapes)
            self._next_step += 1
        return rows

    def state(self) -> dict[str, Tensor]:
        """The generators' states and the next step."""
        states = {str(seed): g.get_state() for seed, g in zip(self.seeds, self._generators, strict=True)}
        return states | {"next_step": torch.tensor(self._next_step)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        for seed, generator in zip(self.seeds, self._generators, strict=True):
            generator.set_state(state[str(seed)])
        self._next_step = int(state["next_step"])

    def _draw_step(self, row: Tensor, generator: torch.Generator, shapes: Sequence[torch.Size]) -> None:
        if self._next_step % self._steps_per_epoch == 0:
            torch.empty((), dtype=torch.int64).random_(generator=generator)
        start = 0
        for shape in shapes:
            part = row[start : start + shape.numel()].view(shape)
            torch.randn(shape, generator=generator, out=part)
            start += shape.numel()


@final
@dataclass(frozen=True)
class Published(StreamKind):
    """`PublishedStreams`, as a value a spec can hold."""

    steps_per_epoch: int

    def open(self, seeds: Sequence[int]) -> RunStreams:
        """The streams of runs with these seeds, one a run."""
        return PublishedStreams(seeds, self.steps_per_epoch)
