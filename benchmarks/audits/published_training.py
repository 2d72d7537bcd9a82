"""Whole trainings of the published study with one row in the data or zeroed out, and who can tell.

The study's preset as it is: model, data, fixed order, clipping, noise and its sequential random streams,
trained by the very code that reproduces its 66 published accuracies. Each run has a seed, and so data, of its
own. The canary is the first training row with its class changed, in every data set; where it is absent,
its clipped gradient is taken out of the sum and nothing else changes. Whoever knows all other rows and sees
every parameter update knows the noise but for the canary: the score is the exact likelihood ratio.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clifftop.audit.estimators import gaussian_dp, thresholds
from clifftop.clipping import Flat
from clifftop.datasets import ArrayDataset, gaussian_clusters
from clifftop.flow import Batch, Params
from clifftop.gradients import PerExampleLoss
from clifftop.gradients.base import GradientEngine
from clifftop.lab import Factory, RunSpec
from clifftop.lab.by_run import ByRun
from clifftop.lab.cohort.members import Members
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Streams, Summed
from clifftop.studies.no_cliff.presets import BATCH_SIZE, DELTA, NO_CLIFF, NUM_EXAMPLES, STEPS
from clifftop.studies.no_cliff.published import epsilon_as_published

COHORT = 100
CLIP_NORM = 1.0


def with_canary(seed: int) -> ArrayDataset:
    """The study's data for a seed; the first training row has the next class."""
    data = gaussian_clusters(seed)
    targets = data.train_targets.copy()
    targets[0] = (targets[0] + 1) % 5
    return replace(data, train_targets=targets)


@dataclass(kw_only=True)
class Watched:
    """The study's way to the clipped sum; takes row 0 out of it where the run has no canary.

    Attributes:
        present: ``(R,)`` whether the canary is in a run's data.
        others: the clipped sum of all other rows in the last batch.
        canary: the canary's clipped gradient there.
    """

    present: Tensor
    others: Params = field(default_factory=dict)
    canary: Params = field(default_factory=dict)
    _inner: ByRun = field(default_factory=ByRun)

    def takes(self, loss: PerExampleLoss, params: Params, batch: Batch) -> bool:
        """As the study's own."""
        return self._inner.takes(loss, params, batch)

    def __call__(
        self,
        plan: PrivacyPlan,
        engine: GradientEngine,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        state: PrivacyState,
        streams: Streams,
        *,
        diagnose: bool,
        microbatch_size: int | None,
    ) -> Summed:
        """The clipped sum with the canary where it is present; only asked in the canary's steps."""
        given = (plan, engine, loss, params)
        how: dict[str, Any] = {"diagnose": diagnose, "microbatch_size": microbatch_size}
        summed = self._inner(*given, batch, state, streams, **how)
        alone = Batch(
            inputs=tuple(x[:, :1] for x in batch.inputs),
            targets=tuple(y[:, :1] for y in batch.targets),
            mask=batch.mask[:, :1],
        )
        self.canary = self._inner(*given, alone, state, streams, **how).clipped.value
        value = summed.clipped.value
        self.others = {name: value[name] - self.canary[name] for name in value}
        kept = {name: self.others[name] + _rows(self.present, v) * v for name, v in self.canary.items()}
        return replace(summed, clipped=replace(summed.clipped, value=kept))


def audited(sigma: float, *, runs: int, confidence: float) -> dict[str, Any]:
    """Bounds from ``runs`` trainings with the canary and as many without."""
    start = time.process_time()
    rng = np.random.default_rng([11, round(100 * sigma)])
    seeds = rng.choice(2**31, size=2 * runs, replace=False)
    present = np.arange(2 * runs) % 2 == 0
    scores = np.concatenate(
        [
            scored(sigma, seeds[at : at + COHORT].tolist(), present[at : at + COHORT])
            for at in range(0, 2 * runs, COHORT)
        ]
    )
    given: dict[str, Any] = {"delta": DELTA, "confidence": confidence, "rng": rng}
    plain = thresholds.epsilon_held_out(scores[present], scores[~present], **given)
    family = gaussian_dp.epsilon_held_out(scores[present], scores[~present], **given)
    published = epsilon_as_published(sigma, BATCH_SIZE / NUM_EXAMPLES, STEPS, DELTA)
    return {
        "sigma": sigma,
        "clip_norm": CLIP_NORM,
        "published": published,
        "trainings": 2 * runs,
        "plain": {"epsilon": round(plain.epsilon, 4), "at_most": round(plain.detection_limit, 4)},
        "gaussian_family": {"epsilon": round(family.epsilon, 4), "at_most": round(family.detection_limit, 4)},
        "refuted": bool(plain.epsilon > published),
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def scored(sigma: float, seeds: list[int], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The score of each training: log of how much likelier its updates are with the canary than without."""
    spec = spec_of(sigma)
    members = Members([replace(spec, seed=seed) for seed in seeds], device=torch.device("cpu"))
    plain = members.summing
    watched = Watched(present=torch.from_numpy(present))
    total = torch.zeros(len(seeds), dtype=torch.float64)
    for step in range(STEPS):
        rows = spec.plan.sampler.batch(step, num_examples=NUM_EXAMPLES, rng=np.random.default_rng)
        if 0 not in rows:
            members.summing = plain
            members.advance(step, microbatch_size=None)
            continue
        members.summing = watched  # type: ignore[assignment]
        before = {name: p.double().clone() for name, p in members.params.items()}
        members.advance(step, microbatch_size=None)
        total += _log_ratio(before, members.params, watched, size=len(rows), sigma=sigma)
    return total.numpy()


def _log_ratio(before: Params, after: Params, watched: Watched, *, size: int, sigma: float) -> Tensor:
    """``(R,)``: of one update, that says what was released: the study's optimiser is plain descent."""
    lr = NO_CLIFF.template.optimizer.lr
    found = torch.zeros(len(watched.present), dtype=torch.float64)
    for name, old in before.items():
        released = (old - after[name].double()) * size / lr
        unexplained = (released - watched.others[name].double()).flatten(1)
        canary = watched.canary[name].double().flatten(1)
        found += ((unexplained - 0.5 * canary) * canary).sum(1)
    return found / (sigma * CLIP_NORM) ** 2


def spec_of(sigma: float) -> RunSpec:
    """The study's own run, with the canary's row in its data."""
    plan = replace(
        NO_CLIFF.template.plan, clipping=Flat(clip_norm=CLIP_NORM), noise=Gaussian(noise_multiplier=sigma)
    )
    data = Factory(target=f"{__name__}:with_canary")
    return replace(NO_CLIFF.template, plan=plan, data=data)


def _rows(per_run: Tensor, like: Tensor) -> Tensor:
    return per_run.to(like).view(-1, *(1,) * (like.dim() - 1))
