"""From a folder to all that its report shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clifftop.analysis.cliffs import cliffs_by_rule
from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.frontier import Frontier, find_frontier
from clifftop.audit.document import load_audits
from clifftop.lab.reading.curves import Curves, open_curves
from clifftop.lab.store import STORE_FILE
from clifftop.report.card import Card, CardError, privacy_card
from clifftop.report.conclusions import conclude
from clifftop.report.material.source import Source, load_source
from clifftop.report.material.values import Material

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest

MOST_TRACED = 8
"""Cells whose gradients are shown over training, at most."""
_EXPLAINING = (Arm.NEITHER, Arm.CLIPPING, Arm.NOISE, Arm.ORIGINAL)


def load_material(
    folder: Path | str, *, metric: str | None = None, tell: Callable[[str], None] | None = None
) -> Material:
    """Read a folder and conclude what can be concluded; nothing is written.

    Args:
        folder: of a sweep or a study.
        metric: what to compare by instead of the folder's own.
        tell: called with what is being done, in a few words, before each longer part.

    Raises:
        StoreError: there is no store, or it cannot be read.
        ResultsError: a study's results cannot be read.
        EvidenceError: no run has finished, or runs that cannot be compared.
    """
    say = tell or (lambda _: None)
    say("reading the runs")
    source = load_source(folder)
    return material_of(source, metric=metric, tell=say)


def material_of(
    source: Source, *, metric: str | None = None, tell: Callable[[str], None] | None = None
) -> Material:
    """What a folder that was read comes to; see `load_material`."""
    say = tell or (lambda _: None)
    evidence = source.evidence(metric=metric)
    say("finding the frontier")
    frontier = find_frontier(evidence) if evidence.private else None
    say("reading the training curves")
    curves = _curves(source, evidence, frontier)
    say("splitting the loss")
    compared = any(evidence.of(arm) for arm in _EXPLAINING)
    decomposition = decompose(evidence, curves=curves) if compared and evidence.private else None
    say("looking for cliffs")
    cliffs = _cliffs(evidence)
    say("checking what the privacy card may say")
    return Material(
        source=source,
        evidence=evidence,
        frontier=frontier,
        decomposition=decomposition,
        curves=curves,
        cliffs=cliffs,
        conclusions=conclude(
            evidence,
            frontier=frontier,
            decomposition=decomposition,
            cliffs=cliffs,
            epsilons=source.epsilons,
            cost=source.cost,
            reference_lr=source.reference_lr,
        ),
        card=_card(source),
        audits=tuple(load_audits(source.folder)),
    )


def traced_cells(evidence: Evidence, frontier: Frontier | None) -> tuple[int, ...]:
    """Cells worth a look at their gradients: evenly along the front, or the first ones without one."""
    front = list(frontier.front) if frontier is not None else []
    found = front or [cell.index for cell in evidence.private]
    step = max(1, math.ceil(len(found) / MOST_TRACED))
    return tuple(found[::step])


def _curves(source: Source, evidence: Evidence, frontier: Frontier | None) -> Curves | None:
    if not (source.folder / STORE_FILE).is_file():
        return None
    cells = {place: evidence.cells[place].runs for place in traced_cells(evidence, frontier)}
    return open_curves(source.folder, metric=evidence.metric, num_train=source.num_train, cells=cells)


def _cliffs(evidence: Evidence) -> Mapping[str, CliffTest]:
    return cliffs_by_rule(evidence) if evidence.private else {}


def _card(source: Source) -> Card | None:
    """None where no card can be made: a folder without a store, or without a run that may have one."""
    if not (source.folder / STORE_FILE).is_file():
        return None
    try:
        return privacy_card(source.folder)
    except CardError:
        return None
