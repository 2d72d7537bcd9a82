"""What the audit keeps of a block of runs: sums that checks and estimates are made of. Blocks add up.

Everything here is chosen before a run is seen: which runs, pairs and lags are looked at depends on sizes
alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, final

import numpy as np

from clifftop.audit.runs.protocol import Flags, Observed, Releases

RUNS_LOOKED_AT = 8
"""Of each block, for correlations; a twentieth of a training shows a tie of a few per cent."""
CANARIES_LOOKED_AT = 64
"""Of each run, for correlations over steps, of which there are many."""
SHAPE_SAMPLE = 4096
MOST_LAGS = 512


@final
@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over numbers: how many, their sum, their squares'."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Self) -> Moments:
        return Moments(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    @property
    def mean(self) -> float:
        """Of the numbers; 0 for none."""
        return self.total / max(1, self.count)


@final
@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Sums over pairs of numbers: of each with itself, and with the other.

    No second number is in another pair; a first one may be the first of several.
    """

    count: int = 0
    first: float = 0.0
    second: float = 0.0
    both: float = 0.0

    def __add__(self, other: Self) -> Pairs:
        return Pairs(
            count=self.count + other.count,
            first=self.first + other.first,
            second=self.second + other.second,
            both=self.both + other.both,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Draws:
    """What the sampler did with the places of the canaries, present or not.

    Attributes:
        drawn: how many places were drawn, over runs, steps and canaries.
        places: out of so many.
        participations: ``(T + 1,)`` how many places were drawn so often in their run.
        batches: ``(k + 1,)`` how many steps drew so many of the places.
    """

    drawn: int
    places: int
    participations: tuple[int, ...]
    batches: tuple[int, ...]

    def __add__(self, other: Self) -> Draws:
        return Draws(
            drawn=self.drawn + other.drawn,
            places=self.places + other.places,
            participations=_added(self.participations, other.participations),
            batches=_added(self.batches, other.batches),
        )


@final
@dataclass(frozen=True, kw_only=True)
class Tally:
    """Sums over runs.

    Attributes:
        absent: of the releases along canaries that are absent: noise alone.
        included: of those along canaries that are present and drawn; None where draws are not known.
        draws: the sampler's, or None.
        ties: pairs of absent canaries of one step, by their distance in powers of two.
        lags: pairs of steps along one absent canary, by distance from 1 on.
        runs: pairs of runs, at one step and canary that is absent in both: neighbours of one block, and the
            first run of the first block, which is in no other pair, with that of each other.
        sample: some releases along absent canaries of the first block.
        first: the first run of the first block, absent canaries only, others 0: ``(T, k)``.
    """

    absent: Moments
    included: Moments | None
    draws: Draws | None
    ties: tuple[Pairs, ...]
    lags: tuple[Pairs, ...]
    runs: Pairs
    sample: Releases
    first: Releases
    first_absent: Flags

    def __add__(self, other: Tally) -> Tally:
        across = _pairs(self.first, other.first, self.first_absent & other.first_absent)
        return Tally(
            absent=self.absent + other.absent,
            included=None if not (self.included and other.included) else self.included + other.included,
            draws=None if not (self.draws and other.draws) else self.draws + other.draws,
            ties=tuple(a + b for a, b in zip(self.ties, other.ties, strict=True)),
            lags=tuple(a + b for a, b in zip(self.lags, other.lags, strict=True)),
            runs=self.runs + other.runs + across,
            sample=self.sample,
            first=self.first,
            first_absent=self.first_absent,
        )


def tally(observed: Observed) -> Tally:
    """The sums over a block of runs."""
    absent = ~observed.present
    noise = np.where(absent[:RUNS_LOOKED_AT, None], observed.releases[:RUNS_LOOKED_AT], np.float32(0))
    known = observed.drawn is not None
    return Tally(
        absent=_absent(observed.releases, absent),
        included=_included(observed) if known else None,
        draws=_draws(observed) if known else None,
        ties=tuple(_ties(noise, absent[:RUNS_LOOKED_AT])),
        lags=tuple(_lags(noise[..., :CANARIES_LOOKED_AT], absent[:RUNS_LOOKED_AT, :CANARIES_LOOKED_AT])),
        runs=_neighbours(noise[1:], absent[1:RUNS_LOOKED_AT]),
        sample=_sample(noise, absent[:RUNS_LOOKED_AT]),
        first=noise[0],
        first_absent=absent[0],
    )


def _absent(releases: Releases, absent: Flags) -> Moments:
    total = squares = 0.0
    for run, flags in zip(releases, absent, strict=True):
        # A row of canaries at a time: float32 sums stay short, and the total is in float64.
        total += float((run @ flags.astype(np.float32)).sum(dtype=np.float64))
        squares += float(np.einsum("tk,tk,k->t", run, run, flags, optimize=False).sum(dtype=np.float64))
    return Moments(count=int(absent.sum()) * releases.shape[1], total=total, squares=squares)


def _included(observed: Observed) -> Moments:
    assert observed.drawn is not None
    found = Moments()
    for run, drawn, present in zip(observed.releases, observed.drawn, observed.present, strict=True):
        values = run[drawn & present].astype(np.float64)
        found += Moments(count=len(values), total=float(values.sum()), squares=float((values * values).sum()))
    return found


def _draws(observed: Observed) -> Draws:
    assert observed.drawn is not None
    _, steps, canaries = observed.drawn.shape
    per_place, per_step = observed.drawn.sum(1), observed.drawn.sum(2)
    return Draws(
        drawn=int(per_place.sum()),
        places=observed.drawn.size,
        participations=tuple(np.bincount(per_place.ravel(), minlength=steps + 1).tolist()),
        batches=tuple(np.bincount(per_step.ravel(), minlength=canaries + 1).tolist()),
    )


def _ties(noise: Releases, absent: Flags) -> Iterator[Pairs]:
    """Along the canaries: distance 1, 2, 4, ..."""
    canaries = noise.shape[2]
    distance = 1
    while distance < canaries:
        left = _left(canaries, distance)
        flags = absent[:, left] & absent[:, left + distance]
        yield _pairs(noise[:, :, left], noise[:, :, left + distance], flags[:, None])
        distance *= 2


def _lags(noise: Releases, absent: Flags) -> Iterator[Pairs]:
    """Along the steps: distance 1, 2, 3, ..."""
    steps = noise.shape[1]
    for distance in range(1, min(steps, MOST_LAGS + 1)):
        left = _left(steps, distance)
        yield _pairs(noise[:, left], noise[:, left + distance], absent[:, None])


def _neighbours(noise: Releases, absent: Flags) -> Pairs:
    pairs = len(noise) // 2
    if not pairs:
        return Pairs()
    flags = absent[0 : 2 * pairs : 2] & absent[1 : 2 * pairs : 2]
    return _pairs(noise[0 : 2 * pairs : 2], noise[1 : 2 * pairs : 2], flags[:, None])


def _pairs(first: Releases, second: Releases, flags: Flags) -> Pairs:
    """Sums over places where ``flags``, which spread over the steps, hold; elsewhere one of the two is 0."""
    kept = flags.astype(np.float32)
    first, second = first * kept, second * kept
    return Pairs(
        count=int(np.broadcast_to(flags, first.shape).sum()),
        first=_dot(first, first),
        second=_dot(second, second),
        both=_dot(first, second),
    )


def _dot(first: Releases, second: Releases) -> float:
    return float((first * second).sum(dtype=np.float64))


def _left(size: int, distance: int) -> np.ndarray:
    """Places whose partner is ``distance`` on, so that no place is in two pairs."""
    return _left_places(size, distance).copy()


@functools.lru_cache(maxsize=2048)
def _left_places(size: int, distance: int) -> np.ndarray:
    places = np.arange(size - distance)
    return places[(places // distance) % 2 == 0]


def _sample(noise: Releases, absent: Flags) -> Releases:
    values = noise[np.broadcast_to(absent[:, None], noise.shape)]
    return values[:: max(1, len(values) // SHAPE_SAMPLE)][:SHAPE_SAMPLE].copy()


def _added(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))
