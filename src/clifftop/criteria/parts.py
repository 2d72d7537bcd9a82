"""A score of each class or group apart, and of the worst of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clifftop.criteria.base import Parts, ScoredExamples, SetScore, few_enough
from clifftop.criteria.per_example import accuracy, binary_accuracy


@dataclass(frozen=True, kw_only=True)
class _OfParts(SetScore):
    """The mean of a per-example score in parts of the examples.

    Attributes:
        criterion: the per-example score, ``(output, *targets) -> (B,)``.
        name: what it is recorded as; by default the criterion's own name.
    """

    criterion: Callable[..., Tensor]
    name: str | None = None

    def keep(self, output: Any, *targets: Tensor) -> Tensor:
        """The criterion's value, ``(B,)``."""
        return self.criterion(output, *targets)

    @property
    def label(self) -> str:
        """The name of the score without the part."""
        return self.name or self.criterion.__name__

    @abstractmethod
    def _parts(self, rows: ScoredExamples) -> Parts: ...

    def _means(self, kept: NDArray[Any], rows: ScoredExamples) -> dict[str, float]:
        numbers = kept.astype(np.float64)
        return {part: float(numbers[own].mean()) for part, own in self._parts(rows).items()}


@dataclass(frozen=True, kw_only=True)
class _Each(_OfParts):
    def values(self, kept: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """``NAME[PART]`` for each part."""
        return {f"{self.label}[{part}]": mean for part, mean in self._means(kept, rows).items()}

    def _parts(self, rows: ScoredExamples) -> Parts:
        return few_enough(self._all_parts(rows))

    @abstractmethod
    def _all_parts(self, rows: ScoredExamples) -> Parts: ...


@dataclass(frozen=True, kw_only=True)
class _Worst(_OfParts):
    """The mean of the part that has the lowest, or the highest.

    Attributes:
        lowest: whether the lowest is the worst; not so for a loss.
    """

    lowest: bool = True

    def values(self, kept: NDArray[Any], rows: ScoredExamples) -> Mapping[str, float]:
        """The one number."""
        means = np.array(list(self._means(kept, rows).values()))  # NaN, if there is one, is worst
        return {self.label: float(means.min() if self.lowest else means.max())}


@final
@dataclass(frozen=True, kw_only=True)
class ByClass(_Each):
    """The mean of a per-example score for each class that has an example, as ``NAME[class=3]``.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    >>> ByClass(criterion=accuracy)(logits, torch.tensor([0, 1, 1]))
    {'accuracy[class=0]': 1.0, 'accuracy[class=1]': 0.5}
    """

    def _all_parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_class


@final
@dataclass(frozen=True, kw_only=True)
class ByGroup(_Each):
    """The mean of a per-example score for each group, as ``NAME[group=old]``.

    >>> import torch
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    >>> ByGroup(criterion=accuracy)(logits, torch.tensor([0, 1, 1]), groups=np.array(["old", "old", "young"]))
    {'accuracy[group=old]': 1.0, 'accuracy[group=young]': 0.0}
    """

    def _all_parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_group


@final
@dataclass(frozen=True, kw_only=True)
class WorstClass(_Worst):
    """The mean of a per-example score in the class where it is worst."""

    def _parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_class


@final
@dataclass(frozen=True, kw_only=True)
class WorstGroup(_Worst):
    """The mean of a per-example score in the group where it is worst.

    Sagawa et al. 2020, arXiv:1911.08731. The worst of several estimates tends to lie below the worst of
    what they estimate, the more so the fewer examples a group has.
    """

    def _parts(self, rows: ScoredExamples) -> Parts:
        return rows.by_group


accuracy_by_class = ByClass(criterion=accuracy)
"""`accuracy` of each class."""

accuracy_by_group = ByGroup(criterion=accuracy)
"""`accuracy` of each group."""

binary_accuracy_by_class = ByClass(criterion=binary_accuracy)
"""`binary_accuracy` of both classes."""

binary_accuracy_by_group = ByGroup(criterion=binary_accuracy)
"""`binary_accuracy` of each group."""

worst_class_accuracy = WorstClass(criterion=accuracy, name="worst_class_accuracy")
"""The lowest `accuracy` of a class."""

worst_group_accuracy = WorstGroup(criterion=accuracy, name="worst_group_accuracy")
"""The lowest `accuracy` of a group."""

worst_group_binary_accuracy = WorstGroup(criterion=binary_accuracy, name="worst_group_binary_accuracy")
"""The lowest `binary_accuracy` of a group."""
