"""What the page says of itself: caveats, methods, versions, and how to make it again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from clifftop import __version__
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.report.drawings.units import setting_title
from clifftop.report.page.blocks import Block, FactList, Heading, Items, Listing, Paragraph, Section
from clifftop.report.page.cells import ARMS
from clifftop.report.wording import counted, plain

if TYPE_CHECKING:
    from clifftop.report.material import Material
    from clifftop.report.page.drawn import Drawn

_MOST_VALUES = 12
_INTERVAL = (
    "An interval speaks of other seeds of these same settings. It says nothing about other data, other "
    "models or other tasks; where all seeds agree it has no width, which is no proof of certainty."
)
_SINGLE = (
    "Every epsilon beside a cell is that of releasing one run of it alone, fixed before any was trained."
)


def caveats_section(material: Material, _: Drawn) -> Section | None:
    """What a reader must know."""
    private = (_SINGLE,) if any(cell.epsilon is not None for cell in material.evidence.private) else ()
    items = Items(items=(*material.caveats, *private, _INTERVAL))
    return Section(name="caveats", title="Caveats", blocks=(items,))


def methods_section(material: Material, _: Drawn) -> Section | None:
    """How the numbers were made."""
    blocks: list[Block] = [
        Paragraph(
            text="In each step every example's gradient is scaled to norm C or less, the sum gets Gaussian "
            "noise of standard deviation σ × C, and the result is divided by a batch size. A cell is one "
            "setting of everything but the seed.",
            cites=("abadi2016",),
        ),
        Paragraph(
            text="An epsilon is the upper end of an interval that holds the true one, rounded up. Means are "
            "over seeds and come with their 95% t-interval; "
            + (
                "differences are taken seed by seed: runs of one seed share data, initialisation, batches. "
                if material.evidence.paired
                else "runs of different cells share nothing, so differences are between independent means. "
            )
            + "Conclusions that claim an effect are tested together: all of a report's claims hold with 95% "
            "confidence as a family.",
            cites=("holm1979",),
        ),
    ]
    arms = _arms(material.evidence)
    if len(arms) > 1:
        blocks += [Heading(text="Arms"), FactList(rows=arms)]
    blocks += [Heading(text="Settings"), FactList(rows=_settings(material.evidence))]
    blocks += [Paragraph(text="Colours can be told apart by colour-blind readers.", cites=("okabe2008",))]
    return Section(name="methods", title="Methods", blocks=tuple(blocks))


def reproduce_section(material: Material, _: Drawn) -> Section | None:
    """Versions, and the commands that make the page again."""
    folder = shlex.quote(material.folder.name or "FOLDER")
    lines = [f"clifftop report {folder}    # this page", f"clifftop runs {folder}      # every run"]
    if material.source.sweep is not None:
        lines.insert(0, "clifftop sweep SWEEP.toml    # trains what is not in the store yet")
    blocks: tuple[Block, ...] = (
        FactList(rows=_making(material)),
        Listing(name="again", text="\n".join(lines)),
    )
    return Section(name="reproduce", title="How to reproduce", short="Reproduce", blocks=blocks)


_ARM_TEXT = {
    Arm.BOTH: "gradients clipped and noised: the private runs, the only ones with an epsilon",
    Arm.NEITHER: "trained without privacy: neither clipped nor noised",
    Arm.CLIPPING: "clipped as the private runs, without noise",
    Arm.NOISE: "noised as the private runs, without clipping; not private",
    Arm.ORIGINAL: "the model before it was made fit for privacy, trained plainly",
}


def _arms(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    return tuple(
        (ARMS[arm], f"{text} ({counted(len(evidence.of(arm)), 'cell')})")
        for arm, text in _ARM_TEXT.items()
        if evidence.of(arm)
    )


def _settings(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """The private cells' settings, by name; of every cell where none is private."""
    cells = evidence.private or evidence.cells
    names = dict.fromkeys(name for cell in cells for name in cell.setting)
    return tuple((setting_title(name), _values({cell.setting.get(name) for cell in cells})) for name in names)


def _values(found: set[object]) -> str:
    numbers = sorted(float(v) for v in found if isinstance(v, int | float) and not isinstance(v, bool))
    texts = sorted(str(v) for v in found if not isinstance(v, int | float) or isinstance(v, bool))
    words = [*(plain(number) for number in numbers), *texts]
    if len(words) <= _MOST_VALUES:
        return ", ".join(words)
    if texts:
        return f"{', '.join(words[:_MOST_VALUES])} and {len(words) - _MOST_VALUES:,} more"
    return f"{len(words):,} values from {plain(numbers[0])} to {plain(numbers[-1])}"


def _making(material: Material) -> tuple[tuple[str, str], ...]:
    rows = [("page built with", f"clifftop {__version__}")]
    facts = material.facts
    if facts is not None:
        rows += [
            ("started, UTC", facts.started or "not known"),
            ("finished, UTC", facts.finished or "not known"),
        ]
        for environment in facts.environments:
            versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
            rows.append(("trained with", f"{versions}; {environment.device}, {environment.machine}"))
    if material.training_seconds is not None:
        rows.append(("training time", f"{material.training_seconds:,.1f} s, summed over workers"))
    return tuple(rows)
