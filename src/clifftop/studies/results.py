"""A finished sweep as the ``results.json`` of its folder."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import torch

import clifftop
from clifftop import accounting
from clifftop.analysis.results import SCHEMA
from clifftop.plan import PrivacyPlan
from clifftop.studies.base import Grid, Study

DIAGNOSTICS = ("fraction_clipped", "norm_q10", "norm_median", "norm_q90", "clipping_bias", "noise_norm")


def results_document(
    study: Study,
    grid: Grid,
    runs: pl.DataFrame,
    *,
    num_test: int,
    num_parameters: int,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Everything a reader of the folder needs, as plain values.

    Args:
        study: what was asked.
        grid: the axes of the sweep.
        runs: one row a run of the grid, from `clifftop.lab.tables.runs`.
        num_test: test rows a seed.
        num_parameters: trainable parameters of the model.
        seconds: ``runtime`` and ``training``.
    """

    @cache
    def interval(sigma: float) -> dict[str, float]:
        return _interval(study.epsilon(study.plan(sigma, 1.0)))

    rows = runs.to_dicts()
    # A baseline is not clipped; a run with noise multiplier 0 that is, is a cell of the grid.
    baselines = [_common(row) for row in rows if math.isinf(row["clip_norm"])]
    private = [_private(study, row, interval) for row in rows if math.isfinite(row["clip_norm"])]
    return {
        "schema": SCHEMA,
        "config": _config(study, grid, num_test, num_parameters),
        "metadata": _metadata(seconds),
        "baseline_runs": baselines,
        "dp_runs": private,
        "epsilons": [epsilon_row(study, sigma) for sigma in grid.noise_multipliers],
    }


def _config(study: Study, grid: Grid, num_test: int, num_parameters: int) -> dict[str, Any]:
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
        "num_test": num_test,
        "num_parameters": num_parameters,
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
