"""Where the rows of a batch come from: tensors in memory, or a map-style ``Dataset`` read row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from clifftop.flow import Batch
from clifftop.sampling import Indices

Collate = Callable[[list[Any]], Any]
"""A list of the data set's rows to ``(inputs, targets)``, each a tensor or a sequence of tensors."""


class Rows(ABC):
    """The training data, by row number."""

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """N."""

    @abstractmethod
    def take(self, indices: Indices) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs and targets of these rows, at least one of them, each ``(len(indices), ...)``."""


@final
@dataclass(frozen=True, kw_only=True)
class TensorRows(Rows):
    """Tensors that hold every row, each ``(N, ...)``."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        lengths = {len(x) for x in (*self.inputs, *self.targets)}
        if not self.inputs or len(lengths) != 1:
            raise ValueError(
                f"inputs and targets must have the same number of rows, found lengths={sorted(lengths)}; "
                "pass one row an example in each"
            )

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.inputs[0])

    def take(self, indices: Indices) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """One gather a tensor, where the tensor lies."""
        rows = torch.from_numpy(np.ascontiguousarray(indices))
        taken = [x.index_select(0, rows.to(x.device)) for x in (*self.inputs, *self.targets)]
        return tuple(taken[: len(self.inputs)]), tuple(taken[len(self.inputs) :])


@final
@dataclass(frozen=True, kw_only=True)
class DatasetRows(Rows):
    """A map-style ``Dataset``: rows are fetched when a batch needs them, then collated.

    A data set that draws random numbers of its own (augmentation) draws them outside the run's named
    streams: a run over it does not resume bit for bit.
    """

    dataset: Dataset[Any]
    collate: Collate = default_collate

    def __post_init__(self) -> None:
        if not (hasattr(self.dataset, "__len__") and hasattr(self.dataset, "__getitem__")):
            raise ValueError(
                "dataset must have a length and rows by number, found "
                f"type={type(self.dataset).__name__}; sampling needs a map-style Dataset, not a stream"
            )

    @property
    def num_examples(self) -> int:
        """N."""
        return len(self.dataset)  # pyrefly: ignore[bad-argument-type]

    def take(self, indices: Indices) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Fetch, collate, and check that every tensor has one row an example."""
        numbers = indices.tolist()
        fetch_all = getattr(self.dataset, "__getitems__", None)
        rows = fetch_all(numbers) if callable(fetch_all) else [self.dataset[i] for i in numbers]
        collated = self.collate(rows)
        if not isinstance(collated, Sequence) or len(collated) != 2:
            raise ValueError(
                f"collate must return (inputs, targets), found {_kind(collated)}; pass a collate that does"
            )
        inputs, targets = (_tensors(part) for part in collated)
        found = {len(x) for x in (*inputs, *targets)}
        if found != {len(numbers)}:
            raise ValueError(
                "collate must return one row an example in every tensor, found "
                f"lengths={sorted(found)} for {len(numbers)} examples; stack them on the first axis"
            )
        return inputs, targets


def rows_of(
    inputs: Sequence[Tensor], targets: Sequence[Tensor], dataset: Dataset[Any] | None, collate: Collate
) -> Rows:
    """The rows of tensors, or of a data set. Errors: ValueError if it is both or neither."""
    if (dataset is not None) == bool(inputs):
        raise ValueError(
            "the training data must be inputs and targets, or a dataset, found "
            f"{'both' if inputs else 'neither'}; pass one of the two"
        )
    if dataset is not None:
        return DatasetRows(dataset=dataset, collate=collate)
    return TensorRows(inputs=tuple(inputs), targets=tuple(targets))


def batch_of(rows: Rows, indices: Indices, device: torch.device) -> Batch:
    """The batch of ``indices`` on ``device``; an empty one is one row of padding."""
    real = len(indices)
    # Row 0 stands in where there is no example: its mask is False, so it adds exactly nothing.
    inputs, targets = rows.take(indices if real else np.zeros(1, dtype=np.int64))
    return Batch(
        inputs=tuple(x.to(device)[None] for x in inputs),
        targets=tuple(y.to(device)[None] for y in targets),
        mask=torch.full((1, max(1, real)), bool(real), device=device),
    )


def _tensors(part: Any) -> tuple[Tensor, ...]:
    items = (part,) if isinstance(part, Tensor) else part
    if not isinstance(items, Sequence) or not all(isinstance(x, Tensor) and x.dim() for x in items):
        raise ValueError(
            f"inputs and targets must be a tensor or a sequence of tensors, found {_kind(part)}; "
            "pass a collate that makes them so"
        )
    return tuple(items)


def _kind(value: object) -> str:
    length = f" of length {len(value)}" if isinstance(value, Sequence) else ""
    return f"type={type(value).__name__}{length}"
