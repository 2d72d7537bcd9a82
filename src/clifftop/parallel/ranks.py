"""What one rank of a run may do: take its part of a batch, add up over ranks, and compare notes.

A rank is one process of a run that several processes train together. Everything that ranks tell each
other goes through one collective, `Ranks.all_reduce`: a rank that has nothing to add adds zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

from torch import Tensor

from clifftop.sampling import Indices


class RankLost(RuntimeError):
    """Another rank did not answer: it was killed, failed, or hangs. The message is one line."""


class Ranks(Protocol):
    """The ranks of a run, seen from one of them.

    Every rank must make the same calls in the same order, whatever the data: a rank whose part of a batch is
    empty takes part all the same.
    """

    @property
    def rank(self) -> int:
        """This rank's number, from 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        ...

    def shard(self, indices: Indices) -> Indices:
        """This rank's part of a batch that every rank drew alike; all parts together are the batch."""
        ...

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over ranks, the same bits on every rank.

        Raises:
            RankLost: another rank did not answer.
        """
        ...

    def agree(self, what: str, value: bytes) -> None:
        """Compare ``value`` over ranks.

        Raises:
            ValueError: on every rank, where one holds another value; names ``what``, never the value.
            RankLost: another rank did not answer.
        """
        ...


@final
@dataclass(frozen=True)
class Alone:
    """One process is the whole run.

    >>> import numpy as np
    >>> Alone().shard(np.array([3, 5, 8])).tolist()
    [3, 5, 8]
    """

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def world_size(self) -> int:
        """1."""
        return 1

    def shard(self, indices: Indices) -> Indices:
        """The whole batch."""
        return indices

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""
        del tensors

    def agree(self, what: str, value: bytes) -> None:
        """One rank always agrees."""
        del what, value
