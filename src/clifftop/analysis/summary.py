"""The content of ``summary.json``: every configuration, the baseline, the cliff, the frontier."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from clifftop.analysis.cliffs import Cliff, Point, find_cliff
from clifftop.analysis.configurations import Configuration, baselines_by_lr, cells, distinct
from clifftop.analysis.frontier import pareto
from clifftop.analysis.jsonio import ResultsError, to_jsonable
from clifftop.analysis.learning_rate import (
    BestClipNorm,
    BestLr,
    ClippingCost,
    best_clip_norms,
    best_per_cell,
    clipping_costs,
)
from clifftop.analysis.results import EpsilonRow, Results
from clifftop.analysis.uncertainty import Estimate, estimate

FILE_NAME = "summary.json"
EpsilonColumn = Callable[[Configuration], float | None]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Training without privacy at one learning rate; ``diverged`` counts its runs that diverged."""

    lr: float
    accuracy: Estimate
    diverged: int


@dataclass(frozen=True, kw_only=True)
class ClipNormCliff:
    """The cliff among the configurations of one clip norm."""

    clip_norm: float
    cliff: Cliff


@dataclass(frozen=True, kw_only=True)
class LrCliff:
    """The cliff among the configurations of one learning rate."""

    lr: float
    cliff: Cliff


@dataclass(frozen=True, kw_only=True)
class Cliffs:
    """The cliff on one epsilon column: overall, and within each clip norm and learning rate.

    ``best_lr`` takes each cell at its best learning rate; it equals ``overall`` with one learning rate.
    All of them use one yardstick, the summary's baseline.
    """

    overall: Cliff
    best_lr: Cliff
    per_clip_norm: tuple[ClipNormCliff, ...]
    per_lr: tuple[LrCliff, ...]


@dataclass(frozen=True, kw_only=True)
class CliffColumns:
    """The cliff on the published epsilons (None where there are none) and on the true upper ends."""

    published: Cliffs | None
    true_upper: Cliffs


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All that the report shows; ``to_json`` is the content of ``summary.json``.

    Attributes:
        study: the study's name.
        delta: of every epsilon.
        sampling: how the runs formed their batches.
        num_runs: private runs.
        baseline: the yardstick: training without privacy at the learning rate where it does best.
        baselines: training without privacy at each learning rate, in the order the study lists them.
        configurations: every (noise multiplier, clip norm, learning rate).
        best_lr: every (noise multiplier, clip norm) at its best learning rate.
        clipping_cost: what each clip norm costs at the least noise; empty with one learning rate.
        best_clip_norm: the best clip norm of each learning rate at the most noise; likewise.
        cliff: by the published study's definitions.
        frontier: the configurations no other beats in true epsilon and accuracy.
        epsilons: the three-epsilon table.
    """

    study: str
    delta: float
    sampling: str
    num_runs: int
    baseline: Baseline
    baselines: tuple[Baseline, ...]
    configurations: tuple[Configuration, ...]
    best_lr: tuple[BestLr, ...]
    clipping_cost: tuple[ClippingCost, ...]
    best_clip_norm: tuple[BestClipNorm, ...]
    cliff: CliffColumns
    frontier: tuple[Configuration, ...]
    epsilons: tuple[EpsilonRow, ...]

    @property
    def noise_multipliers(self) -> tuple[float, ...]:
        """The distinct noise multipliers, rising."""
        return distinct([item.noise_multiplier for item in self.configurations])

    @property
    def clip_norms(self) -> tuple[float, ...]:
        """The distinct clip norms, rising."""
        return distinct([item.clip_norm for item in self.configurations])

    @property
    def lrs(self) -> tuple[float, ...]:
        """The distinct learning rates, rising."""
        return distinct([item.lr for item in self.configurations])

    @property
    def num_seeds(self) -> int:
        """The most seeds that any configuration has."""
        return max(item.accuracy.n for item in self.configurations)

    def to_json(self) -> dict[str, object]:
        """The object of ``summary.json``: floats that are not finite are strings."""
        content = to_jsonable(self)
        assert isinstance(content, dict)
        return {"schema": 1, **content}


def summarise(results: Results) -> Summary:
    """Average ``results`` over seeds and find the baseline, the cliff and the frontier.

    Raises:
        ResultsError: there are no private runs or no baseline runs.
    """
    for key, frame in (("baseline_runs", results.baselines), ("dp_runs", results.runs)):
        if frame.is_empty():
            raise ResultsError(
                f"{results.source}: key '{key}' must hold a run, found none; run the study again"
            )
    by_lr = baselines_by_lr(results.baselines)
    lrs = results.config.lrs
    baselines = tuple(
        Baseline(
            lr=lr,
            accuracy=estimate(list(by_lr[lr].values())),
            diverged=_diverged(results.baselines, lr),
        )
        for lr in _in_order(lrs, by_lr)
    )
    baseline = max(baselines, key=lambda item: round(item.accuracy.mean, 12))
    found = cells(results.runs, by_lr, reference_lr=baseline.lr)
    configurations = tuple(cell.configuration for cell in found)
    best_lr = best_per_cell(found, lrs)
    several = len({cell.configuration.lr for cell in found}) > 1
    return Summary(
        study=results.config.study,
        delta=results.config.delta,
        sampling=results.config.sampling,
        num_runs=results.runs.height,
        baseline=baseline,
        baselines=baselines,
        configurations=configurations,
        best_lr=best_lr,
        clipping_cost=clipping_costs(found, lrs) if several else (),
        best_clip_norm=best_clip_norms(found, lrs) if several else (),
        cliff=_cliff_columns(configurations, best_lr, baseline.accuracy.mean),
        frontier=pareto(configurations, epsilon=true_upper, accuracy=lambda item: item.accuracy.mean),
        epsilons=results.epsilons,
    )


def true_upper(item: Configuration) -> float:
    """The epsilon to report: the upper end of the true one."""
    return item.epsilon.upper


def published(item: Configuration) -> float | None:
    """The epsilon by the published formula."""
    return item.epsilon_published


def _in_order(lrs: Iterable[float], by_lr: Iterable[float]) -> list[float]:
    present = list(by_lr)
    return list(dict.fromkeys(lr for lr in [*lrs, *present] if lr in present))


def _diverged(baselines: pl.DataFrame, lr: float) -> int:
    return baselines.filter((pl.col("lr") == lr) & (pl.col("status") == "diverged")).height


def _cliff_columns(
    configurations: tuple[Configuration, ...], best: tuple[BestLr, ...], baseline: float
) -> CliffColumns:
    tuned = tuple(item.configuration for item in best)
    has_published = any(item.epsilon_published is not None for item in configurations)
    return CliffColumns(
        published=_cliffs(configurations, tuned, baseline, published) if has_published else None,
        true_upper=_cliffs(configurations, tuned, baseline, true_upper),
    )


def _cliffs(
    configurations: tuple[Configuration, ...],
    tuned: tuple[Configuration, ...],
    baseline: float,
    column: EpsilonColumn,
) -> Cliffs:
    def cliff(items: Iterable[Configuration]) -> Cliff:
        pairs = [(column(item), item.accuracy.mean) for item in items]
        points = [Point(epsilon=epsilon, accuracy=mean) for epsilon, mean in pairs if epsilon is not None]
        return find_cliff(points, baseline_accuracy=baseline)

    clip_norms = distinct([item.clip_norm for item in configurations])
    lrs = distinct([item.lr for item in configurations])
    return Cliffs(
        overall=cliff(configurations),
        best_lr=cliff(tuned),
        per_clip_norm=tuple(
            ClipNormCliff(clip_norm=norm, cliff=cliff(i for i in configurations if i.clip_norm == norm))
            for norm in clip_norms
        ),
        per_lr=tuple(LrCliff(lr=lr, cliff=cliff(i for i in configurations if i.lr == lr)) for lr in lrs),
    )
