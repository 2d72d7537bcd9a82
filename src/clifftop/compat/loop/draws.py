"""Which examples make up each batch of a data loader, and what the step must know about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

from torch.utils.data import Sampler

from clifftop.noise import RunStreams
from clifftop.sampling import Poisson


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One batch that the loader hands out, or a part of one.

    Attributes:
        size: examples in it; 0 for an empty batch, which is a step all the same.
        first: whether a batch begins with it.
        last: whether the batch ends with it, and a step follows.
        epoch: which pass over the loader it belongs to.
    """

    size: int
    first: bool
    last: bool
    epoch: int


class BatchSource(ABC):
    """The batches of one pass after another."""

    def __init__(self) -> None:
        self._passes = 0

    def begin(self) -> int:
        """A number for the pass that begins now, which no other pass over this source has."""
        self._passes += 1
        return self._passes

    def resume(self, steps: int) -> None:
        """Go on after ``steps`` batches: an order has nothing to remember."""
        del steps

    @abstractmethod
    def batches(self) -> Iterator[list[int]]:
        """Row numbers of each batch of the next pass; a batch may be empty."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches in a pass."""


@final
class PoissonSource(BatchSource):
    """Poisson-sampled batches, drawn anew at every step.

    Args:
        sampler: the law.
        num_examples: rows of the data set.
        length: batches in a pass.
        streams: where the draws come from, named by the step.
    """

    def __init__(self, sampler: Poisson, *, num_examples: int, length: int, streams: RunStreams) -> None:
        super().__init__()
        self.sampler = sampler
        self._num_examples = num_examples
        self._length = length
        self._rng = partial(streams.sampling, streams.seeds[0])
        self._drawn = 0

    def resume(self, steps: int) -> None:
        """Draw nothing again that was drawn in the first ``steps`` batches."""
        self._drawn = max(self._drawn, steps)

    def batches(self) -> Iterator[list[int]]:
        """Batches of the next pass."""
        for _ in range(self._length):
            step, self._drawn = self._drawn, self._drawn + 1
            drawn = self.sampler.batch(step, num_examples=self._num_examples, rng=self._rng)
            yield drawn.tolist()

    def __len__(self) -> int:
        """Batches in a pass."""
        return self._length


@final
class OrderedSource(BatchSource):
    """The batches of a loader's own sampler, in which each example comes once a pass at most."""

    def __init__(self, batch_sampler: Iterable[list[int]], *, length: int) -> None:
        super().__init__()
        self._batch_sampler = batch_sampler
        self._length = length

    def batches(self) -> Iterator[list[int]]:
        """Batches of the next pass."""
        yield from self._batch_sampler

    def __len__(self) -> int:
        """Batches in a pass."""
        return self._length


@final
class Draws(Sampler[list[int]]):
    """A batch sampler that cuts batches into parts, and notes every draw in ``noted``.

    Workers fetch ahead, but a data loader asks its batch sampler in order and in one process; so the
    notes come in the order of the batches.

    Args:
        source: the batches.
        max_part: the most examples in a part; None leaves batches whole.
    """

    def __init__(self, source: BatchSource, *, max_part: int | None = None) -> None:
        if max_part is not None and max_part < 1:
            raise ValueError(
                f"max_physical_batch_size must be >= 1, found max_physical_batch_size={max_part}"
            )
        self.source = source
        self.noted: deque[Draw] = deque()
        self._max_part = max_part

    def __iter__(self) -> Iterator[list[int]]:
        self.noted.clear()
        epoch = self.source.begin()
        for batch in self.source.batches():
            width = self._max_part or max(len(batch), 1)
            parts = [batch[i : i + width] for i in range(0, len(batch), width)]
            if not parts:
                self.noted.append(Draw(size=0, first=True, last=True, epoch=epoch))
            for i, part in enumerate(parts):
                last = i == len(parts) - 1
                self.noted.append(Draw(size=len(part), first=i == 0, last=last, epoch=epoch))
                yield part

    def __len__(self) -> int:
        """Batches in a pass; parts are not known before they are drawn."""
        return len(self.source)
