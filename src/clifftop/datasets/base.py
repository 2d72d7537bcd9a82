"""The one shape of a data set here: train and test arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Examples as arrays with one first axis N: what a model takes, and what its outputs are held to.

    Attributes:
        inputs: one array an argument of the model, ``(N, ...)`` each.
        targets: one array an argument of the criterion after the output, ``(N, ...)`` each.
    """

    inputs: tuple[NDArray[Any], ...]
    targets: tuple[NDArray[Any], ...]


class TrainTest(Protocol):
    """A data set, split once."""

    @property
    def train(self) -> Rows:
        """The rows that privacy is about."""
        ...

    @property
    def test(self) -> Rows:
        """The rows that models are judged by."""
        ...


@dataclass(frozen=True, kw_only=True)
class RowsDataset:
    """A `TrainTest` of any arrays."""

    train: Rows
    test: Rows


@dataclass(frozen=True, kw_only=True)
class ArrayDataset:
    """A data set for classification, split once into train and test rows.

    Attributes:
        train_inputs: ``(N, ...)`` float32.
        train_targets: ``(N,)`` int64 class numbers from 0.
        test_inputs: ``(M, ...)`` float32, with the same shape of a row.
        test_targets: ``(M,)`` int64.

    Raises:
        ValueError: where dtypes, lengths or row shapes do not fit together, or an input is not finite.

    >>> rows = np.zeros((3, 2), dtype=np.float32)
    >>> targets = np.array([0, 1, 1])
    >>> data = ArrayDataset(
    ...     train_inputs=rows, train_targets=targets, test_inputs=rows[:1], test_targets=targets[:1]
    ... )
    >>> data.num_train, data.num_test, data.num_classes
    (3, 1, 2)
    """

    train_inputs: NDArray[np.float32]
    train_targets: NDArray[np.int64]
    test_inputs: NDArray[np.float32]
    test_targets: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_split("train", self.train_inputs, self.train_targets)
        _check_split("test", self.test_inputs, self.test_targets)
        train_row, test_row = self.train_inputs.shape[1:], self.test_inputs.shape[1:]
        if train_row != test_row:
            raise ValueError(
                f"train and test rows must have one shape, found train row={train_row}, test row={test_row}; "
                "prepare both in the same way"
            )

    @property
    def train(self) -> Rows:
        """The train rows."""
        return Rows(inputs=(self.train_inputs,), targets=(self.train_targets,))

    @property
    def test(self) -> Rows:
        """The test rows."""
        return Rows(inputs=(self.test_inputs,), targets=(self.test_targets,))

    @property
    def num_train(self) -> int:
        """N, the number of train rows: the data that privacy is about."""
        return len(self.train_targets)

    @property
    def num_test(self) -> int:
        """M, the number of test rows."""
        return len(self.test_targets)

    @property
    def num_classes(self) -> int:
        """One more than the largest class number of either split."""
        return int(max(self.train_targets.max(), self.test_targets.max())) + 1


def _check_split(name: str, inputs: NDArray[np.float32], targets: NDArray[np.int64]) -> None:
    if inputs.dtype != np.float32 or targets.dtype != np.int64:
        raise ValueError(
            f"{name}_inputs must be float32 and {name}_targets int64, "
            f"found {inputs.dtype} and {targets.dtype}; convert with astype"
        )
    if inputs.ndim < 2 or targets.ndim != 1 or len(inputs) != len(targets) or len(targets) == 0:
        raise ValueError(
            f"{name}_inputs must be (N, ...) and {name}_targets (N,) with N >= 1, "
            f"found {inputs.shape} and {targets.shape}; give one target a row"
        )
    if targets.min() < 0:
        raise ValueError(
            f"{name}_targets must be class numbers from 0, found {targets.min()}; number the classes anew"
        )
    if not np.isfinite(inputs).all():
        raise ValueError(
            f"{name}_inputs must be finite, found NaN or infinity; drop or mend those rows before training"
        )
