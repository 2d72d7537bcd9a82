"""What the settings of a sweep reached, seed by seed, read from its folder; no model is imported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from clifftop.codec import CodecError
from clifftop.lab.arms import arm_of
from clifftop.lab.spec import RunSpec, Scalar
from clifftop.lab.store import Store
from clifftop.lab.sweep import Point, Sweep, sweep_from_json
from clifftop.lab.sweep.train import SWEEP_ARTIFACT
from clifftop.sampling import Poisson
from clifftop.vocabulary import Arm

SIZES = ("expected_batch_size", "epochs", "steps")
"""Settings that belong to the size of a data set."""
LEVELS = ("target_epsilon", "noise_multiplier")
"""Settings that say how private a run is; a sweep has one of the two."""


class TransferError(ValueError):
    """A setting that cannot be carried from one sweep to another."""


@final
@dataclass(frozen=True, kw_only=True)
class Reached:
    """One setting and what it reached.

    Attributes:
        point: a value for each axis but seeds.
        scores: the goal's metric at the last evaluation, a number a seed; NaN for a run that diverged.
        steps: of each run.
        noise_multiplier: of each run.
    """

    point: Point
    scores: tuple[float, ...]
    steps: int
    noise_multiplier: float

    @property
    def mean(self) -> float:
        """Over seeds; NaN if a run diverged."""
        return math.fsum(self.scores) / len(self.scores)

    def standard_error_of_difference(self, other: Reached) -> float:
        """Of the two means, seed by seed: runs of one seed share draws. NaN with one seed."""
        if len(self.scores) != len(other.scores) or len(self.scores) < 2:
            return math.nan
        differences = [one - two for one, two in zip(self.scores, other.scores, strict=True)]
        return statistics.stdev(differences) / math.sqrt(len(differences))


@final
@dataclass(frozen=True, kw_only=True)
class Results:
    """A sweep that was trained.

    Attributes:
        sweep: what was asked.
        num_examples: N, the training rows of every run.
        reached: its finished settings, baselines left out.
    """

    sweep: Sweep
    num_examples: int
    reached: tuple[Reached, ...]

    @property
    def level_name(self) -> str:
        """Which of `LEVELS` the sweep has."""
        return level_name(self.sweep)

    def at_level(self, level: float) -> tuple[Reached, ...]:
        """The settings with one epsilon, or one noise multiplier.

        Errors: TransferError if none has finished.
        """
        name = self.level_name
        levels = {number(self.sweep.value(name, cell.point)) for cell in self.reached}
        found = tuple(
            cell
            for cell in self.reached
            if math.isclose(number(self.sweep.value(name, cell.point)), level, rel_tol=1e-9)
        )
        if not found:
            there = ", ".join(f"{known:g}" for known in sorted(levels)) or "none"
            raise TransferError(
                f"sweep {self.sweep.name!r} must have finished runs at {name}={level:g}, "
                f"found {name} {there}; train that level there, or ask for another"
            )
        return found

    def best(self, level: float) -> Reached:
        """The best setting at a level. Errors: TransferError if each of them diverged."""
        goal = self.sweep.goal
        whole = [cell for cell in self.at_level(level) if not math.isnan(cell.mean)]
        if not whole:
            raise TransferError(
                f"a setting of sweep {self.sweep.name!r} must have trained without diverging, found none at "
                f"{self.level_name}={level:g}; lower its learning rates"
            )
        return max(whole, key=lambda cell: goal.score(cell.mean))


def level_name(sweep: Sweep) -> str:
    """Which of `LEVELS` a sweep has."""
    return next(name for name in LEVELS if name in sweep.axes or getattr(sweep, name) is not None)


def number(value: Scalar) -> float:
    """A setting that can only be a number."""
    assert isinstance(value, int | float)
    return float(value)


def read_results(folder: Path | str) -> Results:
    """What the sweep of a folder reached.

    Errors: StoreError for a folder without a store; TransferError for a store without a sweep or finished
    runs, with runs on data of different sizes, or with another sampler than Poisson's.
    """
    with Store.read(folder) as store:
        content = store.artifact(SWEEP_ARTIFACT)
        specs = store.specs()
        settings = store.settings()
        goal_rows = store.query(
            # SQLite takes a bare column from the row that holds the maximum.
            "SELECT run.id, run.status, metric.name, metric.value, max(metric.step) FROM run "
            "LEFT JOIN metric ON metric.run = run.key WHERE run.status IN ('done', 'diverged') "
            "GROUP BY run.key, metric.name"
        )
    sweep = _sweep(folder, content)
    scores = {
        run_id: math.nan if status == "diverged" or value is None else float(value)
        for run_id, status, name, value, _ in goal_rows
        if name == sweep.goal.metric or status == "diverged"
    }
    cells: dict[tuple[str, ...], list[str]] = {}
    for run_id in scores:
        if run_id in settings and arm_of(specs[run_id]) is Arm.BOTH:
            point = _without_seed(settings[run_id].point)
            cells.setdefault(tuple(map(repr, sorted(point.items()))), []).append(run_id)
    if not cells:
        raise TransferError(f"{folder} must hold finished private runs, found none; train its sweep first")
    return Results(
        sweep=sweep,
        num_examples=_num_examples(folder, [specs[ids[0]] for ids in cells.values()]),
        reached=tuple(
            Reached(
                point=_without_seed(settings[ids[0]].point),
                scores=tuple(scores[run_id] for run_id in ids),
                steps=specs[ids[0]].steps,
                noise_multiplier=specs[ids[0]].noise_multiplier or 0.0,
            )
            for ids in cells.values()
        ),
    )


def _sweep(folder: Path | str, content: bytes | None) -> Sweep:
    if content is None:
        raise TransferError(f"{folder} must hold a sweep, found a study; train one with clifftop sweep")
    try:
        return sweep_from_json(content.decode("ascii"))
    except (CodecError, UnicodeDecodeError) as error:
        raise TransferError(
            f"{folder} must hold a sweep of this version, found {error}; train it again"
        ) from error


def _num_examples(folder: Path | str, specs: list[RunSpec]) -> int:
    """N, from what the plans say of it: a store does not hold the data."""
    found: set[int] = set()
    for spec in specs:
        sampler, size = spec.plan.sampler, spec.plan.expected_batch_size
        if not isinstance(sampler, Poisson) or size is None:
            raise TransferError(
                f"{folder} must hold runs with Poisson sampling, found {type(sampler).__name__}; "
                "a fixed order's cost does not scale with the data"
            )
        found.add(round(size / sampler.sampling_prob))
    if len(found) != 1:
        raise TransferError(
            f"{folder} must hold runs on data of one size, found {sorted(found)}; transfer from one of them"
        )
    return found.pop()


def _without_seed(point: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {name: value for name, value in point.items() if name != "seed"}
