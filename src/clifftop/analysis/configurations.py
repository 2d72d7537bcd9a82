"""Configurations (noise multiplier, clip norm, learning rate): every run of them, averaged over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from clifftop.analysis.results import Epsilon
from clifftop.analysis.uncertainty import Estimate, estimate

BySeed = Mapping[int, float]
"""Seed to accuracy, a fraction."""

_GROUP = ("noise_multiplier", "clip_norm", "lr")
_EPSILONS = ("epsilon_published", "epsilon_lower", "epsilon_estimate", "epsilon_upper")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One configuration over its seeds.

    Attributes:
        noise_multiplier: sigma.
        clip_norm: C.
        lr: the learning rate.
        accuracy: test accuracy, a fraction.
        epsilon_published: the published formula's epsilon, None where it has none.
        epsilon: the true epsilon of what the code did.
        accuracy_lost: accuracy without privacy minus accuracy, paired by seed, both at this
            configuration's learning rate; None when no seed has both.
        accuracy_lost_best_baseline: the same against the baseline at the reference learning rate,
            the one at which training without privacy does best.
        fraction_clipped: the mean share of per-example gradients that were clipped.
        diverged: how many of the runs diverged; they count with their accuracy as measured.
    """

    noise_multiplier: float
    clip_norm: float
    lr: float
    accuracy: Estimate
    epsilon_published: float | None
    epsilon: Epsilon
    accuracy_lost: Estimate | None
    accuracy_lost_best_baseline: Estimate | None
    fraction_clipped: float | None
    diverged: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A configuration beside the accuracies it was averaged from."""

    configuration: Configuration
    by_seed: BySeed


def baselines_by_lr(baselines: pl.DataFrame) -> dict[float, BySeed]:
    """Learning rate to the accuracies without privacy, by seed; in the order of the file."""
    found: dict[float, dict[int, float]] = {}
    for lr, seed, accuracy in baselines.select("lr", "seed", "accuracy").iter_rows():
        found.setdefault(lr, {})[seed] = accuracy
    return dict(found)


def cells(runs: pl.DataFrame, baselines: Mapping[float, BySeed], *, reference_lr: float) -> tuple[Cell, ...]:
    """Every configuration among ``runs``, sorted by noise multiplier, clip norm, learning rate."""
    grouped = (
        runs.group_by(_GROUP)
        .agg(
            "seed",
            "accuracy",
            pl.col(_EPSILONS).first(),
            pl.col("fraction_clipped").mean(),
            (pl.col("status") == "diverged").sum().alias("diverged"),
        )
        .sort(_GROUP)
    )
    return tuple(_cell(row, baselines, reference_lr) for row in grouped.iter_rows(named=True))


def paired(baseline: BySeed, by_seed: BySeed) -> Estimate | None:
    """The mean of ``baseline - by_seed`` over the seeds that both have; None when there are none."""
    shared = [seed for seed in by_seed if seed in baseline]
    return estimate([baseline[seed] - by_seed[seed] for seed in shared]) if shared else None


def distinct(values: Sequence[float]) -> tuple[float, ...]:
    """The distinct values, rising."""
    return tuple(sorted(set(values)))


def _cell(row: Mapping[str, object], baselines: Mapping[float, BySeed], reference_lr: float) -> Cell:
    seeds, accuracies = _as_list(row["seed"]), _as_list(row["accuracy"])
    by_seed = {int(seed): accuracy for seed, accuracy in zip(seeds, accuracies, strict=True)}
    lr = _as_float(row["lr"])
    configuration = Configuration(
        noise_multiplier=_as_float(row["noise_multiplier"]),
        clip_norm=_as_float(row["clip_norm"]),
        lr=lr,
        accuracy=estimate(accuracies),
        epsilon_published=_optional(row["epsilon_published"]),
        epsilon=Epsilon(
            lower=_as_float(row["epsilon_lower"]),
            estimate=_as_float(row["epsilon_estimate"]),
            upper=_as_float(row["epsilon_upper"]),
        ),
        accuracy_lost=paired(baselines.get(lr, {}), by_seed),
        accuracy_lost_best_baseline=paired(baselines[reference_lr], by_seed),
        fraction_clipped=_optional(row["fraction_clipped"]),
        diverged=int(_as_float(row["diverged"])),
    )
    return Cell(configuration=configuration, by_seed=by_seed)


def _as_list(value: object) -> list[float]:
    assert isinstance(value, list)
    return value


def _as_float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _optional(value: object) -> float | None:
    return None if value is None else _as_float(value)
