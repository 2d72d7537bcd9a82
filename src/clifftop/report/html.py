"""The offline page: one HTML file with its scripts, styles and data inside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from clifftop.analysis.results import Results
from clifftop.analysis.summary import Summary
from clifftop.report.figures import figures, javascript, page_charts
from clifftop.report.headline import FIXED_ORDER, batches, headlines, most_understated, understatement
from clifftop.report.look import DARK, LIGHT, css_variables
from clifftop.report.tables import best_lr_table, cliff_table, configuration_table, epsilon_table
from clifftop.report.wording import counted, epsilon_up, percent, plain


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure on the page: its panels carry the ids that the script draws into."""

    name: str
    title: str
    caption: str
    panels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A number worth a large font, and what it is."""

    value: str
    label: str


def render(results: Results, summary: Summary) -> str:
    """The whole page. It asks for nothing from any network, and forbids itself to."""
    shown, specs = _figures(summary)
    counts = {"clips": len(summary.clip_norms), "sigmas": len(summary.noise_multipliers)}
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            config=results.config,
            metadata=results.metadata,
            digest=results.digest,
            summary=summary,
            counts=_counts(results),
            facts=_facts(summary),
            headlines=headlines(summary),
            figures=shown,
            specs=_script_json(specs),
            epsilon_table=epsilon_table(summary),
            configuration_table=configuration_table(summary),
            best_lr_table=best_lr_table(summary) if len(summary.lrs) > 1 else None,
            cliff_table=cliff_table(summary),
            has_published=any(row.published is not None for row in summary.epsilons),
            has_fixed_order=any(row.fixed_order is not None for row in summary.epsilons),
            has_poisson=any(row.poisson is not None for row in summary.epsilons),
            fixed_order=summary.sampling == FIXED_ORDER,
            light=css_variables(LIGHT, **counts),
            dark=css_variables(DARK, **counts),
            javascript=javascript().replace("</script", "<\\/script"),
            cap=-math.log(results.config.delta) / 0.5,
            batches=batches(summary.sampling),
            seeds=_seeds(results.config.seeds),
            plain=plain,
            joined=_joined,
        )
    )


def _figures(summary: Summary) -> tuple[list[PageFigure], dict[str, Any]]:
    shown: list[PageFigure] = []
    specs: dict[str, Any] = {}
    for figure in figures(summary):
        charts = page_charts(figure, summary)
        ids = [f"chart-{figure.name}-{index}" for index in range(len(charts))]
        specs |= {name: chart.spec for name, chart in zip(ids, charts, strict=True)}
        shown.append(
            PageFigure(
                name=figure.name,
                title=figure.title,
                caption=figure.caption,
                panels=tuple(
                    (name, chart.title if len(charts) > 1 else "")
                    for name, chart in zip(ids, charts, strict=True)
                ),
            )
        )
    return shown, specs


def _counts(results: Results) -> str:
    private, without = counted(results.runs.height, "private run"), counted(results.baselines.height, "run")
    return f"{private} and {without} without privacy, {counted(len(results.config.seeds), 'seed')}"


def _joined(values: Iterable[float]) -> str:
    return ", ".join(plain(value) for value in values)


def _seeds(seeds: tuple[int, ...]) -> str:
    """The seeds, or where there are many and they run without a gap, the range."""
    if len(seeds) > 20 and sorted(seeds) == list(range(min(seeds), max(seeds) + 1)):
        return f"{min(seeds)} to {max(seeds)}, all {len(seeds):,}"
    return ", ".join(str(seed) for seed in seeds)


def _facts(summary: Summary) -> list[Fact]:
    safe = summary.cliff.true_upper.overall.safe_epsilon
    lowest = min(item.accuracy.mean for item in summary.configurations)
    factor = most_understated(understatement(summary)) if summary.cliff.published else None
    found = [
        Fact(value=percent(summary.baseline.accuracy.mean), label="accuracy without privacy"),
        Fact(value=percent(lowest), label="lowest accuracy of any configuration"),
        Fact(
            value="none" if safe is None else epsilon_up(safe, digits=4),
            label="smallest true epsilon that keeps 90% of it",
        ),
    ]
    if factor is not None:
        found.append(Fact(value=factor, label="largest understatement by a published epsilon"))
    return found


def _script_json(value: object) -> str:
    """JSON that is safe inside a script element: no ``<`` can end it early."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _environment() -> jinja2.Environment:
    folder = files("clifftop.report") / "templates"
    names = ("report.html.j2", "report.css", "report.js")
    loader = jinja2.DictLoader({name: (folder / name).read_text(encoding="utf-8") for name in names})
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
