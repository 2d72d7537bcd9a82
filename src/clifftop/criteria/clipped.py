"""Whose gradients are clipped: the share of each class or group whose gradient clipping made shorter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.criteria.base import ClippingScore, Parts, ScoredExamples, few_enough, spread_over

MOST_EXAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class _Clipped(ClippingScore):
    """The share of clipped gradients in parts of the training examples.

    Attributes:
        num_examples: at most how many training examples are looked at, as many of each part as can be.
    """

    num_examples: int = MOST_EXAMPLES

    def __post_init__(self) -> None:
        number = isinstance(self.num_examples, int) and not isinstance(self.num_examples, bool)
        if not number or not 1 <= self.num_examples <= MOST_EXAMPLES:
            raise ValueError(
                f"num_examples must be a whole number in [1, {MOST_EXAMPLES}], found "
                f"num_examples={self.num_examples!r}; each evaluation takes the gradients of so many"
            )

    def chosen(self, rows: ScoredExamples) -> NDArray[np.int64]:
        """As many of each part as can be, evenly over its rows."""
        return spread_over(list(self._parts(rows).values()), self.num_examples)

    def values(self, weights: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """``clipped[PART]``: the share of its examples with a weight below 1 in one group of parameters."""
        shorter = np.any(weights < 1, axis=-1)
        return {
            f"clipped[{part}]": float(shorter[own].mean())
            for part, own in few_enough(self._parts(rows)).items()
        }

    @abstractmethod
    def _parts(self, rows: ScoredExamples) -> Parts: ...


@final
@dataclass(frozen=True, kw_only=True)
class ClippedByClass(_Clipped):
    """The clipped share of each class's training examples, as ``clipped[class=3]``.

    Clipping that shortens the gradients of one class more than others' weighs that class down: Bagdasaryan
    et al. 2019, arXiv:1905.12101.

    Clipped means a weight below 1: a norm above the clip norm (flat), above the clip norm less the
    stability (automatic, which scales all gradients), above its share in one layer or more (per-layer).

    >>> import torch
    >>> ClippedByClass()(torch.tensor([[1.0], [0.5], [0.1]]), torch.tensor([0, 0, 1]))
    {'clipped[class=0]': 0.5, 'clipped[class=1]': 1.0}
    """

    def _parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_class


@final
@dataclass(frozen=True, kw_only=True)
class ClippedByGroup(_Clipped):
    """The clipped share of each group's training examples, as ``clipped[group=old]``, as `ClippedByClass`."""

    def _parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_group


clipped_by_class = ClippedByClass
clipped_by_group = ClippedByGroup
