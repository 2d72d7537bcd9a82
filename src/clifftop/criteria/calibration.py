"""Whether probabilities are frequencies: expected calibration error, in bins."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clifftop.criteria.base import ScoredExamples, SetScore
from clifftop.criteria.per_example import one_each

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Calibration(SetScore):
    """Probabilities against what came true, ``(M, 2)``.

    Attributes:
        num_bins: how many bins, >= 1.
    """

    num_bins: int = 15

    def __post_init__(self) -> None:
        if isinstance(self.num_bins, bool) or not isinstance(self.num_bins, int) or self.num_bins < 1:
            raise ValueError(
                f"num_bins must be a whole number >= 1, found num_bins={self.num_bins!r}; pass 15, say"
            )

    def keep(self, output: Any, *targets: Tensor) -> Tensor:
        """The largest probability of the softmax, and 1 where it is that of the ``(B,)`` class number."""
        return _top_label(output, *targets)

    def values(self, kept: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """The one number; NaN where an output is not finite."""
        del rows
        probability, outcome = kept.astype(np.float64).T
        known = bool(np.isfinite(probability).all())
        return {self._name: self._error(probability, outcome) if known else math.nan}

    @property
    @abstractmethod
    def _name(self) -> str: ...

    @abstractmethod
    def _error(self, probability: Array, outcome: Array) -> float: ...


@final
@dataclass(frozen=True, kw_only=True)
class ExpectedCalibrationError(_Calibration):
    """``sum over bins of (rows in it / M) * |accuracy - mean confidence|``, bins of equal width.

    Guo et al. 2017, arXiv:1706.04599. Confidence is the largest probability; bin b of n holds confidences in
    (b / n, (b + 1) / n]. Recorded as ``ece``.

    The estimate is biased upwards: chance alone keeps the accuracy in a bin from its mean confidence.
    `CalibrationFloor` says how far.

    >>> logits = torch.log(torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.25, 0.75]]))
    >>> found = ExpectedCalibrationError(num_bins=10)(logits, torch.tensor([0, 1, 1]))
    >>> round(found["ece"], 4)  # (2 * |0.5 - 0.95| + |1 - 0.75|) / 3
    0.3833
    """

    @property
    def _name(self) -> str:
        return "ece"

    def _error(self, probability: Array, outcome: Array) -> float:
        return _gap(outcome - probability, _equal_width(probability, self.num_bins))


@final
@dataclass(frozen=True, kw_only=True)
class EqualMassCalibrationError(_Calibration):
    """`ExpectedCalibrationError` with bins that hold the same number of rows, up to one.

    Nixon et al. 2019, arXiv:1904.01685. Rows are put into bins by rising confidence; rows of one confidence
    count as equally often right, so that their order does not matter. Recorded as ``equal_mass_ece``.
    """

    @property
    def _name(self) -> str:
        return "equal_mass_ece"

    def _error(self, probability: Array, outcome: Array) -> float:
        distinct, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
        right = np.bincount(place, outcome) / counts
        count = len(probability)
        bins = (np.arange(count) * self.num_bins) // count
        return _gap(np.repeat(right - distinct, counts), bins)


@final
@dataclass(frozen=True, kw_only=True)
class BinaryCalibrationError(_Calibration):
    """`ExpectedCalibrationError` of one logit an example: its probability of 1 against how often 1 came.

    Recorded as ``binary_ece``.

    >>> BinaryCalibrationError()(torch.zeros(2, 1), torch.tensor([0, 1]))
    {'binary_ece': 0.0}
    """

    def keep(self, output: Any, *targets: Tensor) -> Tensor:
        """The probability of 1, and the target."""
        z, y = one_each(output, *targets)
        return torch.stack([z.sigmoid(), y], -1)

    @property
    def _name(self) -> str:
        return "binary_ece"

    def _error(self, probability: Array, outcome: Array) -> float:
        return _gap(outcome - probability, _equal_width(probability, self.num_bins))


@final
@dataclass(frozen=True, kw_only=True)
class CalibrationFloor(_Calibration):
    """What `ExpectedCalibrationError` would be on average if every confidence were true.

    Right or wrong would then be M coins with the confidences p as probabilities, and the gap of a bin the
    absolute value of a sum with variance ``sum of p (1 - p)``; for a normal one its mean is
    ``sqrt(2 / pi)`` standard deviations. With n bins it is at most about ``0.4 sqrt(n / M)``. Recorded as
    ``ece_floor``. An error at the floor is no evidence of miscalibration.

    >>> logits = torch.log(torch.tensor([[0.7, 0.3]])).expand(1000, 2)
    >>> round(CalibrationFloor()(logits, torch.zeros(1000, dtype=torch.int64))["ece_floor"], 4)
    0.0116
    """

    @property
    def _name(self) -> str:
        return "ece_floor"

    def _error(self, probability: Array, outcome: Array) -> float:
        del outcome
        bins = _equal_width(probability, self.num_bins)
        variances = np.bincount(bins, probability * (1 - probability))
        return float(np.sqrt(variances.clip(min=0)).sum() * math.sqrt(2 / math.pi) / len(probability))


def _top_label(output: Any, *targets: Tensor) -> Tensor:
    if not isinstance(output, Tensor) or output.dim() != 2 or len(targets) != 1 or targets[0].dim() != 1:
        shapes = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in (output, *targets)]
        raise ValueError(
            f"a calibration error needs logits (B, K) and class numbers (B,), found {shapes}; for one logit "
            "an example use binary_ece"
        )
    top = output.softmax(-1).max(-1)
    return torch.stack([top.values, (top.indices == targets[0]).to(output.dtype)], -1)


def _equal_width(probability: Array, num_bins: int) -> NDArray[np.int64]:
    return (np.ceil(probability * num_bins) - 1).clip(0, num_bins - 1).astype(np.int64)


def _gap(difference: Array, bins: NDArray[np.int64]) -> float:
    """The sum over bins of the absolute sum of differences, over M."""
    return float(np.abs(np.bincount(bins, difference)).sum() / len(difference))


ece = ExpectedCalibrationError
equal_mass_ece = EqualMassCalibrationError
binary_ece = BinaryCalibrationError
ece_floor = CalibrationFloor
