"""Realistic ``results.json`` documents for the tests of analysis and report.

`published_document` holds the 66 published accuracies (``no_cliff_published.json``) with the true
epsilons of the study's three-epsilon table. `synthetic_document` draws accuracies from a rough model
of the same study over any learning rates and seeds: a clipped step is lr x C long, so too small a
product trains too little, and the noise that enters is sigma x lr x C.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIGMAS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
CLIP_NORMS = (0.1, 1.0, 10.0)
PUBLISHED_SEEDS = (42, 123, 456)
FIXED_ORDER = (101906.3, 1189.78, 77.330, 28.3735, 11.4800, 3.84861, 1.76006)
POISSON = (214072.0, 2070.2, 56.9287, 13.7248, 4.6942, 1.51847, 0.69400)
PUBLISHED = (
    22446.05170185988,
    23.025850929940457,
    15.046314355155534,
    4.797420839806621,
    1.3293239627503408,
    1.0638677457615782,
    0.8722798434676159,
)
CAVEATS = (
    "The normalisation statistics are computed from the private rows and are not accounted for.",
    "The noisy sum is divided by the realised batch size, which no guarantee under Poisson sampling covers.",
    "Hyper-parameters were tuned on the same data, and the tuning is not accounted for.",
    "The seeds are recorded, so the noise is reproducible: publish the figures, never the model.",
)


def published_document() -> dict[str, Any]:
    """The published study: 3 baselines, 63 private runs, fixed order."""
    oracle = json.loads(Path(__file__).with_name("no_cliff_published.json").read_text())
    accuracies = {(r["noise_multiplier"], r["clip_norm"], r["seed"]): r["accuracy"] for r in oracle["runs"]}
    baselines = dict(oracle["baseline"])
    return _document(
        lrs=(0.1,),
        seeds=PUBLISHED_SEEDS,
        accuracy=lambda sigma, clip_norm, lr, seed: accuracies[sigma, clip_norm, seed],
        baseline=lambda lr, seed: baselines[seed],
    )


def synthetic_document(
    *,
    lrs: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    seeds: Sequence[int] = (1, 2, 3),
    sampling: str = "fixed order",
) -> dict[str, Any]:
    """A made-up study of the same shape over ``lrs`` and ``seeds``."""

    def accuracy(sigma: float, clip_norm: float, lr: float, seed: int) -> float:
        step, noise = lr * min(clip_norm, 1.0), sigma * lr * clip_norm
        slow = 0.19 * max(0.0, min(1.0, 1 - math.log10(step / 0.01)))
        noisy = 0.42 * noise**2 / (noise**2 + 25)
        rng = np.random.default_rng([seed, round(1000 * sigma), round(1000 * clip_norm), round(1000 * lr)])
        loss = 0.008 + slow + noisy
        return _count(1 - loss + rng.normal() * 0.2 * loss)

    def baseline(lr: float, seed: int) -> float:
        return 0.22 if lr >= 10 else _count(0.993 + np.random.default_rng(seed).normal() * 0.006)

    return _document(lrs=lrs, seeds=seeds, accuracy=accuracy, baseline=baseline, sampling=sampling)


def true_epsilon(sigma: float, sampling: str) -> dict[str, float]:
    """The true epsilon of the study's schedule, as the accountants would give it."""
    if sampling == "fixed order":
        return dict.fromkeys(("lower", "estimate", "upper"), FIXED_ORDER[SIGMAS.index(sigma)])
    estimate = POISSON[SIGMAS.index(sigma)]
    return {"lower": estimate * 0.999, "estimate": estimate, "upper": estimate * 1.001}


def _count(accuracy: float) -> float:
    return min(100, max(0, round(100 * accuracy))) / 100


def _document(
    *, lrs: Sequence[float], seeds: Sequence[int], accuracy: Any, baseline: Any, sampling: str = "fixed order"
) -> dict[str, Any]:
    published = dict(zip(SIGMAS, PUBLISHED, strict=True)) if sampling == "fixed order" else {}
    return {
        "schema": 1,
        "config": _config(lrs, seeds, sampling),
        "metadata": copy.deepcopy(METADATA),
        "baseline_runs": [
            _run(f"base-{lr}-{seed}", lr, seed, baseline(lr, seed), diverged=lr >= 10)
            for lr in lrs
            for seed in seeds
        ],
        "dp_runs": [
            _run(f"dp-{sigma}-{clip_norm}-{lr}-{seed}", lr, seed, accuracy(sigma, clip_norm, lr, seed))
            | {
                "noise_multiplier": sigma,
                "clip_norm": clip_norm,
                "delta": 1e-5,
                "sampling": sampling,
                "epsilon_published": published.get(sigma),
                "epsilon": true_epsilon(sigma, sampling),
                "diagnostics": _diagnostics(sigma, clip_norm),
            }
            for sigma in SIGMAS
            for clip_norm in CLIP_NORMS
            for lr in lrs
            for seed in seeds
        ],
        "epsilons": [
            {
                "noise_multiplier": sigma,
                "published": PUBLISHED[index],
                "fixed_order": true_epsilon(sigma, "fixed order"),
                "poisson": true_epsilon(sigma, "poisson"),
            }
            for index, sigma in enumerate(SIGMAS)
        ],
    }


def _config(lrs: Sequence[float], seeds: Sequence[int], sampling: str) -> dict[str, Any]:
    return {
        "study": "no-cliff",
        "title": "No collapse-level privacy cliff",
        "question": "Is utility under DP-SGD lost to the noise, to the clipping, or to their interaction?",
        "noise_multipliers": list(SIGMAS),
        "clip_norms": list(CLIP_NORMS),
        "lrs": list(lrs),
        "seeds": list(seeds),
        "epochs": 20,
        "steps": 140,
        "batch_size": 64,
        "num_train": 400,
        "num_test": 100,
        "num_parameters": 1029,
        "sampling": sampling,
        "neighboring_relation": "zero_out" if sampling == "fixed order" else "add_or_remove_one",
        "delta": 1e-5,
        "normalizer": "realised batch size" if sampling == "fixed order" else "expected batch size",
        "caveats": list(CAVEATS),
    }


METADATA: dict[str, Any] = {
    "created": "2026-03-14T09:26:53+00:00",
    "runtime_seconds": 2.9,
    "training_seconds": 0.41,
    "python": "3.11.9",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "clifftop": "0.1.0",
    "machine": {"system": "Linux", "processor": "x86_64", "cpus": 2},
    "determinism": {"deterministic_algorithms": True, "threads": 1},
}


def _run(name: str, lr: float, seed: int, accuracy: float, *, diverged: bool = False) -> dict[str, Any]:
    return {
        "id": name,
        "lr": lr,
        "seed": seed,
        "steps": 140,
        "accuracy": accuracy,
        "loss": None if diverged else 1.2 * (1 - accuracy) + 0.05,
        "status": "diverged" if diverged else "done",
    }


def _diagnostics(sigma: float, clip_norm: float) -> dict[str, float]:
    return {
        "fraction_clipped": min(1.0, 0.6 / clip_norm**0.5),
        "norm_q10": 0.05,
        "norm_median": 0.6,
        "norm_q90": 2.4,
        "clipping_bias": max(0.0, 0.8 - 0.2 * clip_norm),
        "noise_norm": sigma * clip_norm * 32.1 / 64,
    }
