"""What all charts of one report share: its cells, their table, the axes, and who is told apart by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from clifftop.report.drawings.axes import EpsilonAxis, epsilon_axis, score_axis
from clifftop.report.drawings.cells import Cells, colour_axis, private_cells
from clifftop.report.drawings.drawing import Table
from clifftop.report.drawings.marks import HUES, baseline
from clifftop.report.drawings.units import Unit

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Evidence
    from clifftop.analysis.frontier import Frontier
    from clifftop.report.material import Material

Json = dict[str, Any]
NOISE = ("target_epsilon", "noise_multiplier")
CLIPPING = ("clip_norm", "clipping")
FEWEST_SEEDS = 3
"""Two seeds have an interval too, six times as wide as that of three: too wide for a band."""
CROWD = 60
"""With more cells than this, points are small and faint, and carry no bars."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What charts draw from.

    Attributes:
        material: the report's.
        cells: the private cells with a score.
        epsilon: the axis of their epsilons.
        noise: the setting that says how much noise there is; None where it does not differ.
        hue: the setting that is told apart by colour; None where none differs.
        tables: the data that charts share: ``cells``, a row a private cell.
    """

    material: Material
    cells: Cells
    epsilon: EpsilonAxis
    noise: str | None
    hue: str | None
    tables: dict[str, Table]

    @property
    def evidence(self) -> Evidence:
        """The report's evidence."""
        return self.material.evidence

    @property
    def frontier(self) -> Frontier | None:
        """The report's frontier."""
        return self.material.frontier

    @property
    def front(self) -> tuple[int, ...]:
        """The front's cells that are shown, by rising epsilon, as places in the evidence."""
        found = () if self.frontier is None else self.frontier.front
        return tuple(index for index in found if index in self.cells.place)

    @property
    def joined(self) -> Json:
        """The transform that gives rows of other tables what ``cells`` knows of their cell."""
        source = {"data": {"name": "cells"}, "key": "cell", "fields": list(self.cells.names)}
        return {"lookup": "cell", "from": source}

    @property
    def unit(self) -> Unit:
        """How scores are shown."""
        return self.cells.unit

    @property
    def crowded(self) -> bool:
        """Whether there are too many cells to draw each with all that is known of it."""
        return len(self.cells.items) > CROWD

    def score(self, field: str = "mean", *, of: Sequence[float | None] | None = None) -> Json:
        """The channel of scores: of all cells, or with room for ``of`` alone; the baseline in sight."""
        found = baseline(self.evidence)
        more = [] if found is None else [self.unit.shown(found.mean)]
        if of is not None:
            return score_axis(field, self.unit, [*of, *more])
        ends = [] if self.crowded else [*self.cells.lower, *self.cells.upper]
        return score_axis(field, self.unit, [*self.cells.mean, *ends, *more])

    def seeds_text(self) -> str:
        """How many seeds means are over, in a sentence's part."""
        low, high = int(self.cells.n.min()), int(self.cells.n.max())
        if high == 1:
            return "one seed, so there are no intervals"
        return f"means over {high:,} seeds" if low == high else f"means over {low:,} to {high:,} seeds"

    @property
    def has_bands(self) -> bool:
        """Whether lines by colour carry bands: with intervals worth drawing, and few lines."""
        lines = 1 if self.hue is None else len(self.cells.distinct(self.hue))
        return lines <= HUES and int(self.cells.n.min()) >= FEWEST_SEEDS

    @property
    def has_intervals(self) -> bool:
        """Whether any cell has more than one seed."""
        return int(self.cells.n.max()) > 1


def scene_of(material: Material) -> Scene | None:
    """The scene of a report; None where no private cell has a score."""
    cells = private_cells(material.evidence)
    if not cells.items:
        return None
    noise = next((name for name in NOISE if name in cells.axes), None)
    hue = colour_axis(cells, (*CLIPPING, "lr", *(name for name in cells.axes if name not in NOISE)))
    kept = [name for name in (noise, *CLIPPING) if name in cells.axes]
    tuned = cells.best_within(kept) if kept else cells.mean == cells.mean
    rate = cells.best_within([*kept, "lr"]) if "lr" in cells.axes else tuned
    return Scene(
        material=material,
        cells=cells,
        epsilon=epsilon_axis(cells.epsilon, delta=material.evidence.delta),
        noise=noise,
        hue=hue,
        tables={"cells": cells.table(tuned=tuned, rate=rate)},
    )
