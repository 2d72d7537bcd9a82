"""What all charts of one report share: its cells, their table, the axes, and who is told apart by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from clifftop.report.drawings.axes import EpsilonAxis, epsilon_axis, score_axis
from clifftop.report.drawings.cells import Cells, colour_axis, private_cells
from clifftop.report.drawings.drawing import Table
from clifftop.report.drawings.marks import HUES, baseline, baseline_layers
from clifftop.report.drawings.units import Unit
from clifftop.report.wording import counted

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Evidence
    from clifftop.analysis.frontier import Frontier
    from clifftop.analysis.uncertainty import Estimate
    from clifftop.report.material import Material

Json = dict[str, Any]
NOISE = ("target_epsilon", "noise_multiplier")
CLIPPING = ("clip_norm", "clipping")
FEWEST_SEEDS = 3
"""Two seeds have an interval too, six times as wide as that of three: too wide for a band."""
FEW_CELLS = 60
"""Up to so many cells carry bars."""
FEW_FRONT = 4
RANGES = 12
CROWD = 150
"""With more cells than this, points are small, faint and of one shape."""


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

    @cached_property
    def along(self) -> tuple[int, ...]:
        """Cells to look at along the budget: the front's, or if it has few the best of each range."""
        if len(self.front) >= FEW_FRONT:
            return self.front
        finite = np.flatnonzero(np.isfinite(self.cells.epsilon) & (self.cells.epsilon > 0))
        logs = np.log(self.cells.epsilon[finite])
        width = max(float(np.ptp(logs)), 1e-9) / RANGES if finite.size else 1.0
        best: dict[int, int] = {}
        for place, log in zip(finite.tolist(), logs.tolist(), strict=True):
            of = min(RANGES - 1, int((log - float(logs.min())) / width))
            if of not in best or self.cells.utility[place] > self.cells.utility[best[of]]:
                best[of] = place
        return tuple(self.cells.items[best[of]].index for of in sorted(best))

    @property
    def along_text(self) -> str:
        """Which cells `along` are."""
        found = counted(len(self.along), "cell")
        return f"the {found} on the front" if self.along == self.front else f"the best {found} along epsilon"

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

    @cached_property
    def baseline(self) -> Estimate | None:
        """The score without privacy at the setting where it does best."""
        return baseline(self.evidence)

    def without_privacy(self, channel: Json) -> list[Json]:
        """The layers that show it on a channel of scores."""
        return baseline_layers(self.baseline, self.unit, channel)

    def score(self, field: str = "mean", *, of: Sequence[float | None] | None = None) -> Json:
        """The channel of scores: of all cells, or with room for ``of`` alone; the baseline in sight."""
        found = self.baseline
        more = [] if found is None else [self.unit.shown(found.mean)]
        if of is not None:
            return score_axis(field, self.unit, [*of, *more])
        ends = [] if len(self.cells.items) > FEW_CELLS else [*self.cells.lower, *self.cells.upper]
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
