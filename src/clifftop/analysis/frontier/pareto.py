"""The privacy-utility frontier: the configurations that no other beats in both epsilon and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto(
    items: Sequence[T], *, epsilon: Callable[[T], float], accuracy: Callable[[T], float]
) -> tuple[T, ...]:
    """The items that no other item dominates, by rising epsilon.

    An item is dominated when another has an epsilon no larger and an accuracy no smaller, one of the
    two strictly. Accuracies are compared as given, so over few seeds the set favours lucky
    configurations: read it together with their intervals.

    >>> pareto([(1.0, 0.7), (2.0, 0.6), (3.0, 0.9)], epsilon=lambda p: p[0], accuracy=lambda p: p[1])
    ((1.0, 0.7), (3.0, 0.9))
    """
    kept: list[T] = []
    for item in sorted(items, key=lambda item: (epsilon(item), -accuracy(item))):
        beats_all = not kept or accuracy(item) > accuracy(kept[-1])
        if beats_all or (epsilon(item), accuracy(item)) == (epsilon(kept[-1]), accuracy(kept[-1])):
            kept.append(item)
    return tuple(kept)
