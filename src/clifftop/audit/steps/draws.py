"""Noise by itself: a step's release with noise minus the same release without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.steps.adapter import PrivateStepUnderTest, StepClaim, released

_MOST_OF_A_BLOCK = 2048


@final
@dataclass(frozen=True, kw_only=True)
class NoiseDraws:
    """The noise of K consecutive steps, in units of the claimed standard deviation.

    Attributes:
        values: ``(K, p)``: the numbers kept, at most 2048 of a parameter.
        blocks: where each parameter lies among them.
        half: how many of the steps had a batch of examples; the others had none.
        never: for each parameter, how many of all its numbers got no noise in any step.
        raw_empty: ``(k, p)`` the releases of empty batches as they were, which no subtraction has rounded.
    """

    values: NDArray[np.float64]
    blocks: tuple[tuple[str, slice], ...]
    half: int
    never: tuple[tuple[str, int], ...]
    raw_empty: NDArray[np.float64]


def draw_noise(
    step: PrivateStepUnderTest, *, seed: int, steps: int = 48, with_empty: bool = True
) -> NoiseDraws:
    """The noise of ``steps`` consecutive steps, the later half of them on empty batches.

    Args:
        step: the step.
        seed: the first step's; the others follow it.
        steps: K.
        with_empty: whether the step takes empty batches; if not, all have examples.
    """
    batch = _batch(step, seed)
    half = steps // 2 if with_empty else steps
    kept, blocks = _kept(step.claim, np.random.default_rng(seed))
    values = np.empty((steps, kept.size))
    moved = np.zeros(step.claim.size, dtype=bool)
    raw: list[NDArray[np.float64]] = []
    for k in range(steps):
        indices = batch if k < half else ()
        loud = released(step, indices, noise=True, seed=seed + k)
        quiet = released(step, indices, noise=False, seed=seed + k)
        with np.errstate(invalid="ignore", over="ignore"):
            noise = loud - quiet
        moved |= noise != 0
        values[k] = noise[kept] / step.claim.noise_std(len(indices))
        if k >= half:
            raw.append(loud[kept])
    never = tuple((name, int((~moved[where]).sum())) for name, where in step.claim.blocks())
    empty = np.array(raw) if raw else np.empty((0, kept.size))
    return NoiseDraws(values=values, blocks=blocks, half=half, never=never, raw_empty=empty)


def _batch(step: PrivateStepUnderTest, seed: int) -> tuple[int, ...]:
    """A few examples: rounding in the subtraction is in proportion to their sum."""
    rng = np.random.default_rng(seed)
    drawn: list[int] = rng.choice(step.examples, size=min(5, step.examples), replace=False).tolist()
    return tuple(drawn)


def _kept(
    claim: StepClaim, rng: np.random.Generator
) -> tuple[NDArray[np.int64], tuple[tuple[str, slice], ...]]:
    """Which numbers are kept: the first half of a block's share as they come, others from anywhere."""
    parts: list[NDArray[np.int64]] = []
    blocks: list[tuple[str, slice]] = []
    start = 0
    for name, where in claim.blocks():
        size = where.stop - where.start
        chosen = np.arange(size)
        if size > _MOST_OF_A_BLOCK:
            first = _MOST_OF_A_BLOCK // 2
            later = first + rng.choice(size - first, size=first, replace=False)
            chosen = np.concatenate([chosen[:first], np.sort(later)])
        parts.append(where.start + chosen)
        blocks.append((name, slice(start, start + chosen.size)))
        start += chosen.size
    return np.concatenate(parts), tuple(blocks)
