"""Batches that do not fit in memory, in parts."""

from __future__ import annotations

from types import TracebackType
from typing import Any, final

import torch
from torch.utils.data import DataLoader

from clifftop.compat.loop import PrivateDataLoader


@final
class BatchMemoryManager:
    """A context whose loader hands batches out in parts of at most ``max_physical_batch_size`` examples.

    The loop stays as it is, with ``optimizer.step()`` after every part: the parameters change after the
    last part of each batch only, so the result is that of whole batches.
    """

    def __init__(
        self,
        *,
        data_loader: DataLoader[Any],
        max_physical_batch_size: int,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        del optimizer  # its hook hears from the loader which part is the last
        if not isinstance(data_loader, PrivateDataLoader):
            raise ValueError(
                f"data_loader must be the one that make_private returned, found {type(data_loader).__name__}"
            )
        self._parts = data_loader.in_parts(max_physical_batch_size)

    def __enter__(self) -> PrivateDataLoader:
        return self._parts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
