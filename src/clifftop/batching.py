"""From row numbers to padded batches: one gather for all runs of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from torch import Tensor

from clifftop.flow import Batch
from clifftop.noise import RunStreams
from clifftop.sampling import BatchSampler, Indices

_PAD_TO = 8


@final
@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of S distinct seeds; ``S = 1`` where all seeds share their data.

    Attributes:
        inputs: each ``(S, N, ...)``.
        targets: each ``(S, N, ...)``.
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]

    @property
    def num_examples(self) -> int:
        """N."""
        return self.inputs[0].shape[1]


def draw_batch(sampler: BatchSampler, examples: Examples, streams: RunStreams, step: int) -> Batch:
    """The batch of ``step`` for every run: drawn once a seed, then laid out one row a run."""
    drawn = [
        sampler.batch(step, num_examples=examples.num_examples, rng=partial(streams.sampling, seed))
        for seed in streams.seeds
    ]
    rows, mask = _padded(drawn)
    return Batch(
        inputs=tuple(streams.spread(_take(x, rows)) for x in examples.inputs),
        targets=tuple(streams.spread(_take(y, rows)) for y in examples.targets),
        mask=streams.spread(mask.to(examples.inputs[0].device)),
    )


def _padded(drawn: Sequence[Indices]) -> tuple[Tensor, Tensor]:
    """Rows ``(S, B)`` and their mask; unequal batches are padded with row 0, masked out."""
    longest = max(len(batch) for batch in drawn)
    equal = all(len(batch) == longest for batch in drawn)
    # Padding to a multiple keeps the number of distinct shapes small; an empty batch still has a step.
    width = longest if equal and longest else max(_PAD_TO, -(-longest // _PAD_TO) * _PAD_TO)
    rows = np.zeros((len(drawn), width), dtype=np.int64)
    mask = np.zeros((len(drawn), width), dtype=bool)
    for row, kept, batch in zip(rows, mask, drawn, strict=True):
        row[: len(batch)] = batch
        kept[: len(batch)] = True
    return torch.from_numpy(rows), torch.from_numpy(mask)


def _take(data: Tensor, rows: Tensor) -> Tensor:
    """Rows ``(S, B)`` of data ``(S, N, ...)``, or of data ``(1, N, ...)`` that the seeds share."""
    rows = rows.to(data.device)
    if data.shape[0] == 1:
        return data[0].index_select(0, rows.flatten()).unflatten(0, rows.shape)
    seeds = torch.arange(rows.shape[0], device=data.device)
    return data[seeds[:, None], rows]
