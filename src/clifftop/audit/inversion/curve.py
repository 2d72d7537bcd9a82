"""How well examples are reconstructed from one private step, against its noise and its clip norm."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clifftop import accounting
from clifftop.audit.document import AuditDocument
from clifftop.audit.inversion.attack import Attack
from clifftop.audit.inversion.bounds import reconstruction_bound
from clifftop.audit.inversion.findings import document_of
from clifftop.audit.inversion.measures import (
    Identification,
    cosine,
    mean_squared_error,
    nearest,
    peak_signal_to_noise,
    without,
)
from clifftop.audit.inversion.model import AttackedModel, one_step_plan, release_each

CurveProgress = Callable[[int, int], None]
"""Is told the rows done and how many there will be."""
FAILED_COSINE = 0.1


@final
@dataclass(frozen=True, kw_only=True)
class ReconstructionRow:
    """One attack on one step with a batch of one, over many trials.

    Attributes:
        attack: its name.
        clip_norm: C.
        noise_multiplier: sigma.
        epsilon: of this one step at the curve's delta, proven above.
        mean_squared_error: median over trials, of a pixel.
        psnr: median, in decibels.
        cosine: median cosine with the true input. Images are positive: to name a grey one gets far.
        residual_cosine: median cosine after what lies along the pool's mean image is taken out of both.
        labels: share of trials with the right label, where the attack had to find it.
        identified: how often the true input was the nearest to the reconstruction.
        matched: how often its gradient was the nearest to the release: the best that an attacker with a
            list of the candidates can do, since it is the likeliest candidate.
        permitted: the most that either may be; see `reconstruction_bound`.
    """

    attack: str
    clip_norm: float
    noise_multiplier: float
    epsilon: float
    mean_squared_error: float
    psnr: float
    cosine: float
    residual_cosine: float
    labels: float
    identified: Identification
    matched: Identification
    permitted: float

    @property
    def fails(self) -> bool:
        """Whether the reconstruction shows nothing: at chance, and a residual cosine below 0.1.

        Of the reconstruction alone: the release may still show who it was, see ``matched``.
        """
        return self.identified.is_at_chance and abs(self.residual_cosine) < FAILED_COSINE


@final
@dataclass(frozen=True, kw_only=True)
class ReconstructionCurve:
    """Rows by attack, clip norm and noise.

    Attributes:
        rows: one a setting.
        trials: reconstructions a row.
        candidates: n.
        delta: at which epsilons are meant.
        confidence: of the intervals.
        seconds: how long all took.
    """

    rows: tuple[ReconstructionRow, ...]
    trials: int
    candidates: int
    delta: float
    confidence: float
    seconds: float = 0.0

    def document(self, subject: str) -> AuditDocument:
        """As any audit: the claim is that no identification is better than the noise permits.

        Refuted where one is, all rows together at ``confidence``.
        """
        return document_of(self, subject)


@final
@dataclass(frozen=True, kw_only=True)
class _Trials:
    """Who is attacked, among whom; rows of the pool."""

    truth: NDArray[np.int64]
    candidates: NDArray[np.int64]


def reconstruction_curve(
    model: AttackedModel,
    attacks: Sequence[Attack],
    inputs: Tensor,
    targets: Tensor,
    *,
    noise_multipliers: Sequence[float],
    clip_norms: Sequence[float] = (1.0,),
    trials: int = 200,
    candidates: int = 100,
    data_range: float = 1.0,
    labels_known: bool = False,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    progress: CurveProgress | None = None,
) -> ReconstructionCurve:
    """Attack one private step again and again, at each clip norm and noise.

    In each trial ``candidates`` rows are drawn from the pool, and one of them evenly; a step with the batch
    of that one is released through `private_gradient`, and attacked. Trials share no noise within a row; rows
    share their draws.

    Args:
        model: the model.
        attacks: what is tried.
        inputs: the pool, ``(N, *input_shape)``.
        targets: ``(N, ...)``.
        noise_multipliers: sigma, from 0.
        clip_norms: C, finite.
        trials: T.
        candidates: n, at most N; at most as many as have one target, where ``labels_known``.
        data_range: greatest minus least pixel, for the PSNR.
        labels_known: whether attacks are told the target; candidates then all have that target, so that to
            know it tells none of them apart.
        delta: for epsilons.
        confidence: of intervals.
        seed: of all draws.
        progress: told after each row.

    Raises:
        CannotInvert: an attack does not fit the model.
        ValueError: more candidates than rows, or a setting that no plan has.
    """
    pools = _pools(targets, by_target=labels_known)
    least = min(len(pool) for pool in pools)
    if not 2 <= candidates <= least or trials < 1:
        raise ValueError(
            f"trials must be at least 1 and candidates between 2 and the {least} rows to draw from, found "
            f"trials={trials} candidates={candidates}; give a larger pool"
        )
    started = time.perf_counter()
    drawn = _draw(pools, trials, candidates, seed)
    total = len(clip_norms) * len(noise_multipliers) * len(attacks)
    rows: list[ReconstructionRow] = []

    run = _Run(model, inputs, targets, drawn, data_range, labels_known, delta, confidence, seed)
    for clip_norm in clip_norms:
        own = run.clean_gradients(clip_norm)
        for sigma, attack in itertools.product(noise_multipliers, attacks):
            rows += [run.row(attack, clip_norm, sigma, own)]
            if progress is not None:
                progress(len(rows), total)
    return ReconstructionCurve(
        rows=tuple(rows),
        trials=trials,
        candidates=candidates,
        delta=delta,
        confidence=confidence,
        seconds=time.perf_counter() - started,
    )


@final
@dataclass(frozen=True)
class _Run:
    model: AttackedModel
    inputs: Tensor
    targets: Tensor
    trials: _Trials
    data_range: float
    labels_known: bool
    delta: float
    confidence: float
    seed: int

    def clean_gradients(self, clip_norm: float) -> Tensor:
        """Of every row of the pool, clipped, ``(N, P)``: what an attacker with the list can compute."""
        plan = one_step_plan(clip_norm=clip_norm, noise_multiplier=0.0)
        each = release_each(self.model, self.inputs, self.targets, plan=plan, seed=self.seed)
        return torch.stack([one.flat() for one in each])

    def row(self, attack: Attack, clip_norm: float, sigma: float, own: Tensor) -> ReconstructionRow:
        """One attack at one setting."""
        plan = one_step_plan(clip_norm=clip_norm, noise_multiplier=sigma)
        who = torch.from_numpy(self.trials.truth).to(self.inputs.device)
        released = release_each(
            self.model, self.inputs[who], self.targets[who], plan=plan, seed=self.seed + 1
        )
        found: list[Tensor] = []
        right = 0
        for trial, one in enumerate(released):
            target = self.targets[who[trial]][None]
            made = attack.reconstruct(
                one, self.model, labels=target if self.labels_known else None, seed=trial
            )
            found.append(made.inputs[0])
            right += bool((made.labels == target).all())
        images = torch.stack(found).double().flatten(1).cpu().numpy()
        pool = self.inputs.double().flatten(1).cpu().numpy()
        truth, mean = pool[self.trials.truth], pool.mean(axis=0)
        errors = mean_squared_error(images, truth)
        flat = torch.stack([one.flat() for one in released]).double().cpu().numpy()
        event = plan.event(steps=1, num_examples=1)
        chance, relation = 1.0 / self.trials.candidates.shape[1], plan.neighboring_relation
        spent = accounting.epsilon(event, delta=self.delta, neighboring_relation=relation)
        return ReconstructionRow(
            attack=attack.name,
            clip_norm=clip_norm,
            noise_multiplier=sigma,
            epsilon=spent.upper,
            mean_squared_error=float(np.median(errors)),
            psnr=float(np.median(peak_signal_to_noise(errors, data_range=self.data_range))),
            cosine=float(np.median(cosine(images, truth))),
            residual_cosine=float(np.median(cosine(without(images, mean), without(truth, mean)))),
            labels=math.nan if self.labels_known else right / len(released),
            identified=self._count(nearest(images, pool, self.trials.candidates)),
            matched=self._count(nearest(flat, own.double().cpu().numpy(), self.trials.candidates)),
            permitted=reconstruction_bound(event, hit_probability=chance, neighboring_relation=relation),
        )

    def _count(self, named: NDArray[np.int64]) -> Identification:
        return Identification(
            successes=int((named == self.trials.truth).sum()),
            trials=len(named),
            candidates=self.trials.candidates.shape[1],
            confidence=self.confidence,
        )


def _draw(pools: Sequence[NDArray[np.int64]], trials: int, candidates: int, seed: int) -> _Trials:
    """Candidates from a pool a trial, and one of them evenly."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(len(pools), size=trials)
    chosen = np.stack([rng.choice(pools[one], size=candidates, replace=False) for one in pool])
    place = rng.integers(candidates, size=trials)
    return _Trials(truth=chosen[np.arange(trials), place], candidates=chosen)


def _pools(targets: Tensor, *, by_target: bool) -> list[NDArray[np.int64]]:
    """All rows, or the rows of each target."""
    if not by_target:
        return [np.arange(len(targets))]
    _, kind = torch.unique(targets, dim=0, return_inverse=True)
    return [np.flatnonzero(kind.cpu().numpy() == one) for one in range(int(kind.max()) + 1)]
