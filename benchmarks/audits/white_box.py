"""The white-box audit of a training that does as it claims: how much of epsilon it shows, how often too much.

Three claims (epsilon 1, 4 and 10 at delta 1e-5, sampling probability 0.128, 160 steps), each audited 200
times as a whole: Clifftop's own training of a small network (49-16-10) on 500 images of Fashion-MNIST
averaged to 7 x 7, 256 runs with 2048 canaries each. Counted are the share of epsilon that each bound shows,
how often it is above the truth, and how often the verdict is "refuted": what confidence and ``level`` have
to stand.

Seeds are those of the repetition. CPU seconds are of one thread, training included.

    python benchmarks/audits/white_box.py            # about 100 minutes of CPU, two audits at a time
    python benchmarks/audits/white_box.py --quick    # about half a minute; writes another record
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clifftop.audit.runs import TrainingReport, TrainingUnderTest, audit_training, ours
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.datasets import fashion_mnist
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import record

NOISE = {1: 6.195, 4: 1.974, 10: 1.085}
SAMPLING, STEPS, ROWS = 0.128, 160, 500
LEVEL = 1e-3


def main() -> None:
    """All audits of all claims."""
    parser = argparse.ArgumentParser(description="the white-box audit of a correct training")
    parser.add_argument("--quick", action="store_true", help="a smaller version, half a minute")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=2, help="audits at a time, each on one thread")
    options = parser.parse_args()
    runs, canaries, repetitions = (32, 512, 4) if options.quick else (256, 2048, options.repetitions)
    figures: dict[str, Any] = {"level": LEVEL, "confidence": 0.95, "runs": runs, "canaries": canaries}
    with ProcessPoolExecutor(options.at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for epsilon, noise in NOISE.items():
            reports = []
            ask = partial(one_audit, noise, runs, canaries)
            for report in pool.map(ask, range(repetitions)):
                reports.append(report)
                print(f"epsilon {epsilon}: {len(reports)} of {repetitions}", end="\r", file=sys.stderr)
            figures[f"epsilon {epsilon}"] = {"noise_multiplier": noise} | summed_up(reports)
            print(f"epsilon {epsilon}", json.dumps(figures[f"epsilon {epsilon}"]), file=sys.stderr)
    record("audit_white_box_quick" if options.quick else "audit_white_box", figures)


def one_audit(noise: float, runs: int, num_canaries: int, seed: int) -> TrainingReport:
    """One audit, with everything that belongs to it."""
    return audit_training(training_of(plan_of(noise), num_canaries), runs=runs, level=LEVEL, seed=seed)


def plan_of(noise: float) -> PrivacyPlan:
    """The plan at one noise multiplier."""
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=SAMPLING),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=noise),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=SAMPLING * ROWS,
    )


def training_of(plan: PrivacyPlan, num_canaries: int) -> TrainingUnderTest:
    """A small network on small images."""
    images = fashion_mnist(num_train=ROWS, num_test=1, seed=0).train
    pixels = torch.from_numpy(images.inputs[0]).float()
    small = nn.functional.avg_pool2d(pixels.reshape(ROWS, 1, 28, 28), 4).flatten(1)
    targets = torch.from_numpy(images.targets[0])
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(49, 16), nn.ReLU(), nn.Linear(16, 10))
    return ours(
        plan, module, cross_entropy, [small], [targets], num_canaries=num_canaries, steps=STEPS, lr=0.1
    )


def summed_up(reports: Sequence[TrainingReport]) -> dict[str, Any]:
    """What the audits of one claim showed."""
    truth = reports[0].claim.epsilon
    return {
        "repetitions": len(reports),
        "epsilon": truth.estimate,
        "cpu_seconds_each": float(np.median([report.seconds for report in reports])),
        "cpu_seconds_most": float(max(report.seconds for report in reports)),
        "refuted": sum(not report.ok for report in reports),
        "bounds": {
            row.name: share_of(reports, row.name, truth.lower, truth.upper) for row in reports[0].bounds
        },
    }


def share_of(reports: Sequence[TrainingReport], name: str, least: float, most: float) -> dict[str, float]:
    """One bound over all repetitions, as a share of the truth."""
    # A few runs may all have their one canary, or none: such an audit shows nothing by it.
    named = ({row.name: row.bound.epsilon for row in report.bounds} for report in reports)
    shown = np.asarray([bounds.get(name, 0.0) for bounds in named])
    shares = shown / least
    return {
        "median": float(np.median(shares)),
        "least": float(shares.min()),
        "most": float(shares.max()),
        "below_nine_tenths": float((shares < 0.9).sum()),
        "above_the_truth": float((shown > most).sum()),
    }


if __name__ == "__main__":
    main()
