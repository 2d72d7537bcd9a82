"""The random draws of one step as one rank sees them: the noise of all, the dropout of its own examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from clifftop.flow import Params
from clifftop.noise import StepStreams
from clifftop.sampling import Indices


@final
@dataclass(frozen=True, kw_only=True)
class ShardStreams:
    """One step's streams, with the rows of the model's own draws that belong to this rank's examples.

    An example then meets the same dropout mask wherever it is computed, and no two examples share one. The
    rank draws for all rows from its first to its last and keeps its own. Noise is the same on every rank: it
    is added after the sums were, once.

    Attributes:
        streams: the streams of the step, the same on every rank.
        places: the places of this rank's examples in the global batch, ``ranks.shard(np.arange(size))``.
    """

    streams: StepStreams
    places: Indices

    def normal(self, like: Params) -> Params:
        """Standard normals, the same on every rank."""
        return self.streams.normal(like)

    def add_normal(self, value: Params, std: Tensor) -> Params:
        """``value`` plus ``std`` times `normal`."""
        return self.streams.add_normal(value, std)

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), ``(R, *shape)``; rows beyond ``places`` are padding.

        With ``offset``, those of this rank's examples from there on.
        """
        known = self.places[offset : offset + shape[0]]
        first = int(known.min()) if len(known) else 0
        rows = np.zeros(shape[0], dtype=np.int64)
        rows[: len(known)] = known - first
        span = (int(rows.max(initial=0)) + 1, *shape[1:])
        whole = self.streams.uniform(label, span, offset=first)
        return whole.index_select(1, torch.from_numpy(rows).to(whole.device))
