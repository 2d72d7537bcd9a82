"""Means and spreads over all other models, for every model at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.audit.attacks.observations import Flags, Scores

FEW = 32
"""With fewer shadows on a side on average, a record's own variance is noise: all records share one then."""
LEAST_SPREAD = 1e-6


@final
@dataclass(frozen=True, kw_only=True)
class Others:
    """What the other models that share a trait say of each record.

    Attributes:
        count: ``(M, N)`` how many there are.
        mean: ``(M, N)`` their mean; where there are none, the mean over all records of the others.
        spread: ``(M, N)`` their standard deviation, or one for all records where there are few.
    """

    count: Scores
    mean: Scores
    spread: Scores


def others(values: Scores, which: Flags) -> Others:
    """For each model and record the mean and spread of ``values`` over the *other* models in ``which``.

    The target's own value enters only where no other model shares the trait, whatever its own trait is. Sums
    are taken around each record's centre, so nothing cancels.

    >>> values, which = np.array([[1.0], [3.0], [8.0]]), np.array([[True], [True], [False]])
    >>> others(values, which).mean.ravel().tolist()
    [3.0, 1.0, 2.0]
    """
    centre = values.mean(axis=0, keepdims=True)
    shifted = np.where(which, values - centre, 0.0)
    own = which.astype(np.float64)
    count = own.sum(axis=0, keepdims=True) - own
    total = shifted.sum(axis=0, keepdims=True) - shifted
    squares = (shifted**2).sum(axis=0, keepdims=True) - shifted**2
    everywhere = count.sum(axis=1, keepdims=True)
    all_mean = (total.sum(axis=1, keepdims=True)) / np.maximum(everywhere, 1.0)
    mean = np.where(count > 0, total / np.maximum(count, 1.0), all_mean)
    around = np.maximum(squares - count * mean**2, 0.0)
    shared = around.sum(axis=1, keepdims=True) / np.maximum(
        (np.maximum(count - 1.0, 0.0)).sum(1, keepdims=True), 1.0
    )
    enough = (count.mean(axis=1, keepdims=True) >= FEW) & (count >= 2)
    variance = np.where(enough, around / np.maximum(count - 1.0, 1.0), shared)
    return Others(count=count, mean=mean + centre, spread=np.sqrt(np.maximum(variance, LEAST_SPREAD**2)))
