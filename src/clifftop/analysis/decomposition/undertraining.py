"""What a baseline loses by being stopped where it fits its training data as a private run does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from clifftop.analysis.decomposition.aligning import FITTED, Aligned
from clifftop.analysis.decomposition.parts import Floats
from clifftop.analysis.decomposition.values import StoppableRun, TrainingFits
from clifftop.analysis.evidence import Arm


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Stops:
    """Baselines stopped at private runs' training fits, for the n seeds of one cell, halved in H ways.

    Attributes:
        utilities: ``(H, n)`` of the stopped baseline; NaN where a fit is not known, for all halvings alike.
        fits_better: how many seeds have a private run that fits better than its baseline ever does.
        bounded: how many have a baseline that fits better at its first evaluation already.
    """

    utilities: Floats
    fits_better: int
    bounded: int


@final
@dataclass(frozen=True, kw_only=True)
class Stop:
    """One baseline, stopped."""

    utility: float = math.nan
    fits_better: bool = False
    bounded: bool = False


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """A baseline's training fit over its K evaluations, ready to be searched; no value is NaN, K > 0."""

    fit: Floats
    lowest: Floats
    utilities: Floats

    @staticmethod
    def of(run: StoppableRun, *, maximize: bool) -> Descent | None:
        """A baseline's evaluations with a fit and a score; None without any."""
        known = np.isfinite(run.fit) & np.isfinite(run.scores)
        if not known.any():
            return None
        fit, scores = run.fit[known], run.scores[known]
        return Descent(fit=fit, lowest=np.minimum.accumulate(fit), utilities=scores if maximize else -scores)

    def first_below(self, fit: float) -> int:
        """The first evaluation whose fit is at least as good; K where none is.

        >>> fall = Descent(fit=np.array([2.0, 1.0]), lowest=np.array([2.0, 1.0]), utilities=np.zeros(2))
        >>> fall.first_below(1.5), fall.first_below(2.5), fall.first_below(0.5)
        (1, 0, 2)
        """
        return int(np.searchsorted(-self.lowest, -fit))

    def stop(self, fit: float, end: float) -> Stop:
        """The baseline where it first fits as well; at its end, of utility ``end``, where it never does."""
        first = self.first_below(fit)
        if first == self.fit.size:
            return Stop(utility=end, fits_better=True)
        if first == 0:
            return Stop(utility=float(self.utilities[0]), bounded=True)
        return Stop(utility=self.between(first, fit))

    def between(self, place: int, fit: float) -> float:
        """The utility where the fit passes ``fit`` between the evaluation before ``place`` and that one."""
        before, after = self.fit[place - 1], self.fit[place]
        share = (before - fit) / (before - after)
        return float(self.utilities[place - 1] + share * (self.utilities[place] - self.utilities[place - 1]))


@final
@dataclass(kw_only=True, eq=False)
class Stopper:
    """Stops baselines; looks at each baseline, and at each pair, once."""

    fits: TrainingFits
    maximize: bool
    _descents: dict[str, Descent | None] = field(default_factory=dict)
    _stops: dict[tuple[str, str], Stop] = field(default_factory=dict)

    def __call__(self, row: Aligned) -> Stops:
        """The baseline of every seed, stopped at the fit of the seed's private run."""
        ends, runs = row.utilities.get(Arm.NEITHER), [row.runs.get(arm) for arm in FITTED]
        if ends is None or not all(runs) or not all(half for arm in runs for half in arm or ()):
            shape = next(iter(row.utilities.values())).shape
            return Stops(utilities=np.full(shape, np.nan), fits_better=0, bounded=0)
        table = [
            [self._stop(*pair) for pair in zip(private, baseline, end, strict=True)]
            for private, baseline, end in zip(*(arm or () for arm in runs), ends.tolist(), strict=True)
        ]
        utilities = np.array([[stop.utility for stop in halving] for halving in table])
        return Stops(
            utilities=np.where(np.isnan(utilities).any(axis=0), np.nan, utilities),
            fits_better=sum(any(stop.fits_better for stop in seed) for seed in zip(*table, strict=True)),
            bounded=sum(any(stop.bounded for stop in seed) for seed in zip(*table, strict=True)),
        )

    def _stop(self, private: str, baseline: str, end: float) -> Stop:
        found = self._stops.get((private, baseline))
        if found is None:
            fit, descent = self.fits.fit.get(private, math.nan), self._descent(baseline)
            found = Stop() if descent is None or not math.isfinite(fit) else descent.stop(fit, end)
            self._stops[private, baseline] = found
        return found

    def _descent(self, baseline: str) -> Descent | None:
        if baseline not in self._descents:
            run = self.fits.baselines.get(baseline)
            self._descents[baseline] = None if run is None else Descent.of(run, maximize=self.maximize)
        return self._descents[baseline]


def stopped(rows: Sequence[Aligned], fits: TrainingFits, *, maximize: bool) -> list[Stops]:
    """For every cell its baselines, stopped at the private runs' training fits."""
    stop = Stopper(fits=fits, maximize=maximize)
    return [stop(row) for row in rows]
