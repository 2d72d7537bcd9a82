"""Falls along a ladder, each tested against half of the range of utility."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.cliffs.ladder import Ladder
from clifftop.analysis.inference.floors import NO_SPREAD, fallback_t, least_sd
from clifftop.analysis.inference.held_out import WIDENING

SHARE = 0.5
"""A cliff loses at least this share of the range of utility."""
LEAST = 0.1
"""And, where utility is a share, at least this part of the best one."""


@final
@dataclass(frozen=True, kw_only=True)
class Window:
    """Two levels of a ladder, by place: a fall from ``high`` to ``low``."""

    low: int
    high: int


def windows(epsilons: NDArray[np.float64], within: float) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """The widest pairs of levels within a factor, and the gaps between neighbours that are wider than that.

    A pair that lies in another one is left out: a fall over part of a stretch is in the fall over it.

    >>> near, gaps = windows(np.array([1.0, 2.0, 3.0, 30.0]), 3.0)
    >>> near, gaps
    ((Window(low=0, high=2),), (Window(low=2, high=3),))
    """
    lows = np.searchsorted(epsilons * within * (1 + 1e-9), epsilons)
    places = range(1, epsilons.size)
    near = [
        Window(low=int(lows[j]), high=j)
        for j in places
        if lows[j] < j and (j + 1 == epsilons.size or lows[j + 1] > lows[j])
    ]
    return tuple(near), tuple(Window(low=j - 1, high=j) for j in places if lows[j] == j)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Contrasts:
    """Means of a ladder's levels and of its baseline, with the covariance of these means.

    Attributes:
        ladder: with L levels and n seeds, n >= 2.
        chance: the utility of a model that has learnt nothing; None: the worst level stands for it.
    """

    ladder: Ladder
    chance: float | None

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """``(H, L or L + 1, n)``: levels, then the baseline where there is one."""
        levels, baseline = self.ladder.utility, self.ladder.baseline
        if baseline is None:
            return levels
        halvings = max(len(levels), len(baseline))
        levels = np.broadcast_to(levels, (halvings, *levels.shape[1:]))
        return np.concatenate(
            [levels, np.broadcast_to(baseline, (halvings, levels.shape[2]))[:, None]], axis=1
        )

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Of the points, over seeds."""
        return self.points.mean(axis=(0, 2))

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """Of the means; diagonal where seeds have nothing in common, widened where settings were chosen."""
        moved = self.points - self.points.mean(axis=2, keepdims=True)
        found = np.einsum("hpn,hqn->pq", moved, moved) / (len(moved) * (self.n - 1) * self.n)
        if self.ladder.tuned or len(self.points) > 1:
            found = found * WIDENING**2
        return found if self.ladder.paired else np.diag(np.diag(found))

    @property
    def n(self) -> int:
        """Seeds."""
        return self.points.shape[2]

    def p_cliff(self, window: Window) -> float:
        """p-value of "this is no cliff": the largest over all that a cliff must be.

        From the upper level to *every* level as low as the lower one, utility must fall by half of the way
        from *any* point to *any* level (or to chance), and by a tenth of what any point has. All of it must
        be shown, so each part may be tested at the full level (intersection-union); nothing is chosen.
        """
        places = np.eye(len(self.means))
        below = np.arange(window.low + 1)
        return _p_above(min(map(np.min, self._t(window, below, places, places[: self.levels]))), self.n - 1)

    def p_none(self, window: Window) -> float:
        """p-value of "there is a cliff here".

        A cliff's fall would be at least half of the way from the last point (the baseline, or the highest
        level) to the lowest level (or to chance), and a tenth of what that point has. One of the two must
        be shown to fail; the lesser p-value is doubled for the choice.
        """
        places = np.eye(len(self.means))
        found = self._t(window, np.array([window.low]), places[-1:], places[:1])
        return min(1.0, len(found) * min(_p_above(-float(t[0]), self.n - 1) for t in found))

    @property
    def levels(self) -> int:
        """Levels of the ladder."""
        return self.ladder.epsilons.size

    def _t(
        self,
        window: Window,
        below: NDArray[np.int64],
        tops: NDArray[np.float64],
        bottoms: NDArray[np.float64],
    ) -> list[NDArray[np.float64]]:
        """The t statistics of "the fall exceeds what a cliff's must be", by requirement.

        ``below`` are the places that utility falls to; ``tops`` and ``bottoms`` the rows of weights of the
        points that the range may lie between.
        """
        places = np.eye(len(self.means))
        falls = places[window.high] - places[below]
        if self.chance is None:
            ranges = (tops[:, None] - bottoms[None, :]).reshape(-1, len(self.means))
            found = [self._t_of(falls, SHARE * ranges, 0.0)]
        else:
            found = [self._t_of(falls, SHARE * tops, SHARE * self.chance)]
        if self.ladder.worst is not None:
            found.append(self._t_of(falls, LEAST * tops, LEAST * self.ladder.worst))
        return found

    def _t_of(
        self, falls: NDArray[np.float64], less: NDArray[np.float64], plus: float
    ) -> NDArray[np.float64]:
        """For each row of ``falls`` and of ``less``: t of the mean of their difference, plus a constant."""
        weights = (falls[:, None] - less[None, :]).reshape(-1, len(self.means))
        mean = weights @ self.means + plus
        variance = np.einsum("qp,qp->q", weights @ self.covariance, weights).clip(min=0)
        if self.ladder.num_test is not None:
            floor = least_sd(falls @ self.means, self.ladder.num_test) ** 2 / self.n
            variance = np.maximum(variance, np.repeat(floor, len(less)))
        flat = variance * self.n <= (NO_SPREAD * mean) ** 2
        t = mean / np.sqrt(np.where(flat, 1.0, variance))
        certain = np.where(mean == 0, 0.0, np.copysign(fallback_t(self.n), mean))
        return np.where(flat, certain, t)


def _p_above(t: float, df: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(df, -t))
