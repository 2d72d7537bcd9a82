"""Several workers must do what one would: one global draw, and noise of the claimed scale in the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy import stats

from clifftop.audit.steps import StepCheck, check_sampler, draw_batches
from clifftop.audit.steps import sampler as sampler_module
from clifftop.audit.steps.findings import Family, judged
from clifftop.audit.trainings.adapter import Array, Distributed
from clifftop.audit.trainings.findings import repeated, verdict

STATISTICAL_CHECKS = sampler_module.CHECKS + 1
WORLD = 4
_BATCHES = 400
_NOISE_STEPS = 64


@final
@dataclass(frozen=True, kw_only=True)
class _Together:
    """All workers' examples of a step as one batch."""

    training: Distributed
    world_size: int

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """The global batch."""
        parts = self.training.ranks(step, seed=seed, world_size=self.world_size).indices
        return [index for part in parts for index in part]


def check_workers(training: Distributed, *, level: float, seed: int) -> tuple[StepCheck, ...]:
    """All checks of 4 workers; each statistical one fails with probability at most ``level`` by chance."""
    claim = training.ranks_claim
    steps = [training.ranks(step, seed=seed, world_size=WORLD) for step in range(_NOISE_STEPS)]
    draws = draw_batches(
        _Together(training=training, world_size=WORLD), claim.sampling, seed=seed, steps=_BATCHES
    )
    batches = [replace(one, name=f"workers-{one.name}") for one in check_sampler(draws, level=level)]
    reduced = np.stack([one.reduced for one in steps])
    apart = np.concatenate([one.noise for one in steps])
    return (*batches, _scale(reduced, claim.noise_std, level=level), _anew(reduced, apart))


def _scale(reduced: Array, noise_std: float, *, level: float) -> StepCheck:
    """The sum of squares of Gaussian noise has a chi-squared law; the test is exact and two-sided."""
    value = float((reduced**2).sum()) / noise_std**2
    degrees = reduced.size
    p_value = min(1.0, 2 * float(min(stats.chi2.cdf(value, degrees), stats.chi2.sf(value, degrees))))
    found = Family(
        corrected=p_value,
        found=f"the noise of {WORLD} workers' sum is {np.sqrt(value / degrees):.4g} of what is claimed",
    )
    return judged(
        "workers-noise-scale",
        "the reduced sum must have noise of the claimed scale, whatever the number of workers",
        [found],
        level=level,
    )


def _anew(reduced: Array, apart: Array) -> StepCheck:
    """No noise comes twice, on two workers or in two steps."""
    faults: list[str] = []
    if (pair := repeated(reduced)) is not None:
        faults.append(f"the noise of step {pair[1]} repeats that of step {pair[0]}")
    if (pair := repeated(apart)) is not None:
        one, other = (f"worker {at % WORLD} in step {at // WORLD}" for at in pair)
        faults.append(f"{other} drew the noise of {one}")
    return verdict(
        "workers-noise-anew",
        "workers that add noise must each draw their own, in every step",
        faults,
        otherwise=f"no noise came twice on {WORLD} workers",
    )
