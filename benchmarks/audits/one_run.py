"""What one run shows: coverage of its estimators, what they can show at best, and real trainings.

Coverage: how often each estimator says more than the truth at nominal 5%, on mechanisms whose curve is known:
Gaussian, Laplace, randomised response, and the sampled Gaussian mechanism of a training of 160 steps. Beside
it the same with the best of 15 numbers of guesses, chosen by the result, which is what must not be done. The
Laplace mechanism is there twice: in plain floating point, where the last bits of what is released tell the
coin (Mironov 2012) and the audit sees it, and with scores rounded to nine digits.

Trainings: 160 steps, sampling probability 0.128, noise for epsilon 1, 4 and 10 at delta 1e-5, each repeated.
Dirac and input canaries in a network on Gaussian clusters; input canaries and mislabelled records in one on
a part of Fashion-MNIST. One thread.
"""

from __future__ import annotations

import argparse
import bisect
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, cross_entropy
from clifftop.audit.estimators import one_run
from clifftop.audit.estimators.curves import approximate_dp_curve, gaussian_curve
from clifftop.audit.estimators.mean_difference import epsilon_from_means
from clifftop.audit.estimators.one_run import OneRunSpec
from clifftop.audit.estimators.one_run_family import gaussian_lower
from clifftop.audit.estimators.one_run_power import CURVE_AUDITS, MEANS, canaries_needed, expected_bounds
from clifftop.audit.estimators.values import TradeOffCurve
from clifftop.audit.one_run import (
    DiracCanaries,
    InputCanaries,
    MislabelledRecords,
    OneRunAudit,
    OneRunTraining,
    mislabelled,
)
from clifftop.audit.runs import TrainingClaim, log_likelihood_ratios, ours
from clifftop.audit.runs.certified import certified_curve
from clifftop.datasets import fashion_mnist, gaussian_clusters

DELTA, CONFIDENCE, LEVEL = 1e-5, 0.95, 0.05
SAMPLING_PROB, STEPS = 0.128, 160
NOISE = {1: 6.195, 4: 1.974, 10: 1.085}
"""Noise multiplier by the epsilon that it makes of 160 steps at that sampling probability."""
CANARIES = 1000
SHARES = tuple(2 * k / CANARIES for k in range(30, 451, 30))
"""Of canaries guessed, among which the best is picked in sample: 15."""
RARE = (0.01, 0.02, 0.05, 0.1)
SEED = 11

Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions, no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    figures: dict[str, Any] = {
        "delta": DELTA,
        "confidence": CONFIDENCE,
        "coverage": coverage(200 if options.quick else 4000, 20 if options.quick else 600),
        "at_best": at_best(),
        "trainings": trainings(1 if options.quick else 6),
    }
    figures["cpu_seconds"] = round(time.process_time() - started, 1)
    if options.quick:
        print(figures)
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from common import record

    record("audit_one_run", figures)


def laplace_curve(epsilon: float) -> TradeOffCurve:
    """The trade-off curve of the Laplace mechanism of pure ``epsilon``."""
    shrink = math.exp(-epsilon)

    def misses(alpha: float) -> float:
        if alpha < 0.5 * shrink:
            return 1.0 - alpha / shrink
        return 0.25 * shrink / alpha if alpha < 0.5 else shrink * (1.0 - alpha)

    return misses


def known() -> dict[str, tuple[Draw, TradeOffCurve, float, float]]:
    """By name: scores for coins, the mechanism's own curve, and its epsilon at a delta."""

    def gaussian(rng: np.random.Generator, coins: np.ndarray) -> np.ndarray:
        return rng.normal(size=coins.size) + coins

    def laplace(rng: np.random.Generator, coins: np.ndarray) -> np.ndarray:
        released = rng.laplace(size=coins.size) + coins
        return np.abs(released) - np.abs(released - 1.0)

    def rounded(rng: np.random.Generator, coins: np.ndarray) -> np.ndarray:
        return np.round(laplace(rng, coins), 9)

    def response(rng: np.random.Generator, coins: np.ndarray) -> np.ndarray:
        kept = rng.random(coins.size) < 1.0 / (1.0 + math.exp(-1.0))
        return np.where(coins == kept, 1.0, -1.0)

    return {
        "Gaussian, mu 1": (gaussian, gaussian_curve(1.0), gaussian_lower(1.0, DELTA), DELTA),
        "Laplace, epsilon 1": (rounded, laplace_curve(1.0), 1.0, 0.0),
        "Laplace, epsilon 1, last bits seen": (laplace, laplace_curve(1.0), 1.0, 0.0),
        "randomised response, epsilon 1": (response, approximate_dp_curve(1.0, 0.0), 1.0, 0.0),
    }


def sampled() -> dict[str, tuple[Draw, TradeOffCurve, float, float]]:
    """The same for log-likelihood ratios of a sampled Gaussian mechanism, composed over the steps."""
    found: dict[str, tuple[Draw, TradeOffCurve, float, float]] = {}
    for epsilon, noise in NOISE.items():
        claim = claim_of(noise)

        def draw(rng: np.random.Generator, coins: np.ndarray, claim: TrainingClaim = claim) -> np.ndarray:
            releases = rng.standard_normal((STEPS, coins.size), dtype=np.float32)
            releases *= np.float32(claim.noise_multiplier)
            releases += (rng.random(releases.shape, dtype=np.float32) < SAMPLING_PROB) & coins
            return log_likelihood_ratios(releases[None], claim)[0]

        found[f"sampled Gaussian, epsilon {epsilon}"] = (
            draw,
            certified_curve(claim),
            claim.epsilon.upper,
            DELTA,
        )
    return found


def coverage(repetitions: int, of_sampled: int) -> dict[str, Any]:
    """The share of repetitions in which the truth is refuted at level 0.05."""
    table: dict[str, Any] = {"canaries": CANARIES, "level": LEVEL}
    for name, (draw, curve, epsilon, delta) in (known() | sampled()).items():
        runs = of_sampled if name.startswith("sampled") else repetitions
        specs = [spec_of(share) for share in (*RARE, *SHARES)]
        first = len(RARE)
        refuting = {
            estimator: np.array([fewest(refutes, spec) for spec in specs])
            for estimator, refutes in tests(curve, epsilon, delta).items()
        }
        rng, alarms = (
            np.random.default_rng(SEED),
            {key: np.zeros((runs, len(specs)), bool) for key in refuting},
        )
        means = 0
        for run in range(runs):
            coins = specs[0].coins(rng)
            scores = draw(rng, coins)
            rights = np.array([spec.correct(scores, coins) for spec in specs])
            for estimator, least in refuting.items():
                alarms[estimator][run] = rights >= least
            shown = epsilon_from_means(scores, coins, delta=DELTA, confidence=CONFIDENCE).epsilon
            means += shown > (epsilon if delta else math.inf)
        table[name] = {"repetitions": runs} | {
            estimator: {
                "worst number of guesses": round(float(found.mean(axis=0).max()), 4),
                "best of 15 by the result": round(float(found[:, first:].any(axis=1).mean()), 4),
            }
            for estimator, found in alarms.items()
        }
        if delta:
            table[name][MEANS] = {"too large": round(means / runs, 4)}
    return table


def tests(curve: TradeOffCurve, epsilon: float, delta: float) -> dict[str, Callable[[OneRunSpec, int], bool]]:
    """Whether each estimator refutes the truth with so many right guesses."""

    def steinke(spec: OneRunSpec, correct: int) -> bool:
        return one_run.p_value(spec, correct, epsilon=epsilon, delta=delta) <= LEVEL

    found: dict[str, Callable[[OneRunSpec, int], bool]] = {"Steinke": steinke}
    for name, audit in CURVE_AUDITS.items():
        found[name] = lambda spec, correct, audit=audit: audit.refutes(curve, spec, correct, tail=LEVEL)
    return found


def fewest(refutes: Callable[[OneRunSpec, int], bool], spec: OneRunSpec) -> int:
    """The fewest right guesses that refute; one more than there are if none do."""
    return bisect.bisect_left(range(spec.num_guesses + 1), True, key=lambda correct: refutes(spec, correct))


def spec_of(share: float) -> OneRunSpec:
    """As many guesses on each side, this share of the canaries in all."""
    each = round(0.5 * share * CANARIES)
    return OneRunSpec(num_canaries=CANARIES, guesses_in=each, guesses_out=each)


def at_best() -> dict[str, Any]:
    """On a Gaussian mechanism with the best attack: bounds, ceilings, canaries to see an error."""
    table: dict[str, Any] = {"bounds": {}, "canaries_needed": {}}
    for canaries in (1000, 5000):
        for epsilon in NOISE:
            expected = expected_bounds(
                float(epsilon), num_canaries=canaries, delta=DELTA, confidence=CONFIDENCE
            )
            table["bounds"][f"epsilon {epsilon}, {canaries} canaries"] = {
                one.name: {
                    "share": round(one.epsilon / epsilon, 3),
                    "guesses": None if one.spec is None else one.spec.num_guesses,
                    "ceiling": None if math.isinf(one.ceiling) else round(one.ceiling, 2),
                }
                for one in expected
            }
    options = {"delta": DELTA, "confidence": CONFIDENCE}
    for epsilon in NOISE:
        table["canaries_needed"][f"epsilon {epsilon}"] = {
            name: {
                f"{factor:g} times too little noise": canaries_needed(
                    factor, audit=audit, epsilon=float(epsilon), **options
                )
                for factor in (2.0, 1.2, 1.05)
            }
            for name, audit in (*CURVE_AUDITS.items(), (MEANS, None))
        }
    return table


def trainings(repetitions: int) -> dict[str, Any]:
    """Shares of the truth that one real run shows; what is below the detection limit counts as 0."""
    table: dict[str, Any] = {"repetitions": repetitions}
    for name, make in settings().items():
        for epsilon, noise in NOISE.items():
            training = make(noise)
            planned_for = epsilon / 8.0 if "mislabelled" in name else None
            reports = [
                OneRunAudit.planned(training, planned_for=planned_for, coins_seed=seed).run(seed=seed)
                for seed in range(repetitions)
            ]
            truth = training.claim.epsilon.lower
            table[f"{name}, epsilon {epsilon}"] = {
                "cpu_seconds_a_run": round(float(np.mean([report.seconds for report in reports])), 2),
                "refuted": sum(not report.ok for report in reports),
                "shares": {
                    row.name: {
                        "heuristic": row.heuristic,
                        "mean": round(float(np.mean([r.share(row.name) for r in reports])), 3),
                        "detected": sum(r.bound(row.name).bound.detected for r in reports),
                        "above the truth": sum(r.bound(row.name).bound.epsilon > truth for r in reports),
                    }
                    for row in reports[0].bounds
                },
            }
    return table


def settings() -> dict[str, Callable[[float], OneRunTraining]]:
    """Trainings by name, for a noise multiplier."""
    clusters, clothes = gaussian_clusters(42), fashion_mnist(num_train=1500, num_test=1)
    x, y = torch.from_numpy(clusters.train_inputs), torch.from_numpy(clusters.train_targets)
    images = torch.from_numpy(clothes.train_inputs).flatten(start_dim=1)
    labels = torch.from_numpy(clothes.train_targets)

    def dirac(canaries: int) -> Callable[[float], OneRunTraining]:
        return lambda noise: DiracCanaries(
            training=ours(
                plan_of(noise, len(x)), network(10, 5), cross_entropy, (x,), (y,),
                num_canaries=canaries, steps=STEPS, delta=DELTA,
            )
        )  # fmt: skip

    def rows(inputs: torch.Tensor, targets: torch.Tensor, classes: int) -> Callable[[float], OneRunTraining]:
        return lambda noise: InputCanaries(
            plan=plan_of(noise, len(inputs) + 250), module=network(inputs.shape[1], classes), layer="0",
            criterion=cross_entropy, inputs=inputs, targets=targets, num_canaries=500, steps=STEPS,
            delta=DELTA,
        )  # fmt: skip

    def black_box(noise: float) -> OneRunTraining:
        return MislabelledRecords(
            plan=plan_of(noise, 1250), module=network(784, 10), criterion=cross_entropy,
            inputs=images[:1000], targets=labels[:1000], canary_inputs=images[1000:],
            canary_targets=mislabelled(labels[1000:], num_classes=10, seed=0), steps=STEPS, delta=DELTA,
            lr=0.5,
        )  # fmt: skip

    return {
        "1000 Dirac canaries, clusters": dirac(1000),
        "5000 Dirac canaries, clusters": dirac(5000),
        "500 input canaries, clusters": rows(x, y, 5),
        "500 input canaries, Fashion-MNIST": rows(images[:1000], labels[:1000], 10),
        "500 mislabelled records, black box, Fashion-MNIST": black_box,
    }


def network(features: int, classes: int) -> nn.Module:
    """One hidden layer of 64."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


def plan_of(noise: float, num_examples: int) -> PrivacyPlan:
    """Poisson sampling, clipping at 1."""
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=SAMPLING_PROB),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=noise),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=SAMPLING_PROB * num_examples,
    )


def claim_of(noise: float) -> TrainingClaim:
    """What such a training is accounted as."""
    return TrainingClaim(sampling_prob=SAMPLING_PROB, noise_multiplier=noise, steps=STEPS, delta=DELTA)


if __name__ == "__main__":
    main()
