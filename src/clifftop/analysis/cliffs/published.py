"""The privacy cliff and the safe region, exactly as the published study defines them.

Over configurations (means over seeds): a configuration has *collapsed* when its accuracy is below
50% of the baseline mean, else it is *retained*. The cliff lies halfway between the largest collapsed
epsilon and the smallest retained one. The safe region starts at the smallest epsilon whose accuracy
is at least 90% of the baseline mean. Source: clawRxiv 2603.00422.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLLAPSE_FRACTION = 0.5
SAFE_FRACTION = 0.9


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration: its epsilon and its mean accuracy (a fraction)."""

    epsilon: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """Where utility collapses, if it does.

    Attributes:
        baseline_accuracy: the mean accuracy without privacy that the fractions refer to.
        collapsed: how many configurations collapsed.
        retained: how many did not.
        largest_collapsed_epsilon: None when none collapsed.
        smallest_retained_epsilon: None when all collapsed.
        cliff_epsilon: halfway between the two; None when either is missing.
        overlapping: whether some configuration collapsed at an epsilon at or above the smallest
            retained one; epsilon alone then does not decide, and the halfway point means little.
        safe_epsilon: where the safe region starts; None when no configuration is safe.
    """

    baseline_accuracy: float
    collapsed: int
    retained: int
    largest_collapsed_epsilon: float | None
    smallest_retained_epsilon: float | None
    cliff_epsilon: float | None
    overlapping: bool
    safe_epsilon: float | None


def find_cliff(points: Sequence[Point], *, baseline_accuracy: float) -> Cliff:
    """The cliff and the safe region among ``points``.

    >>> points = [Point(epsilon=1.0, accuracy=0.3), Point(epsilon=4.0, accuracy=0.95)]
    >>> cliff = find_cliff(points, baseline_accuracy=1.0)
    >>> cliff.cliff_epsilon, cliff.safe_epsilon
    (2.5, 4.0)
    """
    threshold = COLLAPSE_FRACTION * baseline_accuracy
    collapsed = [point.epsilon for point in points if point.accuracy < threshold]
    retained = [point.epsilon for point in points if point.accuracy >= threshold]
    safe = [point.epsilon for point in points if point.accuracy >= SAFE_FRACTION * baseline_accuracy]
    largest, smallest = max(collapsed, default=None), min(retained, default=None)
    both = largest is not None and smallest is not None
    return Cliff(
        baseline_accuracy=baseline_accuracy,
        collapsed=len(collapsed),
        retained=len(retained),
        largest_collapsed_epsilon=largest,
        smallest_retained_epsilon=smallest,
        cliff_epsilon=(largest + smallest) / 2 if both else None,
        overlapping=largest >= smallest if both else False,
        safe_epsilon=min(safe, default=None),
    )
