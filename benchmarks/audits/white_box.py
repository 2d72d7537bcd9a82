"""The white-box audit of a training that does as it claims: how much of epsilon it shows, how often too much.

Three claims (epsilon 1, 4 and 10 at delta 1e-5, sampling probability 0.128, 160 steps), two experiments:

- ``trainings``: whole audits of Clifftop's own training of a small network (10-64-5 on 500 rows), 256 runs
  with 2048 canaries each: the share of epsilon and the CPU seconds are those that a user sees;
- ``repetitions``: 200 audits of canaries alone (the same sampler, noise mechanism and streams, no model), 16
  runs with 2048 canaries each, a sixteenth of the canary-runs above. They count how often a bound is above
  the truth and how often the verdict is "refuted", which a confidence of 95% and ``level`` have to stand.

Seeds are those of the repetition. CPU seconds are of one thread (set OMP_NUM_THREADS=1), training included.

    python benchmarks/audits/white_box.py            # about 8 minutes of CPU
    python benchmarks/audits/white_box.py --quick    # about half a minute; writes another record
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clifftop.audit.runs import TrainingReport, TrainingUnderTest, audit_training, canaries_alone, ours
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
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
    """Both experiments."""
    parser = argparse.ArgumentParser(description="the white-box audit of a correct training")
    parser.add_argument("--quick", action="store_true", help="a smaller version, half a minute")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--trainings", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quick = options.quick
    full, alone = ((32, 512), (8, 512)) if quick else ((256, 2048), (16, 2048))
    trainings = 1 if quick else options.trainings
    repetitions = 8 if quick else options.repetitions
    figures: dict[str, Any] = {"level": LEVEL, "confidence": 0.95}
    for epsilon, noise in NOISE.items():
        print(f"epsilon {epsilon}", file=sys.stderr)
        plan = plan_of(noise)
        figures[f"epsilon {epsilon}"] = {
            "noise_multiplier": noise,
            "trainings": several(training_of(plan, full[1]), runs=full[0], repetitions=trainings),
            "repetitions": several(
                canaries_alone(plan, num_canaries=alone[1], steps=STEPS),
                runs=alone[0],
                repetitions=repetitions,
            ),
        }
    record("audit_white_box_quick" if quick else "audit_white_box", figures)


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
    """A small network on random rows: what an audit of canaries sees does not depend on them."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(ROWS, 10), torch.randint(0, 5, (ROWS,))
    module = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 5))
    return ours(
        plan, module, cross_entropy, [inputs], [targets], num_canaries=num_canaries, steps=STEPS, lr=0.1
    )


def several(training: TrainingUnderTest, *, runs: int, repetitions: int) -> dict[str, Any]:
    """Audits with the seeds 0, 1, ..., summed up."""
    reports = [
        audit_training(training, runs=runs, level=LEVEL, seed=repetition) for repetition in range(repetitions)
    ]
    truth = training.claim.epsilon
    names = [row.name for row in reports[0].bounds]
    return {
        "runs": runs,
        "canaries": training.num_canaries,
        "repetitions": repetitions,
        "epsilon": truth.estimate,
        "cpu_seconds_each": float(np.median([report.seconds for report in reports])),
        "cpu_seconds_of_training_each": float(np.median([report.training_seconds for report in reports])),
        "refuted": sum(not report.ok for report in reports),
        "bounds": {name: share_of(reports, name, truth.lower, truth.upper) for name in names},
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
        "above_the_truth": float((shown > most).sum()),
    }


if __name__ == "__main__":
    main()
