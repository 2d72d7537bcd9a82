"""The learning rate as an axis: the best one per cell, and what of clipping's cost it explains.

A clipped gradient has length at most C, so a clipped step has length at most lr x C: with one fixed
learning rate, a small clip norm trains too slowly and a large one lets too much noise through. At
one learning rate the cost of clipping and the cost of an untuned step cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.configurations import BySeed, Cell, Configuration, paired
from clifftop.analysis.inference.held_out import cross_fitted, fitted_estimate
from clifftop.analysis.uncertainty import Estimate


@dataclass(frozen=True, kw_only=True)
class BestLr:
    """A cell (noise multiplier, clip norm) at the learning rate that does best there.

    Attributes:
        configuration: the cell at the learning rate of the highest mean accuracy. That mean is
            optimistic, because it was chosen for being high.
        accuracy_held_out: accuracy at the learning rate that is best on the *other* half of the seeds
            (`clifftop.analysis.inference.cross_fitted`): free of that optimism. None with one seed.
    """

    configuration: Configuration
    accuracy_held_out: Estimate | None


@dataclass(frozen=True, kw_only=True)
class ClippingCost:
    """What a clip norm costs at the least noise of the study, at one learning rate and at the best.

    Attributes:
        clip_norm: C.
        noise_multiplier: the smallest of the study.
        first_lr: the learning rate the study lists first.
        lost_at_first_lr: accuracy lost there against the best baseline, paired by seed.
        best_lr: the learning rate that does best in this cell.
        lost_at_best_lr: accuracy lost there.
        recovered: accuracy gained over ``first_lr`` by the learning rate that is best on the other half of
            the seeds, paired by seed; None with one seed.
    """

    clip_norm: float
    noise_multiplier: float
    first_lr: float
    lost_at_first_lr: Estimate | None
    best_lr: float
    lost_at_best_lr: Estimate | None
    recovered: Estimate | None


@dataclass(frozen=True, kw_only=True)
class BestClipNorm:
    """The clip norm that does best at one learning rate, at the most noise of the study.

    Attributes:
        lr: the learning rate.
        noise_multiplier: the largest of the study.
        clip_norm: the one with the highest mean accuracy.
        accuracy: its accuracy.
        margin: its accuracy minus that of the second best clip norm, paired by seed; None where there
            is no second or no shared seed.
    """

    lr: float
    noise_multiplier: float
    clip_norm: float
    accuracy: Estimate
    margin: Estimate | None


def best_per_cell(found: Sequence[Cell], lrs: Sequence[float]) -> tuple[BestLr, ...]:
    """The best learning rate of every (noise multiplier, clip norm); of equals, the first in ``lrs``."""
    return tuple(_best(group, lrs) for group in _groups(found).values())


def clipping_costs(found: Sequence[Cell], lrs: Sequence[float]) -> tuple[ClippingCost, ...]:
    """The cost of each clip norm at the smallest noise multiplier, fixed and tuned learning rate."""
    least = min(cell.configuration.noise_multiplier for cell in found)
    groups = {key: group for key, group in _groups(found).items() if key[0] == least}
    costs = (_cost(clip_norm, least, group, lrs) for (_, clip_norm), group in groups.items())
    return tuple(cost for cost in costs if cost is not None)


def best_clip_norms(found: Sequence[Cell], lrs: Sequence[float]) -> tuple[BestClipNorm, ...]:
    """The best clip norm of every learning rate at the largest noise multiplier."""
    most = max(cell.configuration.noise_multiplier for cell in found)
    rivals: dict[float, list[Cell]] = {}
    for cell in found:
        if cell.configuration.noise_multiplier == most:
            rivals.setdefault(cell.configuration.lr, []).append(cell)
    return tuple(_best_clip_norm(rivals[lr]) for lr in dict.fromkeys([*lrs, *rivals]) if lr in rivals)


def _best_clip_norm(rivals: Sequence[Cell]) -> BestClipNorm:
    ranked = sorted(rivals, key=lambda cell: -round(cell.configuration.accuracy.mean, 12))
    best = ranked[0]
    return BestClipNorm(
        lr=best.configuration.lr,
        noise_multiplier=best.configuration.noise_multiplier,
        clip_norm=best.configuration.clip_norm,
        accuracy=best.configuration.accuracy,
        margin=paired(best.by_seed, ranked[1].by_seed) if len(ranked) > 1 else None,
    )


def _table(by_lr: Mapping[float, BySeed]) -> NDArray[np.float64]:
    """``(learning rates, seeds)`` of the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in by_lr.values())))
    return np.array([[by_seed[seed] for seed in seeds] for by_seed in by_lr.values()])


def _groups(found: Sequence[Cell]) -> dict[tuple[float, float], list[Cell]]:
    groups: dict[tuple[float, float], list[Cell]] = {}
    for cell in found:
        key = (cell.configuration.noise_multiplier, cell.configuration.clip_norm)
        groups.setdefault(key, []).append(cell)
    return groups


def _in_order(group: Sequence[Cell], lrs: Sequence[float]) -> dict[float, Cell]:
    by_lr = {cell.configuration.lr: cell for cell in group}
    return {lr: by_lr[lr] for lr in [*lrs, *by_lr] if lr in by_lr}


def _best(group: Sequence[Cell], lrs: Sequence[float]) -> BestLr:
    by_lr = _in_order(group, lrs)
    best = max(by_lr.values(), key=lambda cell: round(cell.configuration.accuracy.mean, 12))
    table = _table({lr: cell.by_seed for lr, cell in by_lr.items()})
    return BestLr(
        configuration=best.configuration,
        accuracy_held_out=fitted_estimate(cross_fitted(table)) if table.shape[1] > 1 else None,
    )


def _cost(clip_norm: float, least: float, group: Sequence[Cell], lrs: Sequence[float]) -> ClippingCost | None:
    by_lr = _in_order(group, lrs)
    first = by_lr.get(lrs[0])
    if first is None:
        return None
    best = _best(group, lrs).configuration
    table = _table({lr: cell.by_seed for lr, cell in by_lr.items()})
    gained = cross_fitted(table) - table[0] if table.shape[1] > 1 else None  # lrs[0] is the first row
    return ClippingCost(
        clip_norm=clip_norm,
        noise_multiplier=least,
        first_lr=lrs[0],
        lost_at_first_lr=first.configuration.accuracy_lost_best_baseline,
        best_lr=best.lr,
        lost_at_best_lr=best.accuracy_lost_best_baseline,
        recovered=None if gained is None else fitted_estimate(gained),
    )
