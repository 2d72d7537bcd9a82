"""What the published study releases of one canary: its sampler, its clipping, its noise; no model.

The canary's gradient has the clip norm and a coordinate of its own, where every other row has 0: the worst
case that the privacy of a release is about. The study sums clipped gradients and adds noise of
``sigma * C`` to every coordinate, so along the canary's coordinate a step releases ``C + sigma * C * z``
where the canary is in the batch, and ``sigma * C * z`` where it is not. "Absent" is the data set in which its
gradient is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clifftop.sampling import FixedOrder
from clifftop.studies.no_cliff.presets import BATCH_SIZE, EPOCHS, NUM_EXAMPLES, STEPS, STEPS_PER_EPOCH

Scores = NDArray[np.float64]
Scoring = Callable[[int, bool, float, np.random.Generator], Scores]
"""(runs, present, sigma, rng): the exact log-likelihood ratio of each run."""
CLIP_NORM = 1.0
CHUNK = 100_000
FOUND = 0.8
"""The true-positive rate that is planned for: room for chance."""


def batches_of_the_canary(row: int = 0) -> list[int]:
    """The steps whose batch holds a row, by the study's own sampler."""
    sampler = FixedOrder(batch_size=BATCH_SIZE)

    def batch(step: int) -> NDArray[np.int64]:
        return sampler.batch(step, num_examples=NUM_EXAMPLES, rng=np.random.default_rng)

    return [step for step in range(STEPS) if row in batch(step)]


def fixed_order(runs: int, present: bool, sigma: float, rng: np.random.Generator) -> Scores:  # noqa: FBT001
    """The study as it ran: never shuffled, so the canary's 20 steps are known."""
    steps = len(batches_of_the_canary())
    noise = rng.standard_normal((runs, steps), dtype=np.float32)
    released = present * CLIP_NORM + sigma * CLIP_NORM * noise
    # log N(x; 1, sigma) - log N(x; 0, sigma), added up over the steps that hold the canary
    mean = released.mean(axis=1, dtype=np.float64) / CLIP_NORM
    return steps * (2 * mean - 1) / (2 * sigma**2)


def shuffled(runs: int, present: bool, sigma: float, rng: np.random.Generator) -> Scores:  # noqa: FBT001
    """The same with the rows shuffled every epoch: which of the 7 batches holds the canary is not known."""
    sizes = np.diff(np.minimum(np.arange(STEPS_PER_EPOCH + 1) * BATCH_SIZE, NUM_EXAMPLES))
    log_chances = np.log(sizes / NUM_EXAMPLES).astype(np.float32)
    total = np.zeros(runs)
    for _ in range(EPOCHS):
        released = sigma * CLIP_NORM * rng.standard_normal((runs, STEPS_PER_EPOCH), dtype=np.float32)
        if present:
            place = rng.integers(NUM_EXAMPLES, size=runs) // BATCH_SIZE
            released[np.arange(runs), place] += CLIP_NORM
        ratios = log_chances + (2 * released / CLIP_NORM - 1) / (2 * sigma**2)
        most = ratios.max(axis=1)
        total += most + np.log(np.exp(ratios - most[:, None]).sum(axis=1))
    return total


SAMPLERS: dict[str, Scoring] = {"fixed order": fixed_order, "shuffled": shuffled}


def in_chunks(
    scoring: Scoring, runs: int, *, present: bool, sigma: float, rng: np.random.Generator
) -> Iterator[Scores]:
    """Scores of ``runs`` runs, some at a time."""
    make = partial(scoring, present=present, sigma=sigma, rng=rng)
    for start in range(0, runs, CHUNK):
        yield make(min(CHUNK, runs - start))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of runs with the canary and without."""

    present: Scores
    absent: Scores


def scored(scoring: Scoring, runs: int, *, sigma: float, rng: np.random.Generator) -> Scored:
    """``runs`` runs on each side."""
    sides = (
        np.concatenate(list(in_chunks(scoring, runs, present=side, sigma=sigma, rng=rng)))
        for side in (True, False)
    )
    present, absent = sides
    return Scored(present=present, absent=absent)


def log10_runs_to_refute(epsilon: float, *, tail: float) -> float:
    """How many runs without the canary, none of them a false positive, show more; the logarithm."""
    return (math.log(-math.log(tail) / FOUND) + epsilon) / math.log(10.0)
