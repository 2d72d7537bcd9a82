"""Nothing may cross from one example to another, nor from one step to the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clifftop.audit.steps.adapter import PrivateStepUnderTest, released
from clifftop.audit.steps.findings import StepCheck, Witness
from clifftop.audit.steps.sensitivity import TOLERANCE
from clifftop.audit.steps.sums import Sums

_SIZES = ((1, 1), (1, 6), (4, 4), (3, 13), (16, 16))

Split = tuple[tuple[int, ...], tuple[int, ...]]


def check_linearity(step: PrivateStepUnderTest, *, seed: int, sums: Sums | None = None) -> StepCheck:
    """What an example adds to the noiseless sum does not depend on the rest of its batch.

    Looked at as S(A and B) + S() = S(A) + S(B), for disjoint A and B of 1 to 16 examples. Sensitivity
    alone does not need it; that a batch is one sum of bounded terms does, and batch statistics, a loss
    that is averaged inside, or gradients that are left over break it.
    """
    sums = Sums(step, seed=seed) if sums is None else sums
    worst, where = -1.0, ((), ())
    for one, other in _splits(step.examples, np.random.default_rng(seed)):
        with np.errstate(invalid="ignore", over="ignore"):
            left = sums((*one, *other)) + sums(())
            gap = float(np.linalg.norm(left - sums(one) - sums(other)))
        gap = gap if np.isfinite(gap) else np.inf
        if gap > worst:
            worst, where = gap, (one, other)
    limit = TOLERANCE * step.claim.clip_norm
    return StepCheck(
        name="linearity",
        must_hold="what an example adds to the sum must not depend on the others in its batch",
        found=f"the sum of two batches differs from the batch of both by {worst:.4g} (L2)",
        passed=worst <= limit,
        witness=Witness(what="|S(A and B) + S() - S(A) - S(B)|", value=worst, limit=limit, batches=where),
    )


def check_history(step: PrivateStepUnderTest, *, seed: int) -> StepCheck:
    """A release does not depend on the batches before it, nor on whether they had noise."""
    rng = np.random.default_rng(seed)
    order: list[int] = rng.permutation(step.examples).tolist()
    size = max(1, min(8, len(order) // 2))
    batch, others = tuple(order[:size]), tuple(order[size:])
    fresh = Sums(step, seed=seed)
    first = fresh.afresh(batch)
    worst, after = 0.0, batch
    for between in (batch, others[:8], others):
        if between:
            released(step, between, noise=True, seed=seed + 1)
        with np.errstate(invalid="ignore", over="ignore"):
            gap = float(np.linalg.norm(fresh.afresh(batch) - first))
        gap = gap if np.isfinite(gap) else np.inf
        if gap > worst:
            worst, after = gap, between
    limit = TOLERANCE * step.claim.clip_norm
    return StepCheck(
        name="history",
        must_hold="a release must not depend on earlier batches (and parameters must stay)",
        found=f"the same batch's sum changed by {worst:.4g} (L2) after another step",
        passed=worst <= limit,
        witness=Witness(
            what="change of a batch's sum after other batches", value=worst, limit=limit,
            batches=(batch, after),
        ),
    )  # fmt: skip


def _splits(examples: int, rng: np.random.Generator) -> Iterator[Split]:
    for one, other in _SIZES * 2:
        if one + other <= examples:
            drawn: list[int] = rng.choice(examples, size=one + other, replace=False).tolist()
            yield tuple(drawn[:one]), tuple(drawn[one:])
