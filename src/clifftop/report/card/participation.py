"""Who really took part: a run's batches, drawn again from its own streams, against what was accounted.

Draws follow from the seed and the step alone, so that the batches of a finished run can be drawn again. Of
the data nothing is needed but how many rows there are.

**A fixed order** is checked exactly: no row may take part more often than was accounted.

**Poisson sampling** cannot be seen in one outcome; what can be seen is whether the outcome is plausible. With
N rows, T steps, probability q and ``v = q (1 - q)``, under Poisson sampling

- the draws in all are binomial, ``Bin(N T, q)``; their p-value is exact;
- a batch size is ``Bin(N, q)``: the sum of its squared standard scores over T steps has mean T and variance
  ``T (2 + (1 - 6 v) / (N v))``, and its p-value is that of the scaled chi-square law with these two moments;
- how often one row took part is ``Bin(T, q)``: the same with N and T exchanged. It finds epochs in a shuffled
  order, in which rows take part equally often;
- neighbouring rows in one batch, and one row in successive batches, are pairs of chance ``q^2``: in m chains
  of n such pairs their number has mean ``m n q^2`` and variance
  ``m (n q^2 (1 - q^2) + 2 (n - 1) q^3 (1 - q))``; its p-value is normal. They find blocks of rows, and rows
  that stay from one batch to the next.

Approximate statistics are used where they have enough terms. A row that a batch lists twice would count
twice: that is an error at once. The check fails if any p-value is below `LEVEL` over the number of
statistics; so a sound run fails with a chance of about `LEVEL`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import numpy as np

from clifftop.sampling import BatchSampler, FixedOrder, Indices, Poisson, StepGenerators

if TYPE_CHECKING:
    from clifftop.noise import RunStreams

LEVEL = 1e-4
"""The chance that a sound Poisson sampler fails, about."""
MOST_DRAWS = 200_000_000
"""Rows times steps that are drawn again, at most: about two seconds."""
_ENOUGH_SPREAD = 200.0
_ENOUGH_COUNTS = 5
_ENOUGH_PAIRS = 400.0


@final
@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One way to look at the batches.

    Attributes:
        name: what is counted.
        observed: the count, or the sum of squared standard scores.
        expected: its mean under Poisson sampling.
        p_value: two-sided.
    """

    name: str
    observed: float
    expected: float
    p_value: float


@final
@dataclass(frozen=True, kw_only=True)
class Participation:
    """What was seen of a run's batches.

    Attributes:
        steps: of the run.
        steps_seen: how many of its first steps were drawn again.
        batch_sizes: the least, mean and largest number of rows of a batch.
        expected_size: the mean that was accounted.
        rounds: in how many batches a row took part: the least, mean and largest over rows.
        expected_rounds: the mean of that, or in a fixed order the most that was accounted.
        statistics: of a random sampler; empty for a fixed order.
        faults: what cannot be, or is not plausible; empty if all is well.
    """

    steps: int
    steps_seen: int
    batch_sizes: tuple[int, float, int]
    expected_size: float
    rounds: tuple[int, float, int]
    expected_rounds: float
    statistics: tuple[Statistic, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the batches are what was accounted, as far as can be seen."""
        return not self.faults


class UnknownSampler(ValueError):
    """A sampler for which it is not known what its batches must look like."""


def look_at_batches(
    sampler: BatchSampler, *, steps: int, num_examples: int, rng: StepGenerators
) -> Participation:
    """Draw a run's batches again and compare them with what was accounted.

    Args:
        sampler: of the run's plan.
        steps: of the run.
        num_examples: N.
        rng: the run's own generator of each step; see `drawn_by`.

    Raises:
        UnknownSampler: neither Poisson sampling nor a fixed order.
    """
    seen = min(steps, max(1, MOST_DRAWS // num_examples))
    batches = itertools.islice(sampler.batches(num_examples, rng), seen)
    match sampler:
        case Poisson(sampling_prob=q):
            return check_poisson(batches, sampling_prob=q, num_examples=num_examples, steps=steps)
        case FixedOrder():
            most = sampler.participations(steps=steps, num_examples=num_examples)
            return check_rounds(batches, most=most, num_examples=num_examples, steps=steps)
        case _:
            raise UnknownSampler(
                f"batches are checked of Poisson and FixedOrder, found {type(sampler).__name__}; use one of "
                "them"
            )


def drawn_by(streams: RunStreams, seed: int) -> StepGenerators:
    """The generators that drew the batches of a run with this seed."""
    return partial(streams.sampling, seed)


def check_poisson(
    batches: Iterable[Indices], *, sampling_prob: float, num_examples: int, steps: int
) -> Participation:
    """Whether batches are plausible as Poisson samples of probability ``sampling_prob``."""
    seen = _count(batches, num_examples)
    statistics = tuple(_statistics(seen, q=sampling_prob))
    faults = list(_impossible(seen))
    level = LEVEL / max(1, len(statistics))
    faults += [
        f"{one.name}: {one.observed:.6g} where Poisson sampling gives {one.expected:.6g} on average "
        f"(p = {one.p_value:.1e}, below {level:.1e})"
        for one in statistics
        if one.p_value < level
    ]
    return Participation(
        steps=steps,
        steps_seen=seen.steps,
        batch_sizes=seen.batch_sizes,
        expected_size=num_examples * sampling_prob,
        rounds=seen.rounds_of_rows,
        expected_rounds=seen.steps * sampling_prob,
        statistics=statistics,
        faults=tuple(faults),
    )


def check_rounds(batches: Iterable[Indices], *, most: int, num_examples: int, steps: int) -> Participation:
    """Whether no row takes part in more than ``most`` batches."""
    seen = _count(batches, num_examples)
    faults = list(_impossible(seen))
    if seen.rounds.max(initial=0) > most:
        faults.append(f"a row took part in {seen.rounds.max()} batches where {most} were accounted")
    return Participation(
        steps=steps,
        steps_seen=seen.steps,
        batch_sizes=seen.batch_sizes,
        expected_size=seen.sizes.mean(),
        rounds=seen.rounds_of_rows,
        expected_rounds=float(most),
        faults=tuple(faults),
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    sizes: np.ndarray
    rounds: np.ndarray
    neighbours: int
    stayed: int
    listed_twice: int
    out_of_range: int

    @property
    def steps(self) -> int:
        return len(self.sizes)

    @property
    def batch_sizes(self) -> tuple[int, float, int]:
        return int(self.sizes.min()), float(self.sizes.mean()), int(self.sizes.max())

    @property
    def rounds_of_rows(self) -> tuple[int, float, int]:
        return int(self.rounds.min()), float(self.rounds.mean()), int(self.rounds.max())


def _count(batches: Iterable[Indices], num_examples: int) -> _Seen:
    rounds = np.zeros(num_examples, dtype=np.int64)
    before = np.zeros(num_examples, dtype=np.bool_)
    sizes: list[int] = []
    neighbours = stayed = twice = outside = 0
    for batch in batches:
        rows = np.unique(batch)
        twice += len(batch) - len(rows)
        inside = rows[(rows >= 0) & (rows < num_examples)]
        outside += len(rows) - len(inside)
        sizes.append(len(batch))
        rounds[inside] += 1
        neighbours += int(np.count_nonzero(np.diff(inside) == 1))
        stayed += int(np.count_nonzero(before[inside]))
        before[:] = False
        before[inside] = True
    return _Seen(
        sizes=np.asarray(sizes, dtype=np.int64),
        rounds=rounds,
        neighbours=neighbours,
        stayed=stayed,
        listed_twice=twice,
        out_of_range=outside,
    )


def _impossible(seen: _Seen) -> Iterator[str]:
    if seen.listed_twice:
        yield f"batches list {seen.listed_twice} rows twice, which then count twice"
    if seen.out_of_range:
        yield f"batches list {seen.out_of_range} rows that are not there"


def _statistics(seen: _Seen, *, q: float) -> Iterator[Statistic]:
    n, t = len(seen.rounds), seen.steps
    total = int(seen.sizes.sum())
    yield Statistic(
        name="rows drawn in all steps",
        observed=total,
        expected=n * t * q,
        p_value=binomial_p_value(total, trials=n * t, prob=q),
    )
    for name, counts, trials in (
        ("spread of the batch sizes", seen.sizes, n),
        ("spread of how often a row took part", seen.rounds, t),
    ):
        if enough_spread(trials=trials, counts=len(counts), prob=q):
            observed = float((((counts - trials * q) ** 2) / (trials * q * (1.0 - q))).sum())
            p_value = spread_p_value(observed, trials=trials, counts=len(counts), prob=q)
            yield Statistic(name=name, observed=observed, expected=float(len(counts)), p_value=p_value)
    for name, pairs, links, chains in (
        ("neighbouring rows drawn together", seen.neighbours, n - 1, t),
        ("rows drawn in successive steps", seen.stayed, t - 1, n),
    ):
        if q < 1 and links * chains * q * q >= _ENOUGH_PAIRS:
            yield _pairs(name, pairs, links=links, chains=chains, q=q)


def _pairs(name: str, observed: int, *, links: int, chains: int, q: float) -> Statistic:
    from scipy import special

    expected = chains * links * q * q
    variance = chains * (links * q * q * (1.0 - q * q) + 2.0 * (links - 1) * q**3 * (1.0 - q))
    score = abs(observed - expected) / math.sqrt(variance)
    return Statistic(
        name=name, observed=observed, expected=expected, p_value=float(2.0 * special.ndtr(-score))
    )


def enough_spread(*, trials: int, counts: int, prob: float) -> bool:
    """Whether so many binomial counts have a spread that two moments describe."""
    return counts >= _ENOUGH_COUNTS and trials * prob * (1.0 - prob) * counts >= _ENOUGH_SPREAD


def spread_p_value(observed: float, *, trials: int, counts: int, prob: float) -> float:
    """Two-sided p-value of the sum of squared standard scores of binomial counts; see the module."""
    from scipy import special

    v = prob * (1.0 - prob)
    variance = counts * (2.0 + (1.0 - 6.0 * v) / (trials * v))
    shape, scale = counts**2 / variance, variance / counts
    low, high = special.gammainc(shape, observed / scale), special.gammaincc(shape, observed / scale)
    return float(min(1.0, 2.0 * min(low, high)))


def binomial_p_value(observed: int, *, trials: int, prob: float) -> float:
    """Two-sided: twice the smaller tail, ``observed`` included in both."""
    from scipy import special

    if prob == 1.0:
        return float(observed == trials)
    # The incomplete beta functions are the tails, at any size.
    at_least = 1.0 if observed <= 0 else float(special.betainc(observed, trials - observed + 1, prob))
    at_most = 1.0 if observed >= trials else float(special.betaincc(observed + 1, trials - observed, prob))
    return min(1.0, 2.0 * min(at_least, at_most))
