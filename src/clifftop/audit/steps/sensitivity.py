"""The largest change that one example can make to a step's noiseless sum, searched for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.steps.adapter import PrivateStepUnderTest, Vector
from clifftop.audit.steps.findings import StepCheck, Witness
from clifftop.audit.steps.sums import Sums
from clifftop.events import NeighboringRelation

TOLERANCE = 1e-3
"""How far beyond its limit a change may be, relative to the clip norm: single precision and no more."""

_MOST_ALONE = 128
_MOST_TRIED = 12

Pair = tuple[tuple[int, ...], tuple[int, ...]]


@final
@dataclass(frozen=True, kw_only=True)
class Worst:
    """The pair of neighbouring batches whose sums were furthest apart.

    Attributes:
        batches: without and with the example, or with it and with another one instead.
        change: the L2 distance of the two sums; infinite where one of them is not finite.
        limit: the distance that the claim allows.
        pairs: how many pairs were looked at.
    """

    batches: Pair
    change: float
    limit: float
    pairs: int


def search(
    step: PrivateStepUnderTest, *, seed: int, budget_seconds: float = 3.0, sums: Sums | None = None
) -> Worst:
    """Search neighbouring batches for the largest change; a lower bound on the sensitivity.

    First every example alone (at most 128, the last ones among them), then the examples with the largest,
    the smallest and some other contributions beside: nothing, themselves once and three times, the
    example most opposed to them once and many times, a few others, and all; at the front, in the
    middle and at the end of the batch. Under `ZERO_OUT` others keep their places, so only at the end.

    Args:
        step: the step.
        seed: of the search and of each release.
        budget_seconds: of CPU, when to stop; what was found until then counts.
        sums: releases that are known already.
    """
    sums = Sums(step, seed=seed) if sums is None else sums
    limit = step.claim.clip_norm * (2 if _replaces(step) else 1)
    until = time.process_time() + budget_seconds
    worst, change, pairs = ((), ()), -1.0, 0
    for pair in _pairs(step, sums, np.random.default_rng(seed)):
        found = _distance(sums(pair[0]), sums(pair[1]))
        pairs += 1
        if found > change:
            worst, change = pair, found
        if time.process_time() > until:
            break
    return Worst(batches=worst, change=change, limit=limit, pairs=pairs)


def check_sensitivity(
    step: PrivateStepUnderTest, *, seed: int, budget_seconds: float = 3.0, sums: Sums | None = None
) -> StepCheck:
    """One example changes the sum by at most the clip norm (twice that where it is replaced)."""
    worst = search(step, seed=seed, budget_seconds=budget_seconds, sums=sums)
    what = "the sum's largest change (L2) from one example"
    return StepCheck(
        name="sensitivity",
        must_hold=f"one example must change the noiseless sum by at most {worst.limit:.4g}",
        found=f"{worst.change:.4g} in {worst.pairs} pairs of neighbouring batches",
        passed=worst.change <= worst.limit + TOLERANCE * step.claim.clip_norm,
        witness=Witness(what=what, value=worst.change, limit=worst.limit, batches=worst.batches),
    )


def _replaces(step: PrivateStepUnderTest) -> bool:
    return step.claim.relation is NeighboringRelation.REPLACE_ONE


def _distance(one: Vector, other: Vector) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        change = float(np.linalg.norm(other - one))
    return change if np.isfinite(change) else np.inf


def _pairs(step: PrivateStepUnderTest, sums: Sums, rng: np.random.Generator) -> Iterator[Pair]:
    """Neighbouring batches, the most telling ones first."""
    pool = _pool(step.examples, rng)
    alone: list[Vector] = []
    for z in pool:
        if not _replaces(step):
            yield (), (z,)
        alone.append(sums((z,)) - sums(()))
    directions = np.nan_to_num(np.array(alone), nan=0.0, posinf=0.0, neginf=0.0)
    norms = np.linalg.norm(directions, axis=1)
    cosines = _cosines(directions, norms)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(np.linalg.norm(np.array(alone), axis=1))
    for place in _tried(norms, finite, rng):
        z, opposed = pool[place], pool[int(cosines[place].argmin())]
        for context in _contexts(z, opposed, pool, rng):
            for at in _places(step, len(context)):
                before, after = tuple(context[:at]), tuple(context[at:])
                joined = (*before, z, *after)
                yield ((*before, opposed, *after), joined) if _replaces(step) else (tuple(context), joined)


def _pool(examples: int, rng: np.random.Generator) -> list[int]:
    if examples <= _MOST_ALONE:
        return list(range(examples))
    half = _MOST_ALONE // 2
    first: list[int] = rng.choice(examples - half, size=half, replace=False).tolist()
    return [*sorted(first), *range(examples - half, examples)]


def _cosines(directions: NDArray[np.float64], norms: Vector) -> NDArray[np.float64]:
    unit = directions / np.where(norms > 0, norms, 1.0)[:, None]
    return unit @ unit.T


def _tried(norms: Vector, finite: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    """Places of the examples that are put into batches: the largest, the smallest, some others."""
    order = np.argsort(np.where(finite, norms, np.inf))[::-1].tolist()
    rest = order[4:-3]
    some = rng.permutation(len(rest))[: _MOST_TRIED - 7].tolist()
    return list(dict.fromkeys([*order[:4], *order[-3:], *(rest[i] for i in some)]))


def _contexts(z: int, opposed: int, pool: Sequence[int], rng: np.random.Generator) -> Iterator[Sequence[int]]:
    others = [i for i in pool if i != z]
    few: list[int] = rng.permutation(others)[:7].tolist()
    yield from ([opposed], [z], [opposed] * 4, few, [z] * 3, [opposed] * 15, others)


def _places(step: PrivateStepUnderTest, size: int) -> tuple[int, ...]:
    if step.claim.relation is NeighboringRelation.ZERO_OUT:
        return (size,)
    if size > 16:
        return (size // 2,)
    return tuple(sorted({0, size // 2, size}))
