"""Membership attacks on the two studies that measured them, and on Fashion-MNIST with and without privacy.

Each setting is trained on many random halves of one pool (`clifftop.lab.shadows`), and every model is
attacked with all others as shadows. Beside it, for the first study, its own attack written anew: a small
network that learns from three shadow models, whose class centres are *other* centres, to tell softmax outputs
of members from others. Published numbers are the studies'. Run as ``python benchmarks/audits/membership.py``;
some CPU minutes on one thread (``--quick``: less than one, to try it).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from common import record
from scipy import stats
from torch import nn

from clifftop import Flat, Gaussian, Keyed, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.accounting import calibrate_noise_multiplier, epsilon
from clifftop.audit.attacks import ALL, AttackReport, Observations, attack_models, permitted_by_event
from clifftop.events import Gaussian as GaussianEvent
from clifftop.events import PoissonSampled, SelfComposed
from clifftop.lab import Factory, OptimizerSpec, RunSpec
from clifftop.lab.shadows import Shadows, train_shadows

RECORD = Path(__file__).parents[1] / "records" / "audit_membership.json"
DELTA = 1e-5
RATE = 0.128
RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE
SEEDS = (42, 123, 456)
FIRST_STUDY = {"spread": 2.0, "scale": 2.5}
SECOND_STUDY = {"spread": 1.0, "scale": 1.5}
LEVELS = (
    ("no privacy", 0.0, math.inf, None, 0.664),
    ("clipping alone", 0.0, 1.0, None, None),
    ("sigma 0.5", 0.5, 1.0, 53.5, 0.532),
    ("sigma 2", 2.0, 1.0, 9.4, 0.541),
    ("sigma 5", 5.0, 1.0, 3.4, 0.518),
)
WIDTHS = ((16, 0.516), (32, 0.529), (64, 0.541), (128, 0.527), (256, 0.544))
SHADOWS_OF_THE_STUDY = 3
CLOTHES = (
    ("no privacy", None, math.inf, 0.1),
    ("clipping alone", None, 1.0, 0.5),
    ("epsilon 8", 8.0, 1.0, 0.5),
    ("epsilon 1", 1.0, 1.0, 0.5),
)


def spec_of(
    data: Factory,
    model: Factory,
    *,
    sigma: float,
    clip: float,
    steps: int,
    lr: float,
    batch: float,
    seed: int,
) -> RunSpec:
    """A run whose clipping and noise may be off."""
    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=RATE),
        clipping=Flat(clip_norm=clip),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=RELATION,
        expected_batch_size=batch,
    )
    return RunSpec(
        model=model,
        data=data,
        plan=plan,
        optimizer=OptimizerSpec(lr=lr),
        steps=steps,
        evaluate_every=steps,
        seed=seed,
        streams=Keyed(),
    )


def blobs(options: dict[str, float]) -> Factory:
    """The data of a study."""
    return Factory(target="membership_worlds:blobs", options=options)


def event_of(sigma: float, steps: int) -> SelfComposed:
    """What a training is accounted as."""
    return SelfComposed(PoissonSampled(RATE, GaussianEvent(sigma)), steps)


def attacked(shadows: Shadows, *, sigma: float, steps: int) -> AttackReport:
    """All attacks, beside what the event permits."""
    if not sigma:
        return attack_models(shadows.observations, delta=DELTA)
    event = event_of(sigma, steps)
    claimed = epsilon(event, delta=DELTA, neighboring_relation=NeighboringRelation.REPLACE_ONE).upper
    return attack_models(shadows.observations, event=event, epsilon=claimed, delta=DELTA)


def row_of(report: AttackReport, shadows: Shadows) -> dict[str, Any]:
    """A setting's figures."""
    return {
        "models": report.models,
        "train_accuracy": round(float(shadows.train_accuracy.mean()), 4),
        "test_accuracy": round(float(shadows.test_accuracy.mean()), 4),
        "epsilon_replace_one": report.epsilon,
        "above_permitted": {name: len(rates) for name, rates in report.exceeding},
        "bound": str(report.bound),
        "epsilon_shown": report.bound.epsilon,
        "claimed_curve": None if report.claimed_curve is None else str(report.claimed_curve),
        "attacks": {
            curve.name: {
                "auc": interval(curve.auc),
                "tpr_at_0.1%": interval(curve.at[0]),
                "tpr_at_1%": interval(curve.at[1]),
                "advantage": interval(curve.advantage),
            }
            for curve in report.curves
        },
    }


def interval(rate: Any) -> list[float] | None:
    """Value, lower and upper limit; None where it cannot be resolved."""
    return [round(x, 4) for x in (rate.value, rate.lower, rate.upper)] if rate.resolved else None


# ---------------------------------------------------------------- the first study


def study_attack(targets: Shadows, shadows: list[Shadows], *, seed: int) -> list[float]:
    """The study's attack: a network on softmax outputs, learned from shadows; its AUC on each target."""
    torch.manual_seed(seed)
    inputs, labels = zip(*(softmax_and_member(one.observations, 0) for one in shadows), strict=True)
    x, y = torch.from_numpy(np.concatenate(inputs)).float(), torch.from_numpy(np.concatenate(labels)).float()
    attack = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(attack.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(attack(x)[:, 0], y).backward()
        optimizer.step()
    found = []
    for target in range(targets.observations.models):
        outputs, member = softmax_and_member(targets.observations, target)
        with torch.no_grad():
            scores = attack(torch.from_numpy(outputs).float())[:, 0].numpy()
        found.append(area(scores, member))
    return found


def softmax_and_member(seen: Observations, model: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sorted softmax outputs of a model on its pool, and whether each record is a member."""
    assert seen.probabilities is not None
    return -np.sort(-seen.probabilities[model], axis=1), seen.member[model]


def area(scores: np.ndarray[Any, Any], member: np.ndarray[Any, Any]) -> float:
    """AUC."""
    inside, outside = scores[member], scores[~member]
    return float(stats.mannwhitneyu(inside, outside).statistic) / (len(inside) * len(outside))


def first_study(models: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Does noise stop the attack? 250 members, an MLP of 128 units, 640 steps."""
    found: dict[str, Any] = {}
    for name, sigma, clip, claimed, published in LEVELS:
        rows, weak = [], []
        for seed in seeds:
            make = lambda one: spec_of(  # noqa: E731
                blobs(FIRST_STUDY),
                Factory(target="membership_worlds:mlp"),
                sigma=sigma,  # noqa: B023
                clip=clip,  # noqa: B023
                steps=640,
                lr=0.1,
                batch=32.0,
                seed=one,
            )
            shadows = train_shadows(make(seed), models=models, keep_probabilities=True)
            rows.append(row_of(attacked(shadows, sigma=sigma, steps=640), shadows))
            others = [
                train_shadows(make(seed + 1000 * (place + 1)), models=8, keep_probabilities=True)
                for place in range(SHADOWS_OF_THE_STUDY)
            ]
            weak += study_attack(shadows, others, seed=seed)
        bounds = None
        if sigma:
            bound = epsilon(event_of(sigma, 640), delta=DELTA, neighboring_relation=RELATION)
            bounds = [bound.lower, bound.upper]
        found[name] = {
            "epsilon_published": claimed,
            "epsilon_certified": bounds,
            "auc_published": published,
            "auc_of_the_studys_attack": [
                round(float(np.mean(weak)), 4),
                round(float(np.std(weak, ddof=1)), 4),
            ],
            "seeds": dict(zip(map(str, seeds), rows, strict=True)),
            "mean_over_seeds": means(rows),
        }
        print(name, found[name]["auc_of_the_studys_attack"], found[name]["mean_over_seeds"], flush=True)
    return found


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over data seeds of what attacks reach."""
    return {
        "test_accuracy": round(float(np.mean([row["test_accuracy"] for row in rows])), 4),
        **{
            attack.name: {
                key: round(float(np.mean([row["attacks"][attack.name][key][0] for row in rows])), 4)
                for key in ("auc", "tpr_at_0.1%", "tpr_at_1%")
            }
            for attack in ALL
        },
    }


# ---------------------------------------------------------------- the second study


def second_study(models: int, widths: tuple[tuple[int, float], ...]) -> dict[str, Any]:
    """Does the attack grow with the width or with the gap? No privacy anywhere."""
    found: dict[str, Any] = {}
    for width, published in widths:
        spec = spec_of(
            blobs(SECOND_STUDY),
            Factory(target="membership_worlds:mlp", options={"hidden": width}),
            sigma=0.0,
            clip=math.inf,
            steps=390,
            lr=0.1,
            batch=32.0,
            seed=42,
        )
        shadows = train_shadows(spec, models=models, keep_probabilities=True)
        found[str(width)] = {"auc_published": published} | row_of(
            attacked(shadows, sigma=0, steps=390), shadows
        )
        print(width, found[str(width)]["attacks"]["LiRA online"], flush=True)
    return {"widths": found, "correlations": correlations(found)}


def correlations(found: dict[str, Any]) -> dict[str, Any]:
    """Pearson's r of LiRA's AUC with the log of the width and with the gap, over the widths."""
    auc = [row["attacks"]["LiRA online"]["auc"][0] for row in found.values()]
    gap = [row["train_accuracy"] - row["test_accuracy"] for row in found.values()]
    size = [math.log(float(width)) for width in found]
    if len(auc) < 3:
        return {}
    pairs = {"log width": stats.pearsonr(auc, size), "gap": stats.pearsonr(auc, gap)}
    return {
        name: {
            "r": round(float(one.statistic), 3),
            "interval": [round(float(end), 3) for end in one.confidence_interval()] if len(auc) > 3 else None,
            "p": round(float(one.pvalue), 4),
        }
        for name, one in pairs.items()
    }


# ---------------------------------------------------------------- Fashion-MNIST


def clothes(models: int, records: int, steps: int) -> dict[str, Any]:
    """The same network without privacy, clipped alone, at epsilon 8 and at epsilon 1."""
    found: dict[str, Any] = {}
    for name, target, clip, lr in CLOTHES:
        sigma = 0.0
        if target is not None:
            sigma = calibrate_noise_multiplier(
                lambda one: event_of(one, steps),
                target_epsilon=target,
                target_delta=DELTA,
                neighboring_relation=RELATION,
            )
        spec = spec_of(
            Factory(target="membership_worlds:clothes", options={"records": records}),
            Factory(target="membership_worlds:mlp", options={"features": 784, "hidden": 64, "classes": 10}),
            sigma=sigma,
            clip=clip,
            steps=steps,
            lr=lr,
            batch=RATE * records / 2,
            seed=0,
        )
        shadows = train_shadows(spec, models=models, keep_probabilities=True)
        report = attacked(shadows, sigma=sigma, steps=steps)
        found[name] = {"noise_multiplier": sigma, "lr": lr} | row_of(report, shadows)
        found[name]["curve"] = thinned(report, sigma=sigma, steps=steps)
        print(name, sigma, found[name]["test_accuracy"], flush=True)
        print(report.table(), flush=True)
    return found


def thinned(report: AttackReport, *, sigma: float, steps: int) -> dict[str, list[float]]:
    """Points of LiRA's curve, evenly on a log scale, with the most that the event permits at each."""
    curve = report.curve("LiRA online")
    places = np.unique(np.searchsorted(curve.fpr, np.geomspace(1e-4, 1.0, 60)).clip(max=len(curve.fpr) - 1))
    points = {
        name: [float(f"{x:.4g}") for x in getattr(curve, name)[places]]
        for name in ("fpr", "tpr", "lower", "upper")
    }
    if sigma:
        relation = NeighboringRelation.REPLACE_ONE
        most = permitted_by_event(event_of(sigma, steps), points["fpr"], neighboring_relation=relation)
        points["permitted"] = [round(x, 6) for x in most.tpr]
    return points


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few models and one seed; writes another record")
    parser.add_argument("--only-fashion", action="store_true", help="that part alone; the others stay")
    asked = parser.parse_args()
    quick = asked.quick
    torch.set_num_threads(1)
    start = time.process_time()
    if asked.only_fashion:
        figures = json.loads(RECORD.read_text())["figures"]
        record("audit_membership", figures | {"fashion_mnist": clothes(128, 1000, 300)})
        return
    figures: dict[str, Any] = {
        "first_study": first_study(8 if quick else 64, SEEDS[:1] if quick else SEEDS),
        "second_study": second_study(8 if quick else 128, WIDTHS[:2] if quick else WIDTHS),
        "fashion_mnist": clothes(8 if quick else 128, 200 if quick else 1000, 40 if quick else 300),
    }
    figures["cpu_seconds"] = round(time.process_time() - start, 1)
    record("audit_membership_quick" if quick else "audit_membership", figures)


if __name__ == "__main__":
    main()
