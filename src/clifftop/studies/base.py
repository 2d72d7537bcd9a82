"""A study as a value: one template run, the axes that vary, and what must be said about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import final

from clifftop import accounting
from clifftop.clipping import Flat, Unclipped
from clifftop.lab import RunSpec
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder


@final
@dataclass(frozen=True, kw_only=True)
class Axes:
    """The grid of a study; None keeps the study's own values.

    Attributes:
        noise_multipliers: sigma values; exclusive with ``target_epsilons``.
        clip_norms: C values.
        lrs: learning rates.
        seeds: seeds of data, initialisation and noise.
        target_epsilons: epsilons whose noise multipliers are calibrated.
    """

    noise_multipliers: tuple[float, ...] | None = None
    clip_norms: tuple[float, ...] | None = None
    lrs: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None
    target_epsilons: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for axis in fields(self):
            values = getattr(self, axis.name)
            if values is not None and not values:
                raise ValueError(
                    f"{axis.name} must have at least one value, found none; leave it out for the study's own"
                )
            if values is not None and len(set(values)) < len(values):
                doubled = next(v for v in values if values.count(v) > 1)
                raise ValueError(f"{axis.name} must not repeat a value, found {doubled} more than once")
        if self.noise_multipliers is not None and self.target_epsilons is not None:
            raise ValueError(
                "give noise multipliers or target epsilons, found both; the one decides the other"
            )

    def over(self, defaults: Axes) -> Axes:
        """These values, and the defaults where none are given."""
        merged = {f.name: getattr(self, f.name) or getattr(defaults, f.name) for f in fields(self)}
        if self.noise_multipliers:
            merged["target_epsilons"] = None
        elif self.target_epsilons:
            merged["noise_multipliers"] = None
        return Axes(**merged)


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """The axes of one sweep, complete."""

    noise_multipliers: tuple[float, ...]
    clip_norms: tuple[float, ...]
    lrs: tuple[float, ...]
    seeds: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """A question asked of one model and one data set over noise, clipping, learning rate and seed.

    Attributes:
        name: what the command line calls it.
        title: one line.
        question: what it asks.
        template: one run; its noise, clip norm, learning rate and seed are replaced cell by cell.
        defaults: the axes when none are given.
        delta: at which epsilon is reported.
        epochs: passes over the data, or the equivalent number.
        batch_size: realised, or expected.
        num_examples: training rows.
        caveats: what a reader must know, one sentence each.
        published_epsilon: noise multiplier to the epsilon once published, for comparison only.
        poisson_counterpart: a plan whose sampler and relation the study would have had under Poisson
            sampling; for comparison only.
        counterfactuals: whether each cell also gets a run with its clipping alone and one with its noise
            alone, which say what each of the two costs. They are not private.
    """

    name: str
    title: str
    question: str
    template: RunSpec
    defaults: Axes
    delta: float
    epochs: int
    batch_size: int
    num_examples: int
    caveats: tuple[str, ...]
    published_epsilon: Callable[[float], float] | None = None
    poisson_counterpart: PrivacyPlan | None = None
    counterfactuals: bool = False

    @property
    def sampling(self) -> str:
        """How batches are formed, in words."""
        return "fixed order" if isinstance(self.template.plan.sampler, FixedOrder) else "poisson"

    def plan(self, noise_multiplier: float, clip_norm: float) -> PrivacyPlan:
        """The plan of one cell."""
        return replace(
            self.template.plan,
            clipping=Flat(clip_norm=clip_norm),
            noise=Gaussian(noise_multiplier=noise_multiplier),
        )

    def grid(self, axes: Axes) -> Grid:
        """The complete axes, with noise multipliers calibrated where epsilons were asked for."""
        full = axes.over(self.defaults)
        sigmas = full.noise_multipliers
        if full.target_epsilons is not None:
            sigmas = tuple(self._calibrated(target) for target in full.target_epsilons)
        assert sigmas is not None
        assert full.clip_norms is not None
        assert full.lrs is not None
        assert full.seeds is not None
        if any(math.isinf(clip) for clip in full.clip_norms):
            raise ValueError(
                "clip_norm must be finite in a study's grid, found inf; its baselines are not clipped"
            )
        return Grid(noise_multipliers=sigmas, clip_norms=full.clip_norms, lrs=full.lrs, seeds=full.seeds)

    def specs(self, grid: Grid) -> Iterator[RunSpec]:
        """Every run of a grid and what it is compared with, seed by seed: neighbours share data and noise."""
        # A baseline is a run whose clip norm is infinite and whose noise is zero.
        plans = [self.plan(0.0, float("inf"))]
        plans += [self.plan(sigma, clip) for sigma in grid.noise_multipliers for clip in grid.clip_norms]
        if self.counterfactuals:
            plans += self._counterfactuals(grid)
        for seed in grid.seeds:
            for lr in grid.lrs:
                optimizer = replace(self.template.optimizer, lr=lr)
                for plan in plans:
                    yield replace(self.template, plan=plan, optimizer=optimizer, seed=seed)

    def _counterfactuals(self, grid: Grid) -> list[PrivacyPlan]:
        """Each cell's clipping without noise, and its noise without clipping; none that the grid has."""
        clipped = [self.plan(0.0, clip) for clip in grid.clip_norms if 0.0 not in grid.noise_multipliers]
        noised = [
            replace(self.plan(sigma, clip), clipping=Unclipped(noise_scale=clip))
            for sigma in grid.noise_multipliers
            for clip in grid.clip_norms
            if sigma > 0
        ]
        return clipped + noised

    def epsilon(self, plan: PrivacyPlan) -> accounting.Bound:
        """The true epsilon of a run with this plan."""
        event = plan.event(steps=self.template.steps, num_examples=self.num_examples)
        return accounting.epsilon(event, delta=self.delta, neighboring_relation=plan.neighboring_relation)

    def _calibrated(self, target: float) -> float:
        plan = self.plan(1.0, 1.0).calibrate(
            lambda make_event: accounting.calibrate_noise_multiplier(
                make_event,
                target_epsilon=target,
                target_delta=self.delta,
                neighboring_relation=self.template.plan.neighboring_relation,
            ),
            steps=self.template.steps,
            num_examples=self.num_examples,
        )
        assert isinstance(plan.noise, Gaussian)
        return plan.noise.noise_multiplier
