"""Few sizes of batches for few graphs: a batch is filled up with rows that do not count."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clifftop.flow import Batch
from clifftop.gradients.instantiated import without_padding
from clifftop.private_gradient import Seen


def bucket(size: int) -> int:
    """The least size >= ``size`` with a graph of its own: steps of a sixteenth to a thirty-second.

    >>> [bucket(n) for n in (1, 5, 64, 250, 257, 2000)]
    [2, 5, 64, 256, 272, 2048]
    """
    step = 1 << max(0, (size - 1).bit_length() - 5)
    return max(2, -(-size // step) * step)


def padded_to(size: int, batch: Batch) -> Batch | None:
    """The batch with ``size`` rows, an example in each; None where it has no example at all."""
    filled = without_padding(batch)
    if filled is None or batch.padded_size == size:
        return filled
    missing = size - batch.padded_size
    return Batch(
        inputs=tuple(_longer(x, missing) for x in filled.inputs),
        targets=tuple(_longer(y, missing) for y in filled.targets),
        mask=torch.cat([batch.mask, batch.mask.new_zeros(len(batch.mask), missing)], 1),
    )


def first_rows(seen: Seen, size: int) -> Seen:
    """What was seen of the first ``size`` examples."""
    if seen.losses.shape[1] == size:
        return seen
    return replace(
        seen,
        losses=seen.losses[:, :size],
        sq_norms=seen.sq_norms[:, :size],
        weights=seen.weights[:, :size],
    )


def _longer(x: Tensor, missing: int) -> Tensor:
    return torch.cat([x, x[:, :1].expand(x.shape[0], missing, *x.shape[2:])], 1)
