"""A data loader that tells the private step which batch it hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, final

from torch.utils.data import DataLoader

from clifftop.compat.loop.draws import BatchSource, Draw, Draws

Listener = Callable[[Draw], None]


@final
class PrivateDataLoader(DataLoader[Any]):
    """As the loader that it was made from, with batches from a source whose cost is known.

    An empty batch is never handed out: the listener takes its step, which is noise alone, before the
    loop sees the next batch.

    Args:
        like: gives data set, collate function, workers and memory pinning.
        source: the batches.
        max_part: the most examples in what is handed out at a time.
        listener: called with every draw, before its examples are handed out.
    """

    def __init__(
        self,
        like: DataLoader[Any],
        source: BatchSource,
        *,
        listener: Listener | None = None,
        max_part: int | None = None,
    ) -> None:
        draws = Draws(source, max_part=max_part)
        super().__init__(
            like.dataset,
            batch_sampler=draws,
            num_workers=like.num_workers,
            collate_fn=like.collate_fn,
            pin_memory=like.pin_memory,
            timeout=like.timeout,
            worker_init_fn=like.worker_init_fn,
            multiprocessing_context=like.multiprocessing_context,
            prefetch_factor=like.prefetch_factor,
            persistent_workers=like.persistent_workers,
            pin_memory_device=like.pin_memory_device,
        )
        self.original = like.original if isinstance(like, PrivateDataLoader) else like
        self.source = source
        self.listener = listener
        self._draws = draws

    def in_parts(self, max_part: int) -> PrivateDataLoader:
        """The same batches, handed out in parts of ``max_part`` examples at most."""
        return PrivateDataLoader(self, self.source, listener=self.listener, max_part=max_part)

    def __iter__(self) -> Iterator[Any]:  # pyrefly: ignore[bad-override]
        for batch in super().__iter__():
            self._tell_to_the_first_with_examples()
            yield batch
        self._tell_of_empty_ones()

    def _tell_to_the_first_with_examples(self) -> None:
        self._tell_of_empty_ones()
        self._tell(self._draws.noted.popleft())

    def _tell_of_empty_ones(self) -> None:
        while self._draws.noted and self._draws.noted[0].size == 0:
            self._tell(self._draws.noted.popleft())

    def _tell(self, draw: Draw) -> None:
        if self.listener is not None:
            self.listener(draw)
