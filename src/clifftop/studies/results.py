"""A finished sweep as the ``results.json`` of its folder."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch

import clifftop
from clifftop import accounting
from clifftop.analysis.evidence.build import arms
from clifftop.analysis.results import SCHEMA
from clifftop.clipping import Flat
from clifftop.lab import RunSetting, RunSpec
from clifftop.lab.facts import Facts
from clifftop.plan import PrivacyPlan
from clifftop.studies.base import Grid, Study

DIAGNOSTICS = ("fraction_clipped", "norm_q10", "norm_median", "norm_q90", "clipping_bias", "noise_norm")


def results_document(
    study: Study,
    grid: Grid,
    runs: pl.DataFrame,
    *,
    facts: Facts,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything a reader of the folder needs, as plain values.

    Args:
        study: what was asked.
        grid: the axes of the sweep.
        runs: one row a run of the grid, from `clifftop.lab.tables.runs`.
        facts: rows and parameters.
        seconds: ``runtime`` and ``training``.
    """

    @cache
    def interval(sigma: float) -> dict[str, float]:
        return _interval(study.epsilon(study.plan(sigma, 1.0)))

    rows = runs.with_columns(arm=arms(runs)).to_dicts()
    baselines = [_common(row) for row in rows if row["arm"] == "neither"]
    private = [_private(study, row, interval) for row in rows if _in_grid(row, grid)]
    return {
        "schema": SCHEMA,
        "config": _config(study, grid, facts),
        "metadata": _metadata(seconds),
        "baseline_runs": baselines,
        "dp_runs": private,
        "epsilons": [epsilon_row(study, sigma) for sigma in grid.noise_multipliers],
    }


def run_settings(study: Study, grid: Grid, specs: Iterable[RunSpec]) -> Iterator[RunSetting]:
    """What the store keeps of each private run beside its spec: its point of the grid and its epsilon."""

    @cache
    def bound(sigma: float) -> accounting.Bound:
        return study.epsilon(study.plan(sigma, 1.0))

    for spec in specs:
        sigma, clip_norm = spec.noise_multiplier, spec.clip_norm
        if not isinstance(spec.plan.clipping, Flat) or sigma not in grid.noise_multipliers:
            continue
        assert sigma is not None
        if clip_norm is None or math.isinf(clip_norm):
            continue
        point = {"noise_multiplier": sigma, "clip_norm": clip_norm, "lr": spec.optimizer.lr}
        yield RunSetting(
            run_id=spec.id,
            point=point | {"seed": spec.seed},
            delta=study.delta,
            epsilon_lower=bound(sigma).lower,
            epsilon_upper=bound(sigma).upper,
            neighboring_relation=spec.plan.neighboring_relation.value,
        )


def _in_grid(row: Mapping[str, Any], grid: Grid) -> bool:
    """Whether a run is a cell of the grid: with noise multiplier 0, a clipped run without noise may be."""
    return row["arm"] == "both" or (row["arm"] == "clipping" and 0.0 in grid.noise_multipliers)


def _config(study: Study, grid: Grid, facts: Facts) -> dict[str, Any]:
    plan = study.template.plan
    realised = plan.expected_batch_size is None
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        **asdict(grid),
        "epochs": study.epochs,
        "steps": study.template.steps,
        "batch_size": study.batch_size,
        "num_train": study.num_examples,
        "num_test": facts.num_test,
        "num_parameters": facts.num_parameters,
        "sampling": study.sampling,
        "neighboring_relation": plan.neighboring_relation.value,
        "delta": study.delta,
        "normalizer": "realised batch size" if realised else "expected batch size",
        "caveats": list(study.caveats),
    }


def _metadata(seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "runtime_seconds": round(seconds["runtime"], 3),
        "training_seconds": round(seconds["training"], 3),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "clifftop": clifftop.__version__,
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count() or 0,
            "threads": torch.get_num_threads(),
        },
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "device": "cpu",
            "draws": "every random draw comes from a stream named by the run's seed",
        },
    }


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    diverged = row["status"] == "diverged"
    return {
        "id": row["id"],
        "lr": row["lr"],
        "seed": row["seed"],
        "steps": row["steps"],
        "accuracy": row["accuracy"],
        "loss": None if diverged else row["loss"],
        "status": row["status"],
    }


def _private(
    study: Study, row: Mapping[str, Any], interval: Callable[[float], dict[str, float]]
) -> dict[str, Any]:
    sigma = row["noise_multiplier"]
    return _common(row) | {
        "noise_multiplier": sigma,
        "clip_norm": row["clip_norm"],
        "delta": study.delta,
        "sampling": study.sampling,
        "epsilon_published": study.published_epsilon(sigma) if study.published_epsilon else None,
        "epsilon": interval(sigma),
        "diagnostics": {name: row[f"mean_{name}"] for name in DIAGNOSTICS},
    }


def epsilon_row(study: Study, sigma: float) -> dict[str, Any]:
    """One line of the table that sets claimed and true epsilons side by side."""
    own = _interval(study.epsilon(study.plan(sigma, 1.0)))
    fixed, poisson = (own, None) if study.sampling == "fixed order" else (None, own)
    if study.poisson_counterpart is not None:
        poisson = _interval(study.epsilon(_with_noise(study, study.poisson_counterpart, sigma)))
    return {
        "noise_multiplier": sigma,
        "published": study.published_epsilon(sigma) if study.published_epsilon else None,
        "fixed_order": fixed,
        "poisson": poisson,
    }


def _with_noise(study: Study, plan: PrivacyPlan, sigma: float) -> PrivacyPlan:
    return replace(plan, noise=study.plan(sigma, 1.0).noise)


def _interval(bound: accounting.Bound) -> dict[str, float]:
    return {"lower": bound.lower, "estimate": bound.estimate, "upper": bound.upper}
