"""From evidence to where utility was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clifftop.analysis.decomposition.aligning import Aligned, aligned_at_own_lr
from clifftop.analysis.decomposition.parts import (
    PARTS,
    Cells,
    Column,
    Floats,
    Ragged,
    estimates,
    in_units,
    over_halvings,
)
from clifftop.analysis.decomposition.tuning import aligned_at_best_lr
from clifftop.analysis.decomposition.undertraining import Stops, stopped
from clifftop.analysis.decomposition.values import CellLoss, Decomposition, TrainingFits
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.inference.held_out import WIDENING


def decompose(evidence: Evidence, *, curves: TrainingFits | None = None) -> Decomposition:
    """Split what each private cell loses into architecture, clipping, noise and their interaction.

    Args:
        evidence: the private cells and their counterparts in the other arms.
        curves: how runs fitted their training data, for undertraining; without it that is None.

    Raises:
        ValueError: the curves were read for another metric.

    >>> from clifftop.analysis.evidence import Cell, Epsilon
    >>> def cell(index, arm, sigma, clip, *accuracies):
    ...     return Cell(
    ...         index=index,
    ...         arm=arm,
    ...         setting={"noise_multiplier": sigma, "clip_norm": clip},
    ...         epsilon=None,
    ...         seeds=np.arange(len(accuracies)),
    ...         scores={"accuracy": np.array(accuracies)},
    ...         diverged=np.zeros(len(accuracies), dtype=bool),
    ...         compute=0.0,
    ...     )
    >>> evidence = Evidence(
    ...     name="two seeds",
    ...     metric="accuracy",
    ...     maximize=True,
    ...     cells=(
    ...         cell(0, Arm.BOTH, 2.0, 0.5, 0.50, 0.75),
    ...         cell(1, Arm.NEITHER, 0.0, np.inf, 1.00, 1.00),
    ...         cell(2, Arm.CLIPPING, 0.0, 0.5, 0.75, 1.00),
    ...         cell(3, Arm.NOISE, 2.0, 0.5, 0.75, 0.75),
    ...     ),
    ... )
    >>> loss = decompose(evidence).of(0)
    >>> {name: part.mean for name, part in loss.addends.items()}, loss.total.mean
    ({'clipping': 0.125, 'noise': 0.25, 'interaction': 0.0}, 0.375)
    """
    if curves is not None and curves.metric != evidence.metric:
        raise ValueError(
            f"curves must be of the metric that is compared, found {curves.metric!r} for "
            f"{evidence.metric!r}; read them for that metric"
        )
    tuned, why = aligned_at_best_lr(evidence)
    return Decomposition(
        fixed=losses_of(aligned_at_own_lr(evidence), evidence, curves),
        tuned=losses_of(tuned, evidence, curves),
        why_not_tuned=why,
    )


def losses_of(
    rows: Sequence[Aligned], evidence: Evidence, curves: TrainingFits | None = None
) -> tuple[CellLoss, ...]:
    """What each row's cell loses, in exact arithmetic; in the order of the rows."""
    by_halvings: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        by_halvings.setdefault(next(iter(row.utilities.values())).shape[0], []).append(place)
    found: dict[int, CellLoss] = {}
    for places in by_halvings.values():
        losses = _equally_halved([rows[place] for place in places], evidence, curves)
        found.update(zip(places, losses, strict=True))
    return tuple(found[place] for place in range(len(rows)))


def _equally_halved(
    rows: Sequence[Aligned], evidence: Evidence, curves: TrainingFits | None
) -> list[CellLoss]:
    shape = Ragged.of([row.seeds for row in rows])
    arms = {arm: _flat(rows, arm) for arm in Arm}
    stops = None if curves is None else stopped(rows, curves, maximize=evidence.maximize)
    halted = (
        np.concatenate([stop.utilities for stop in stops], axis=1)
        if stops
        else np.full_like(arms[Arm.BOTH], np.nan)
    )
    widening = WIDENING if any(len(row.cells) > 1 for row in rows) else 1.0
    cells = Cells.of(shape, arms, [halted], num_test=evidence.num_test, widening=widening)
    each = shape.spread(cells.units)
    rows_behind = [evidence.num_test if is_share else None for is_share in cells.shares.tolist()]
    whole = {arm: in_units(values, each) for arm, values in arms.items()}
    columns = estimates(cells, whole, PARTS) | _readings(cells, whole, in_units(halted, each))
    mean = {arm: over_halvings(values) * each for arm, values in whole.items()}
    exact = {arm: values * each for arm, values in whole.items()}
    return [
        _loss(place, row, slice(start, start + count), mean, exact, columns, stop, rows_behind[place])
        for place, (row, start, count, stop) in enumerate(
            zip(rows, shape.starts.tolist(), shape.counts.tolist(), stops or [None] * len(rows), strict=True)
        )
    ]


def _flat(rows: Sequence[Aligned], arm: Arm) -> Floats:
    """``(H, M)`` utilities of all rows; NaN where a row lacks the arm."""
    return np.concatenate(
        [
            np.full_like(next(iter(row.utilities.values())), np.nan)
            if (u := row.utilities.get(arm)) is None
            else u
            for row in rows
        ],
        axis=1,
    )


def _readings(cells: Cells, whole: Mapping[Arm, Floats], halted: Floats) -> dict[str, Column]:
    """Undertraining and what is left at equal fit, over the seeds whose fit is known.

    The stopped baseline lies between baseline and private run as a clipped run does, so the parts of the
    sequential split are the two readings.
    """
    unknown = np.isnan(halted)
    known = {arm: np.where(unknown, np.nan, whole[arm]) for arm in (Arm.BOTH, Arm.NEITHER)}
    missing = np.full_like(halted, np.nan)
    arms = {Arm.CLIPPING: halted, Arm.NOISE: missing, Arm.ORIGINAL: missing, **known}
    found = estimates(cells, arms, ("clipping", "noise_given_clipping"))
    return {"undertraining": found["clipping"], "at_equal_fit": found["noise_given_clipping"]}


def _loss(
    place: int,
    row: Aligned,
    own: slice,
    mean: Mapping[Arm, Floats],
    exact: Mapping[Arm, Floats],
    columns: Mapping[str, Column],
    stop: Stops | None,
    num_test: int | None,
) -> CellLoss:
    present = row.utilities.keys()
    reference = next((arm for arm in (Arm.ORIGINAL, Arm.NEITHER) if arm in present), None)
    found = {name: column[place] for name, column in columns.items()}
    return CellLoss(
        cell=row.cell.index,
        cells=row.cells,
        setting=row.cell.setting,
        reference=reference,
        lrs=row.lrs,
        seeds=row.seeds,
        dropped=row.dropped,
        utilities={arm: mean[arm][own] for arm in present},
        by_halving={arm: exact[arm][:, own] for arm in present},
        num_test=num_test,
        stopped=None if stop is None else stop.utilities.mean(axis=0),
        fits_better=0 if stop is None else stop.fits_better,
        bounded=0 if stop is None else stop.bounded,
        **found,
    )
