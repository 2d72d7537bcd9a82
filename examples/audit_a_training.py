"""Audit whole trainings: lower bounds on epsilon beside the claim, for a sound one and one with less noise.

The same from a shell, in this folder:

    clifftop audit run audit_a_training:training --budget 20s
    clifftop audit run audit_a_training:too_little_noise --budget 20s     # ends with 1
"""

from dataclasses import replace

import torch

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, cross_entropy
from clifftop.audit import LeaksMore, assert_private
from clifftop.audit.runs import OwnTraining, TrainingClaim, ours


def training(*, noise_multiplier: float = 2.0, claim: TrainingClaim | None = None) -> OwnTraining:
    """A small network on 500 rows, and 512 canaries beside them on axes that nothing else moves along."""
    torch.manual_seed(0)
    rows, classes = torch.randn(500, 10), torch.randint(0, 5, (500,))
    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=0.128),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=noise_multiplier),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=64,
    )
    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5))
    return ours(plan, model, cross_entropy, (rows,), (classes,), num_canaries=512, steps=80, claim=claim)


def too_little_noise() -> OwnTraining:
    """Half of the noise that is claimed."""
    return training(noise_multiplier=1.0, claim=replace(training().claim, noise_multiplier=2.0))


if __name__ == "__main__":
    report = assert_private(training(), budget_seconds=2.0)
    print(f"claimed: {report.claim}")
    for row in report.bounds:
        print(f"  {row.name}{' (heuristic)' if row.heuristic else ''}: {row.bound}")
    try:
        assert_private(too_little_noise(), budget_seconds=2.0)
    except LeaksMore as found:
        print(found)
