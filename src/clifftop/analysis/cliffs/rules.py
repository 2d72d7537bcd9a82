"""Cliffs by clipping rule and clip norm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clifftop.analysis.cliffs.detect import WITHIN, CliffTest, detect_cliff

if TYPE_CHECKING:
    from clifftop.analysis.evidence import Cell, Evidence

MOST_NORMS = 12
"""Clip norms that are searched one by one, at most."""


def cliffs_by_rule(
    evidence: Evidence, *, alpha: float = 0.05, within: float = WITHIN, chance: float | None = None
) -> Mapping[str, CliffTest]:
    """A search for a cliff with each clipping rule, and with each clip norm where a rule has several.

    The keys are the rule's name, and ``"RULE, clip norm C"``; a rule's own entry is that of its best clip
    norm at every level. A rule with more than `MOST_NORMS` clip norms, as a random search has, has no others.
    What else the sweep varies (the learning rate, say) is tuned in every entry, on the other half of the
    seeds. Each search has its own ``alpha``: pass the p-values through `stated` before several are printed.

    >>> from clifftop.testing.frontiers import crossed, simulated_evidence
    >>> import numpy as np
    >>> cells = crossed({"clip_norm": (0.1, 1.0)})
    >>> evidence = simulated_evidence(rng=np.random.default_rng(0), cells=cells)
    >>> for name, found in cliffs_by_rule(evidence).items():
    ...     print(name, "-", found.verdict)
    flat - no cliff
    flat, clip norm 0.1 - no cliff
    flat, clip norm 1 - no cliff
    """
    groups: dict[str, list[Cell]] = {}
    for cell in evidence.private:
        groups.setdefault(str(cell.setting.get("clipping", "clipped")), []).append(cell)
    found: dict[str, CliffTest] = {}
    for rule, cells in groups.items():
        by_norm: dict[float | None, list[Cell]] = {}
        for cell in cells:
            by_norm.setdefault(cell.number("clip_norm"), []).append(cell)
        found[rule] = detect_cliff(evidence, cells=cells, alpha=alpha, within=within, chance=chance)
        if 1 < len(by_norm) <= MOST_NORMS:
            for norm in sorted(by_norm, key=lambda value: (value is None, value or 0.0)):
                name = f"{rule}, no clip norm" if norm is None else f"{rule}, clip norm {norm:g}"
                found[name] = detect_cliff(
                    evidence, cells=by_norm[norm], alpha=alpha, within=within, chance=chance
                )
    return found
