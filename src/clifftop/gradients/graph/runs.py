"""Several runs as single ones, one after another, and their gradients joined again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from clifftop.flow import Batch, Params, PerExampleGrads
from clifftop.gradients.base import PerExampleLoss


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of several: every tensor keeps a first axis of size 1."""

    loss: PerExampleLoss
    params: Params
    batch: Batch
    uniforms: tuple[Tensor, ...]


def single_runs(
    loss: PerExampleLoss, params: Params, batch: Batch, uniforms: Sequence[Tensor]
) -> Iterator[Run]:
    """Each run alone."""
    for r in range(batch.num_runs):
        one = slice(r, r + 1)
        yield Run(
            loss=replace(loss, constants={name: c[one] for name, c in loss.constants.items()}),
            params={name: p[one] for name, p in params.items()},
            batch=Batch(
                inputs=tuple(x[one] for x in batch.inputs),
                targets=tuple(y[one] for y in batch.targets),
                mask=batch.mask[one],
            ),
            uniforms=tuple(u[one] for u in uniforms),
        )


def join_runs(runs: Sequence[PerExampleGrads]) -> PerExampleGrads:
    """The gradients of all runs, in order."""
    return runs[0] if len(runs) == 1 else JoinedGrads(tuple(runs))


@final
@dataclass(frozen=True)
class JoinedGrads:
    """Per-example gradients of several runs, each held by itself."""

    runs: tuple[PerExampleGrads, ...]

    @property
    def losses(self) -> Tensor:
        """``(R, B)``."""
        return torch.cat([run.losses for run in self.runs])

    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(R, B, G)``."""
        return torch.cat([run.sq_norms() for run in self.runs])

    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(R, B, G)``."""
        sums = [run.weighted_sum(w) for run, w in zip(self.runs, weights.split(1), strict=True)]
        return {name: torch.cat([total[name] for total in sums]) for name in sums[0]}


def doubled(batch: Batch) -> Batch:
    """A batch of one with its example once more, as padding."""
    return Batch(
        inputs=tuple(x.repeat_interleave(2, 1) for x in batch.inputs),
        targets=tuple(y.repeat_interleave(2, 1) for y in batch.targets),
        mask=torch.cat([batch.mask, torch.zeros_like(batch.mask)], 1),
    )


@final
@dataclass(frozen=True)
class FirstExample:
    """Per-example gradients of the first example alone."""

    grads: PerExampleGrads

    @property
    def losses(self) -> Tensor:
        """``(R, 1)``."""
        return self.grads.losses[:, :1]

    def sq_norms(self) -> Tensor:
        """Squared L2 norms, ``(R, 1, G)``."""
        return self.grads.sq_norms()[:, :1]

    def weighted_sum(self, weights: Tensor) -> Params:
        """The gradient times its weight; ``weights`` is ``(R, 1, G)``."""
        return self.grads.weighted_sum(torch.cat([weights, torch.zeros_like(weights)], 1))
