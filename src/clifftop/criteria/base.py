"""Scores that are no mean over examples: made of all test examples at once, or of training gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_PARTS = 100
"""The largest number of classes or groups that a score is split into: each is a column of a table."""


Parts = Mapping[str, NDArray[np.int64]]
"""What an example may belong to, such as ``class=3``, and the rows that do."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredExamples:
    """What M examples are, besides a model's outputs on them.

    Attributes:
        targets: the criterion's arguments behind the output, ``(M, ...)`` each.
        inputs: the model's arguments, ``(M, ...)`` each.
        groups: ``(M,)`` labels, text or whole numbers, that no model sees; None where the data have none.
    """

    targets: tuple[NDArray[Any], ...]
    inputs: tuple[NDArray[Any], ...] = ()
    groups: NDArray[Any] | None = None

    @cached_property
    def by_class(self) -> Parts:
        """The rows of each class, as ``class=NUMBER``, in the order of the numbers.

        Raises:
            ValueError: the first target is no class number an example.
        """
        target = self.targets[0]
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        if target.ndim != 1 or not bool((target == np.floor(target)).all()):
            raise ValueError(
                f"a score by class needs one class number an example, found targets of shape {target.shape} "
                f"and {target.dtype}; use another score"
            )
        return _parts("class", target.astype(np.int64))

    @cached_property
    def by_group(self) -> Parts:
        """The rows of each group, as ``group=LABEL``, in the order of the labels.

        Raises:
            ValueError: the examples have no groups.
        """
        if self.groups is None:
            raise ValueError(
                "a score by group needs a group for each example, found none; name a column with the "
                "reader's option group, or return Rows with groups"
            )
        return _parts("group", self.groups)

    def take(self, places: NDArray[np.int64]) -> ScoredExamples:
        """Some of the examples."""
        return ScoredExamples(
            targets=tuple(y[places] for y in self.targets),
            inputs=tuple(x[places] for x in self.inputs),
            groups=None if self.groups is None else self.groups[places],
        )


class SetScore(ABC):
    """A score of all test examples at once, by one name or several.

    Examples come in chunks, and several runs' may come at once: `keep` says what of each example is to be
    remembered, and `values` makes the score when all are there. Fields are its options.
    """

    @abstractmethod
    def keep(self, output: Any, *targets: Tensor) -> Tensor:
        """What is remembered of B examples, ``(B, ...)``, few numbers each; mapped over runs.

        One example's must not depend on the others'.
        """

    @abstractmethod
    def values(self, kept: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """The score of one run: what `keep` gave of all M examples in order, ``(M, ...)``, and the examples.

        The names must follow from the examples alone.
        """

    @torch.no_grad()
    def __call__(self, output: Any, *targets: Tensor, groups: NDArray[Any] | None = None) -> dict[str, float]:
        """The score of one model's outputs on M examples."""
        kept = self.keep(output, *targets).cpu().numpy()
        rows = ScoredExamples(targets=tuple(y.cpu().numpy() for y in targets), groups=groups)
        return dict(self.values(kept, rows))


class ClippingScore(ABC):
    """A score of what clipping does to training examples, by one name or several.

    It is a function of the private rows that no noise hides: look at it, and release nothing chosen by it.
    """

    @abstractmethod
    def chosen(self, rows: ScoredExamples) -> NDArray[np.int64]:
        """The training rows to look at, rising, ``(n,)``; n must follow from how many rows there are."""

    @abstractmethod
    def values(self, weights: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """The score of one run: the weights ``(n, G)`` that clipping gives the n chosen rows, and these rows.

        The names must follow from the examples alone.
        """

    def __call__(
        self, weights: Tensor, *targets: Tensor, groups: NDArray[Any] | None = None
    ) -> dict[str, float]:
        """The score of the weights ``(n, G)`` of n training examples."""
        rows = ScoredExamples(targets=tuple(y.cpu().numpy() for y in targets), groups=groups)
        return dict(self.values(weights.cpu().numpy(), rows))


def _parts(what: str, labels: NDArray[Any]) -> Parts:
    found, place = np.unique(labels, return_inverse=True)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place))[:-1]
    return {f"{what}={label}": rows for label, rows in zip(found, np.split(order, ends), strict=True)}


def few_enough(parts: Parts) -> Parts:
    """The parts, if a table can have a column for each.

    Raises:
        ValueError: there are too many.
    """
    if len(parts) > MOST_PARTS:
        raise ValueError(
            f"a score may be split into at most {MOST_PARTS} classes or groups, found {len(parts)}; merge "
            "some, or look at the worst alone"
        )
    return parts


def spread_over(parts: Iterable[NDArray[np.int64]], most: int) -> NDArray[np.int64]:
    """At most ``most`` rows, as many of each part as can be, evenly over its rows; rising.

    >>> spread_over([np.arange(0, 90), np.arange(90, 92)], 6)
    array([ 0, 22, 45, 67, 90, 91])
    """
    sizes = np.sort([len(part) for part in parts])
    total = min(most, int(sizes.sum()))
    # The least height at which parts, cut off there, hold all that may be taken.
    low, high = 0, int(sizes[-1])
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if np.minimum(sizes, middle).sum() >= total else (middle + 1, high)
    excess = int(np.minimum(sizes, low).sum()) - total
    taken: list[NDArray[np.int64]] = []
    for part in parts:
        count = min(len(part), low)
        if excess and count == low:
            count, excess = count - 1, excess - 1
        taken.append(part[(np.arange(count) * len(part)) // max(1, count)])
    return np.sort(np.concatenate(taken))
