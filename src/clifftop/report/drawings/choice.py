"""Which charts a report has: those whose data are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clifftop.report.drawings.audits import draw_audits
from clifftop.report.drawings.budget import draw_iso_compute, draw_iso_epsilon, draw_marginal
from clifftop.report.drawings.claims import draw_claims
from clifftop.report.drawings.cliffs import draw_cliffs
from clifftop.report.drawings.drawing import Drawing, Table, page_data_of
from clifftop.report.drawings.frontier import draw_frontier
from clifftop.report.drawings.heat_maps import draw_heat_maps
from clifftop.report.drawings.losses import draw_decomposition
from clifftop.report.drawings.rates import draw_clipping, draw_learning_rate
from clifftop.report.drawings.scene import Scene, scene_of
from clifftop.report.drawings.scores import draw_calibration, draw_classes, draw_groups
from clifftop.report.drawings.seeds import draw_seeds
from clifftop.report.drawings.training import draw_layers, draw_training

if TYPE_CHECKING:
    from clifftop.report.material import Material

_DRAWN: tuple[Callable[[Scene], Drawing | None], ...] = (
    draw_frontier,
    draw_decomposition,
    draw_learning_rate,
    draw_cliffs,
    draw_marginal,
    draw_heat_maps,
    draw_clipping,
    draw_iso_compute,
    draw_iso_epsilon,
    draw_claims,
    draw_training,
    draw_layers,
    draw_calibration,
    draw_classes,
    draw_groups,
    draw_seeds,
)


def drawings(material: Material) -> tuple[Drawing, ...]:
    """Every chart that the material has data for, in the order of the page."""
    scene = scene_of(material)
    found = () if scene is None else (draw(scene) for draw in _DRAWN)
    return (*(drawing for drawing in found if drawing is not None), *draw_audits(material.audits))


def page_data(material: Material) -> dict[str, Table]:
    """The tables that the material's charts name, each once, by column."""
    return page_data_of(drawings(material))
