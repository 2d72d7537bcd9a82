"""The shapes of data here: rows as arrays, and a data set split once into train and test rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

ROW_DTYPES = (np.float32, np.float64, np.int64, np.bool_)
"""What an array of rows may hold."""


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """Examples as arrays with one first axis N: what a model takes, and what its outputs are held to.

    Arrays are kept as they are, not copied, unless torch could not share their memory (read-only arrays,
    negative strides). They must not be changed afterwards.

    Attributes:
        inputs: one array an argument of the model, ``(N, ...)`` each; float32, float64, int64 or bool.
        targets: one array an argument of the criterion after the output, ``(N, ...)`` each, likewise.
        groups: ``(N,)`` labels, text or whole numbers, that no model and no criterion sees: scores are told
            apart by them. None where there are none.

    Raises:
        ValueError: no array, another dtype, unequal lengths, no row, a float that is not finite, or a group
            label that is empty or not printable, or has a square bracket.

    >>> rows = Rows(inputs=(np.zeros((3, 2)),), targets=(np.array([0, 1, 1]),))
    >>> len(rows)
    3
    """

    inputs: tuple[NDArray[Any], ...]
    targets: tuple[NDArray[Any], ...]
    groups: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            given = getattr(self, name)
            if not isinstance(given, (tuple, list)) or not given:
                raise ValueError(
                    f"{name} must be a tuple of one array or more, found {type(given).__name__}; "
                    f"write {name}=(array,)"
                )
            checked = tuple(_checked(f"{name}[{i}]", array) for i, array in enumerate(given))
            object.__setattr__(self, name, checked)
        lengths = [len(array) for array in (*self.inputs, *self.targets)]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            raise ValueError(
                f"inputs and targets must have one number of rows, at least 1, found {lengths}; "
                "give every example a row in each array"
            )
        if self.groups is not None:
            object.__setattr__(self, "groups", _checked_groups(self.groups, lengths[0]))

    def __len__(self) -> int:
        """N."""
        return len(self.inputs[0])


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


@final
@dataclass(frozen=True, kw_only=True)
class RowsDataset:
    """A data set with any number of inputs and targets, split once.

    Attributes:
        train: the rows that privacy is about.
        test: the rows that models are judged by; as many arrays, of the same shape of a row and dtype.

    Raises:
        ValueError: train and test rows differ in number of arrays, shape of a row, or dtype.
    """

    train: Rows
    test: Rows

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            train, test = (_kinds(getattr(rows, name)) for rows in (self.train, self.test))
            if train != test:
                raise ValueError(
                    f"train and test rows must have one form, found {name} {', '.join(train)} for train and "
                    f"{', '.join(test)} for test; prepare both in the same way"
                )


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

    @cached_property
    def train(self) -> Rows:
        """The train rows: the same arrays."""
        return Rows(inputs=(self.train_inputs,), targets=(self.train_targets,))

    @cached_property
    def test(self) -> Rows:
        """The test rows: the same arrays."""
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


def all_finite(array: NDArray[Any]) -> bool:
    """Whether an array holds no NaN and no infinity; one pass, without an array of answers.

    >>> all_finite(np.array([1.0, np.inf])), all_finite(np.full(3, 1e308)), all_finite(np.arange(3))
    (False, True, True)
    """
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        # A NaN or an infinity stays in the sum. Large finite numbers may overflow: then look at each.
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def _checked(name: str, array: object) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.ndim < 1:
        raise ValueError(
            f"{name} must be an array with rows on its first axis, found {type(array).__name__}; "
            "convert it with numpy.asarray"
        )
    if array.dtype not in ROW_DTYPES:
        raise ValueError(
            f"{name} must be float32, float64, int64 or bool, found {array.dtype}; convert it with astype"
        )
    if not all_finite(array):
        raise ValueError(f"{name} must be finite, found NaN or infinity; drop or mend those rows first")
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        return array.copy()
    return array


def _checked_groups(labels: object, count: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.dtype == np.object_:
        texts = all(isinstance(label, str) for label in array.flat)
        array = array.astype(np.str_) if texts else array
    if array.shape != (count,) or array.dtype.kind not in "Uiub":
        raise ValueError(
            f"groups must be a label for each of {count} rows, text or whole numbers, found shape "
            f"{array.shape} and {array.dtype}; give one label a row"
        )
    for label in np.unique(array).tolist() if array.dtype.kind == "U" else ():
        if not (label.strip() and label.isprintable() and not set("[]") & set(label)):
            raise ValueError(
                f"a group's label must be printable and without square brackets, found {label!r}; rename it"
            )
    return array


def _kinds(arrays: tuple[NDArray[Any], ...]) -> list[str]:
    return [f"{array.dtype}{list(array.shape[1:])}" for array in arrays]


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
    if not all_finite(inputs):
        raise ValueError(
            f"{name}_inputs must be finite, found NaN or infinity; drop or mend those rows before training"
        )
