"""The line below the title: what was swept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clifftop.report.drawings.units import setting_title
from clifftop.report.wording import counted, plain

if TYPE_CHECKING:
    from clifftop.report.material import Material

_RELATIONS_SAID = "neighbours: {}"


def swept(material: Material) -> str:
    """Runs, cells, seeds, model, data, delta and relation, in one line."""
    evidence = material.evidence
    runs = sum(cell.seeds.size for cell in evidence.cells)
    seeds = max((cell.seeds.size for cell in evidence.cells), default=0)
    parts = [f"{counted(runs, 'run')} of {counted(len(evidence.cells), 'setting')}, {_seeds(seeds)}"]
    if evidence.axes:
        parts.append(f"over {_listed([setting_title(name) for name in evidence.axes])}")
    parts += [_model(material), _data(material)]
    if evidence.delta is not None:
        parts.append(f"delta {plain(evidence.delta)}")
    if evidence.neighboring_relation is not None:
        parts.append(
            _RELATIONS_SAID.format(evidence.neighboring_relation.replace("_", " ").replace("-", " "))
        )
    return "; ".join(part for part in parts if part)


def _seeds(most: int) -> str:
    return counted(most, "seed") if most == 1 else f"up to {counted(most, 'seed')} each"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _model(material: Material) -> str:
    names = {str(name) for cell in material.evidence.cells if (name := cell.setting.get("model")) is not None}
    facts = material.facts
    size = None if facts is None else facts.num_parameters
    if not names:
        return "" if size is None else f"{size:,} parameters"
    shown = f"model {names.pop()}" if len(names) == 1 else counted(len(names), "model")
    return shown if size is None else f"{shown} ({size:,} parameters)"


def _data(material: Material) -> str:
    train, test = material.source.num_train, material.source.num_test
    facts = material.facts
    names = {item.factory.target for item in facts.data} if facts is not None else set()
    name = f"{names.pop()}: " if len(names) == 1 else ""
    if train is None:
        return name.removesuffix(": ")
    return f"{name}{train:,} training rows" + ("" if test is None else f", {test:,} test rows")
