r"""By what the trials of a tuning are ranked, and what their scores cost.

**Public rows.** A score on rows that anyone may see is a function of the model: post-processing.

**Private rows.** The rows that trials are scored on are another part of the same private data, on which no
trial trains; which part a row belongs to does not depend on other rows. A trial then releases its model and
the number of private rows that it gets right plus discrete Gaussian noise of standard deviation ``s``, drawn
for each trial by itself. Take two data sets that differ in one row. If that row is one to train on, the
scored rows are equal, so that the noisy count is post-processing, and a trial's profile is that of training.
If it is one to be scored, the models have one law, and given the model, which is released, the count moves by
at most 1: a trial's profile is that of ``DiscreteGaussian(s)``. No pair of neighbours meets both, so that the
theorem on selection (`clifftop.accounting.selection_bounds`), which is about one pair, gives the larger of
the two epsilons and not their sum. Scores that count nothing (a loss has no bound) are refused.

A trial whose parameters are not all finite has the worst score, whatever its rows say: a function of the
model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, final

from clifftop.events import DiscreteGaussian, NeighboringRelation
from clifftop.lab.tuning.covering import SelectionLaw, selection_epsilons
from clifftop.lab.tuning.discrete import discrete_gaussian
from clifftop.lab.tuning.errors import TuneError

if TYPE_CHECKING:
    from numpy.random import Generator

    from clifftop.lab.spec import Factory

WORST = -math.inf
COUNTED = ("clifftop.criteria:accuracy", "clifftop.criteria:binary_accuracy")
"""Metrics that are 0 or 1 for every row, so that their sum is a count."""
QUARTERS = 4
"""Standard deviations are whole numbers of quarters of a row, which are exact."""
LARGEST_STD = 1 << 20


class ScoreRule(ABC):
    """How a trial's mean metric on the scored rows becomes its score."""

    @abstractmethod
    def score(self, mean: float, rng: Generator) -> float:
        """The score of a trial; `WORST` for one that has none. ``rng`` is secret and this trial's own."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The rows and the noise, as part of a sentence."""


@final
@dataclass(frozen=True, kw_only=True)
class PublicScore(ScoreRule):
    """The metric itself, on rows that are public.

    Attributes:
        maximize: whether more is better.
    """

    maximize: bool

    def score(self, mean: float, rng: Generator) -> float:
        """See `ScoreRule.score`; what is not finite is worst."""
        del rng
        if not math.isfinite(mean):
            return WORST
        return mean if self.maximize else -mean

    @property
    def words(self) -> str:
        """See `ScoreRule.words`."""
        return "on rows that are public"


@final
@dataclass(frozen=True, kw_only=True)
class CountScore(ScoreRule):
    """The number of private rows that a model gets right, with noise.

    Attributes:
        num_rows: M, public as N is.
        std: of the discrete Gaussian noise, in quarters of a row.
        maximize: whether more is better.
    """

    num_rows: int
    std: float
    maximize: bool

    def score(self, mean: float, rng: Generator) -> float:
        """See `ScoreRule.score`."""
        count = round(mean * self.num_rows) + discrete_gaussian(Fraction(self.std), rng)
        return float(count if self.maximize else -count)

    @property
    def words(self) -> str:
        """See `ScoreRule.words`."""
        return (
            f"on {self.num_rows:,} private rows that no trial trained on, as the number of rows that a model "
            f"gets right plus discrete Gaussian noise of standard deviation {self.std:g} rows"
        )


def require_count(metric: Factory | None, name: str) -> None:
    """Refuse a score on private rows that is no count; ``name`` is what it is recorded as.

    Raises:
        TuneError: it is none.
    """
    if metric is None or metric.target not in COUNTED or metric.options:
        found = name if metric is None else metric.target
        raise TuneError(
            f"a score on private rows must be a count, {' or '.join(COUNTED)}, found {found}; "
            "choose such an objective, or score on public rows"
        )


def refuse_clipping(metrics: Iterable[Factory]) -> None:
    """Refuse scores of what clipping does: private training rows decide them, and no noise hides it.

    Raises:
        TuneError: there is one.
    """
    from clifftop.criteria import ClippingScore
    from clifftop.lab.evaluate import build_metric

    for metric in metrics:
        if isinstance(build_metric(metric), ClippingScore):
            raise TuneError(
                f"metrics of a tuning must not look at training rows, found {metric.target}; remove it"
            )


def least_std(
    trials: SelectionLaw, *, epsilon: float, delta: float, neighboring_relation: NeighboringRelation
) -> float:
    """The least noise, in whole quarters of a row, one row at least, whose selection is within ``epsilon``.

    Raises:
        TuneError: no noise is enough.
    """

    def fits(quarters: int) -> bool:
        cost = score_epsilon(
            quarters / QUARTERS, trials, delta=delta, neighboring_relation=neighboring_relation
        )
        return cost <= epsilon

    high = QUARTERS
    while not fits(high):
        high *= 2
        if high > QUARTERS * LARGEST_STD:
            raise TuneError(
                f"epsilon must leave room for a noisy score, found epsilon={epsilon:.4g} at delta={delta:g}; "
                "score on public rows, or raise epsilon"
            )
    low = high // 2 if high > QUARTERS else QUARTERS - 1
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high / QUARTERS


def score_epsilon(
    std: float, trials: SelectionLaw, *, delta: float, neighboring_relation: NeighboringRelation
) -> float:
    """What the selection costs a scored row."""
    runs: Sequence[DiscreteGaussian] = [DiscreteGaussian(noise_multiplier=std)]
    (bound,) = selection_epsilons(runs, [trials], delta=delta, neighboring_relation=neighboring_relation)
    return bound.upper
