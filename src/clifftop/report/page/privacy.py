"""What the page says of privacy: published epsilons beside true ones, the cost of the search, the card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clifftop.report.page.blocks import (
    Block,
    Entry,
    FactList,
    Heading,
    Items,
    Paragraph,
    Section,
    StaticTable,
)
from clifftop.report.page.texts import epsilon_entry
from clifftop.report.wording import epsilon_claimed, epsilon_up, plain

if TYPE_CHECKING:
    from clifftop.analysis.results import Epsilon, EpsilonRow
    from clifftop.report.material import Material
    from clifftop.report.page.drawn import Drawn

_WHY = (
    (
        "Orders below 2 count as free. The formula bounds the Rényi divergence at many orders and keeps the "
        "best. It holds a binomial coefficient that becomes 0 when the order is below 2, so there any amount "
        "of training seems to cost nothing: at this delta that caps epsilon at {cap:.2f}, no matter how "
        "little noise is added."
    ),
    (
        "The guard against overflow is not an upper bound. With very little noise the formula switches to an "
        "expansion that is meant for small sampling probabilities. It can fall below the true value, so it "
        "proves nothing."
    ),
    (
        "Amplification is claimed without sampling. The formula counts on batches drawn at random; the "
        "published runs took them in a fixed order, the same in every epoch, and nothing is amplified."
    ),
)


def published_section(material: Material, drawn: Drawn) -> Section | None:
    """Epsilons once published beside the true ones; none for a sweep that has none."""
    rows = sorted(material.published or (), key=lambda row: row.noise_multiplier)
    if not rows:
        return None
    claimed = any(row.published is not None for row in rows)
    blocks: list[Block] = [_epsilons(rows, material.evidence.delta), *drawn.charts("published", "epsilon")]
    if claimed and material.evidence.delta is not None:
        cap = -math.log(material.evidence.delta) / 0.5
        blocks += [Heading(text="Why the published ones are false")]
        blocks += [
            Items(items=tuple(item.format(cap=cap) for item in _WHY), cites=("mironov2017", "nocliff"))
        ]
    title = "Epsilon, published and true" if claimed else "Epsilon by noise multiplier"
    return Section(name="epsilons", title=title, short="Epsilons", blocks=tuple(blocks))


def _epsilons(rows: Sequence[EpsilonRow], delta: float | None) -> StaticTable:
    columns: Mapping[str, Callable[[EpsilonRow], Entry]] = {
        "as published": lambda row: Entry(text=epsilon_claimed(row.published), value=row.published),
        "true: fixed order": lambda row: _upper(row.fixed_order),
        "true: Poisson sampling": lambda row: _upper(row.poisson),
    }
    made = {name: [make(row) for row in rows] for name, make in columns.items()}
    shown = {name: cells for name, cells in made.items() if any(cell.value is not None for cell in cells)}
    sigmas = [Entry(text=plain(row.noise_multiplier), value=row.noise_multiplier) for row in rows]
    at = "" if delta is None else f" at delta = {plain(delta)}"
    return StaticTable(
        caption=f"Epsilon of one run{at}; true ones are upper ends of certified intervals, rounded up",
        headers=("noise multiplier σ", *shown),
        rows=tuple(zip(sigmas, *shown.values(), strict=True)),
    )


def _upper(epsilon: Epsilon | None) -> Entry:
    return epsilon_entry(None if epsilon is None else epsilon.upper)


def cost_section(material: Material, drawn: Drawn) -> Section | None:
    """What the search cost, by what is released of it."""
    cost = material.cost
    if cost is None:
        return None
    blocks: list[Block] = [
        Paragraph(
            text="The epsilon of one run is not the price of the search that found it: which run was kept "
            "depends on the data. What a search costs depends on what is released of it.",
            cites=("papernot2022",),
        )
    ]
    rows = _costs(cost)
    if rows:
        blocks.append(FactList(rows=rows))
    blocks += drawn.charts("cost", "search")
    return Section(name="cost", title="What the search costs", short="Cost", blocks=tuple(blocks))


_RELEASES = {
    "single": "One run, fixed beforehand",
    "composition": "All private runs",
    "selection": "The best of new trials",
    "public": "Public data only",
}


def _costs(cost: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What may be released, at which epsilon, and what that means."""
    said = cost.get("sentences", {})
    return tuple(
        (f"{title}: {_bounds(cost.get(name))}", str(said[name]))
        for name, title in _RELEASES.items()
        if name in said
    )


def _bounds(found: Any) -> str:
    """Upper ends; a search by selection has one for each law of its number of trials."""
    if isinstance(found, list):
        laws = (f"{_bounds(bound)} ({bound['law']})" for bound in found)
        return " or ".join(laws) or "no finite epsilon"
    upper = float(found["epsilon_upper"])  # infinity is a word in JSON
    return f"epsilon {epsilon_up(upper)}" if math.isfinite(upper) else "no finite epsilon"


def card_section(material: Material, drawn: Drawn) -> Section | None:
    """The privacy card, as it is."""
    card = material.card
    if card is None:
        return None
    blocks: list[Block] = [
        Paragraph(
            text=f"May be released: {card.verdict.release}. {card.verdict.text}",
            cites=("ponomareva2023", "nist800226"),
        )
    ]
    for section in card.sections:
        blocks.append(Heading(text=section.title))
        blocks += [Paragraph(text=paragraph) for paragraph in section.paragraphs]
        if section.rows:
            blocks.append(FactList(rows=tuple((row.label, row.text) for row in section.rows)))
    if card.not_stated:
        blocks += [Heading(text="Not stated"), Items(items=tuple(str(one) for one in card.not_stated))]
    blocks += drawn.charts("privacy", "card")
    return Section(name="card", title="Privacy card", blocks=tuple(blocks))
