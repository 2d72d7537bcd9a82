"""The paper's question, per clip norm: what clipping costs at each learning rate, and at the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from clifftop.analysis.decomposition.aligning import LR, aligned_at_own_lr
from clifftop.analysis.decomposition.decompose import losses_of
from clifftop.analysis.decomposition.parts import Floats
from clifftop.analysis.decomposition.tuning import aligned_at_best_lr
from clifftop.analysis.decomposition.values import CellLoss
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.inference import Claim, p_greater, rows_behind, summarised
from clifftop.analysis.inference.held_out import fitted_estimate, fitted_p_greater

if TYPE_CHECKING:
    from clifftop.analysis.evidence.cells import Scalar

COST_AT_LR = "clipping-cost-at-lr"
"""Clipping costs utility at one learning rate; subject: clip norm, learning rate."""
COST_AT_BEST_LR = "clipping-cost-at-best-lr"
"""It costs utility with each arm at its best; subject: clip norm, learning rate clipped, and not clipped."""
COST_BELOW = "clipping-cost-at-best-lr-below"
"""That cost is below a bound; subject: clip norm, bound."""
COST_RECOVERED = "clipping-cost-recovered"
"""Tuning the learning rate takes away cost of clipping; subject: clip norm, learning rate before."""


@final
@dataclass(frozen=True, kw_only=True)
class ClippingAnswer:
    """What clipping without noise costs, in utility, against baselines that are not clipped.

    Every p-value is two-sided, twice that of the claim's own direction: a claim with p <= 0.05 has a 95%
    interval that lies on its side of the value which it denies, 0 or the bound. They are not yet corrected
    for their number (`clifftop.analysis.inference.stated`).

    Attributes:
        clip_norm: C.
        setting: every other setting but the learning rate.
        at_lr: the cost at each learning rate, both arms at the same one, by rising learning rate.
        at_best_lr: the cost with each arm at the learning rate that is best for it, chosen on other seeds;
            None where it cannot be told.
        below: that this cost is below the bound asked for.
        recovered: what tuning takes away of the cost at each learning rate.
        why_not_tuned: why the last three are missing; None where they are not.
    """

    clip_norm: float
    setting: Mapping[str, Scalar]
    at_lr: tuple[Claim, ...]
    at_best_lr: Claim | None
    below: Claim | None
    recovered: tuple[Claim, ...]
    why_not_tuned: str | None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All that were looked at."""
        tuned = (claim for claim in (self.at_best_lr, self.below) if claim is not None)
        return (*self.at_lr, *tuned, *self.recovered)


def clipping_answers(evidence: Evidence, *, below: float = 0.01) -> tuple[ClippingAnswer, ...]:
    """For every clip norm what clipping alone costs, at each learning rate and at the best one.

    Only runs of the arm that clips without noise count, beside baselines of the same seeds; private runs with
    little noise are no substitute. Empty without that arm. Clipping rules without a clip norm are left out.

    Args:
        evidence: with cells of `Arm.CLIPPING` and `Arm.NEITHER`.
        below: a cost of which it is asked whether the cost at the best learning rate is smaller.
    """
    fixed: dict[tuple[tuple[str, Scalar], ...], list[CellLoss]] = {}
    for loss in losses_of(aligned_at_own_lr(evidence, Arm.CLIPPING, (Arm.NEITHER,)), evidence):
        if evidence.cells[loss.cell].number("clip_norm") is not None:
            fixed.setdefault(_key(loss.setting), []).append(loss)
    rows, why = aligned_at_best_lr(evidence, Arm.CLIPPING, (Arm.NEITHER,))
    tuned = {_key(loss.setting): loss for loss in losses_of(rows, evidence)}
    found = [
        _answer(
            evidence, costs, tuned.get(key), below, why or "these cells have one learning rate or one seed"
        )
        for key, costs in fixed.items()
    ]
    return tuple(sorted(found, key=lambda answer: answer.clip_norm))


def _key(setting: Mapping[str, Scalar]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(sorted((name, value) for name, value in setting.items() if name != LR))


def _answer(
    evidence: Evidence, costs: list[CellLoss], tuned: CellLoss | None, below: float, why: str
) -> ClippingAnswer:
    costs = sorted(costs, key=lambda cost: cost.lrs.get(Arm.CLIPPING, 0.0))
    clip_norm = evidence.cells[costs[0].cell].number("clip_norm")
    assert clip_norm is not None  # others were left out
    num_test = rows_behind(evidence, *(evidence.cells[cost.cell] for cost in costs))
    at_lr = [_at_lr(clip_norm, cost, num_test) for cost in costs]
    best = low = None
    if tuned is not None:
        lost = tuned.by_seed_and_halving("clipping")
        lrs = (tuned.lrs.get(Arm.CLIPPING), tuned.lrs.get(Arm.NEITHER))
        best = _fitted(COST_AT_BEST_LR, (clip_norm, *lrs), lost, num_test)
        p_value = _two_sided(fitted_p_greater(-lost, than=-below, num_test=num_test))
        low = Claim(kind=COST_BELOW, subject=(clip_norm, below), estimate=best.estimate, p_value=p_value)
    return ClippingAnswer(
        clip_norm=clip_norm,
        setting={n: v for n, v in costs[0].setting.items() if n not in (LR, "clip_norm")},
        at_lr=tuple(at_lr),
        at_best_lr=best,
        below=low,
        recovered=() if tuned is None else tuple(_recovered(clip_norm, c, tuned, num_test) for c in costs),
        why_not_tuned=why if tuned is None else None,
    )


def _at_lr(clip_norm: float, cost: CellLoss, num_test: int | None) -> Claim:
    lost = cost.by_seed("clipping")
    return Claim(
        kind=COST_AT_LR,
        subject=(clip_norm, cost.lrs.get(Arm.CLIPPING)),
        estimate=summarised(lost, num_test=num_test),
        p_value=_two_sided(p_greater(lost, num_test=num_test)),
    )


def _recovered(clip_norm: float, fixed: CellLoss, tuned: CellLoss, num_test: int | None) -> Claim:
    _, here, there = np.intersect1d(fixed.seeds, tuned.seeds, assume_unique=True, return_indices=True)
    gained = fixed.by_seed("clipping")[here] - tuned.by_seed_and_halving("clipping")[:, there]
    return _fitted(COST_RECOVERED, (clip_norm, fixed.lrs.get(Arm.CLIPPING)), gained, num_test)


def _fitted(kind: str, subject: tuple[object, ...], values: Floats, num_test: int | None) -> Claim:
    return Claim(
        kind=kind,
        subject=subject,
        estimate=fitted_estimate(values, num_test=num_test),
        p_value=_two_sided(fitted_p_greater(values, num_test=num_test)),
    )


def _two_sided(p_value: float) -> float:
    return min(1.0, 2 * p_value)
