"""What the page says of utility: its causes, the frontier, the cliff, settings, training, other scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.analysis.inference import holm
from clifftop.report.drawings.units import Unit, unit
from clifftop.report.page.blocks import Block, Details, Entry, Paragraph, Section, StaticTable
from clifftop.report.page.texts import (
    difference_entry,
    epsilon_entry,
    score_entry,
    score_title,
    setting_entries,
    setting_titles,
)
from clifftop.report.wording import MISSING, percent

if TYPE_CHECKING:
    from clifftop.analysis.cliffs import CliffTest
    from clifftop.analysis.decomposition import CellLoss
    from clifftop.analysis.evidence import Evidence
    from clifftop.analysis.frontier import Frontier
    from clifftop.analysis.uncertainty import Estimate
    from clifftop.report.material import Material
    from clifftop.report.page.drawn import Drawn

_MOST_ROWS = 40
_PARTS: Mapping[str, Callable[[CellLoss], Estimate | None]] = {
    "architecture": lambda loss: loss.architecture,
    "clipping": lambda loss: loss.clipping,
    "noise": lambda loss: loss.noise,
    "interaction": lambda loss: loss.interaction,
    "noise after clipping": lambda loss: None if loss.noise is not None else loss.noise_given_clipping,
    "clipping after noise": lambda loss: None if loss.clipping is not None else loss.clipping_given_noise,
    "total": lambda loss: loss.total,
    "of it undertraining": lambda loss: loss.undertraining,
}


def decomposition_section(material: Material, drawn: Drawn) -> Section | None:
    """Where utility is lost."""
    found = material.decomposition
    if found is None or not (found.fixed or found.tuned):
        return None
    blocks: list[Block] = [
        Paragraph(
            text="Each private cell is compared with runs of the same seeds that are only clipped, only "
            "noised, or neither. The parts add up to the total, seed by seed; interaction is what clipping "
            "and noise cost together beyond the sum of their costs alone."
        ),
        *drawn.charts("decomposition", "parts", "arms", "causes", "waterfall", "loss", "undertraining"),
    ]
    tuned = _loss_table(found.tuned, material.evidence, "each arm at its best learning rate")
    fixed = _loss_table(found.fixed, material.evidence, "every arm at the cell's own learning rate")
    if tuned is not None:
        blocks.append(Details(summary="The parts at the best learning rates, as numbers", blocks=(tuned,)))
    if found.why_not_tuned:
        blocks.append(Paragraph(text=f"At the best learning rates: {found.why_not_tuned}."))
    if fixed is not None:
        blocks.append(Details(summary="The parts at fixed learning rates, as numbers", blocks=(fixed,)))
    return Section(
        name="decomposition", title="Where utility is lost", short="Decomposition", blocks=tuple(blocks)
    )


def _loss_table(losses: Sequence[CellLoss], evidence: Evidence, how: str) -> StaticTable | None:
    """The cells that lost most, with the parts that any of them has."""
    known = sorted((loss for loss in losses if loss.total is not None), key=lambda loss: -_total(loss))
    if not known:
        return None
    worst = known[:_MOST_ROWS]
    columns = {name: [part(loss) for loss in worst] for name, part in _PARTS.items()}
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    shown = unit(evidence)
    settings = [setting_entries(evidence.cells[loss.cell], evidence.axes) for loss in worst]
    parts = [[difference_entry(value, shown) for value in values] for values in columns.values()]
    some = (
        f"the {len(worst)} of {len(known):,} cells that lost most" if len(known) > len(worst) else "all cells"
    )
    return StaticTable(
        caption=f"Loss in {shown.difference} with 95% intervals, {how}: {some}",
        headers=(*setting_titles(evidence.axes), *columns),
        rows=tuple((*first, *more) for first, *more in zip(settings, *parts, strict=True)),
    )


def _total(loss: CellLoss) -> float:
    return 0.0 if loss.total is None else loss.total.mean


def frontier_section(material: Material, drawn: Drawn) -> Section | None:
    """The best at each epsilon, and what more epsilon buys."""
    frontier = material.frontier
    if frontier is None:
        return None
    blocks: list[Block] = [
        Paragraph(
            text="A cell is on the frontier when no other has a smaller epsilon and a better mean. "
            "Membership is the share of redraws of the seeds in which it stays there: a mean that was picked "
            "for being the best is optimistic."
        ),
        *drawn.charts("marginal", "band", "knee", "iso", "budget", "compute", "membership"),
        _front_table(frontier, material.evidence),
    ]
    marginal = _marginal_table(frontier, material.evidence)
    if marginal is not None:
        blocks.append(Details(summary="What more epsilon buys, step by step", blocks=(marginal,)))
    return Section(name="front", title="The frontier", short="Frontier", blocks=tuple(blocks))


def _front_table(frontier: Frontier, evidence: Evidence) -> StaticTable:
    points = {point.cell: point for point in frontier.points}
    chosen = _spread([points[cell] for cell in frontier.front])
    shown = unit(evidence)
    rows = tuple(
        (
            epsilon_entry(point.epsilon),
            *setting_entries(evidence.cells[point.cell], evidence.axes),
            score_entry(point.utility, shown),
            Entry(text=MISSING)
            if point.membership is None
            else Entry(text=percent(point.membership, digits=0), value=point.membership),
        )
        for point in chosen
    )
    headers = ("epsilon", *setting_titles(evidence.axes), score_title(evidence), "membership")
    some = "" if len(chosen) == len(frontier.front) else f"{len(chosen)} of the {len(frontier.front)} "
    return StaticTable(caption=f"{some}cells on the frontier".capitalize(), headers=headers, rows=rows)


def _marginal_table(frontier: Frontier, evidence: Evidence) -> StaticTable | None:
    steps = _spread(list(frontier.marginal))
    if not steps:
        return None
    shown = unit(evidence)
    rows = tuple(
        (
            epsilon_entry(step.epsilon_low),
            epsilon_entry(step.epsilon_high),
            difference_entry(step.gain, shown),
        )
        for step in steps
    )
    return StaticTable(
        caption=f"Gain in {shown.difference} from a larger epsilon, with 95% intervals, settings chosen on "
        f"other seeds",
        headers=("epsilon from", "to", "gain"),
        rows=rows,
    )


def cliff_section(material: Material, drawn: Drawn) -> Section | None:
    """Whether utility falls off a cliff, by clipping rule."""
    charts = drawn.charts("cliff")
    if not material.cliffs and not charts:
        return None
    blocks: list[Block] = [*charts]
    if material.cliffs:
        shown = unit(material.evidence)
        definitions = dict.fromkeys(test.definition for test in material.cliffs.values())
        blocks[:0] = [Paragraph(text=_sentence(text)) for text in definitions]
        adjusted = holm([test.p_value for test in material.cliffs.values()])
        searches = list(zip(material.cliffs.items(), adjusted, strict=True))
        seen = [one for one in searches if one[0][1].steepest is not None] or searches[:1]
        rows = tuple(_cliff_row(name, test, p, shown) for (name, test), p in _spread(seen))
        some = "" if len(rows) == len(searches) else f"; {len(rows)} of {len(searches):,} searches"
        caption = (
            f"Steepest fall by clipping rule, in {shown.difference} with 95% intervals; p of having no "
            f"cliff, adjusted for the number of searches (Holm){some}"
        )
        headers = ("clipping", "verdict", "epsilon from", "to", "fall", "per doubling", "p")
        blocks.append(StaticTable(caption=caption, headers=headers, rows=rows))
    return Section(name="cliffs", title="Cliffs", blocks=tuple(blocks))


def _cliff_row(name: str, test: CliffTest, p: float, shown: Unit) -> tuple[Entry, ...]:
    said = Entry(text=test.verdict.value)
    chance = Entry(text=f"{p:.2g}", value=p)
    steepest = test.steepest
    if steepest is None:
        none = Entry(text=MISSING)
        return (Entry(text=name), said, none, none, none, none, chance)
    ends = (epsilon_entry(steepest.epsilon_low), epsilon_entry(steepest.epsilon_high))
    slope = shown.factor * steepest.per_doubling
    doubling = Entry(text=f"{slope:.1f}" if shown.share else f"{slope:.3g}", value=slope)
    return (Entry(text=name), said, *ends, difference_entry(steepest.drop, shown), doubling, chance)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."


def settings_section(_: Material, drawn: Drawn) -> Section | None:
    """What settings do."""
    charts = drawn.charts("learning_rate", "lr", "clip", "noise", "heat", "settings", "optimum", "batch")
    return Section(name="settings", title="Settings", blocks=charts) if charts else None


def training_section(_: Material, drawn: Drawn) -> Section | None:
    """What happens to gradients over training."""
    charts = drawn.charts("gradient", "training", "curve", "trace", "layer", "bias", "signal")
    if not charts:
        return None
    return Section(name="training", title="Over training", short="Training", blocks=charts)


def scores_section(_: Material, drawn: Drawn) -> Section | None:
    """Calibration, classes and groups."""
    charts = drawn.charts("calibration", "class", "group", "score", "beyond", "disparate", "fair")
    if not charts:
        return None
    said = Paragraph(
        text="Clipping and noise need not cost every class and group the same, and confidence may suffer "
        "where accuracy does not.",
        cites=("bagdasaryan2019", "guo2017"),
    )
    return Section(name="scores", title="Beyond accuracy", short="Scores", blocks=(said, *charts))


def _spread(items: Sequence[Any]) -> list[Any]:
    """At most so many, evenly spread, the first and the last among them."""
    if len(items) <= _MOST_ROWS:
        return list(items)
    last = len(items) - 1
    return [items[round(place * last / (_MOST_ROWS - 1))] for place in range(_MOST_ROWS)]
