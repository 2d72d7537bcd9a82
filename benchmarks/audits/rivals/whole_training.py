"""Whole trainings by Opacus under the white-box audit: many small models, canaries among their examples.

A canary is an example of its own, through Opacus' loader, per-example gradients, clipping and noise: it
alone moves the weight of its own feature, always the same way, by more than the clip norm. An absent one is
an example of zeros at the same place, so that the number of examples, which Opacus' step depends on, stays.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clifftop.audit.runs import Observed, TrainingClaim, audit_training
from clifftop.events import NeighboringRelation

FEATURES, REAL, CANARIES, BATCH_SIZE, EPOCHS = 6, 32, 32, 8, 3
NUM_EXAMPLES = REAL + CANARIES
STEPS = EPOCHS * (NUM_EXAMPLES // BATCH_SIZE)
CLIP_NORM, SIGMA, DELTA = 0.7, 1.1, 1e-5
FAR = 1e6
"""A canary's target: its gradient stays beyond the clip norm, and its sign the same, through training."""


class Model(nn.Module):
    """A small network of the features, and one weight for each canary's own feature."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False))
        self.canaries = nn.Linear(CANARIES, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, features + canaries)`` to ``(B, 1)``."""
        return self.body(inputs[:, :FEATURES]) + self.canaries(inputs[:, FEATURES:])


class OpacusTraining:
    """A `TrainingUnderTest`: the documented training loop, three epochs of plain SGD."""

    num_canaries = CANARIES
    claim = TrainingClaim(
        sampling_prob=BATCH_SIZE / NUM_EXAMPLES,
        noise_multiplier=SIGMA,
        steps=STEPS,
        delta=DELTA,
        relation=NeighboringRelation.ZERO_OUT,
    )

    def __init__(self, *, noise_multiplier: float = SIGMA) -> None:
        self._noise_multiplier = noise_multiplier

    def observe(self, present: Any, *, seed: int) -> Observed:
        """Train one model for each row of ``present``."""
        warnings.simplefilter("ignore")
        torch.manual_seed(seed + 1)
        runs = [self._run(row) for row in present]
        return Observed(
            releases=np.stack([released for released, _ in runs]),
            present=present,
            drawn=np.stack([drawn for _, drawn in runs]),
        )

    def _run(self, present: Any) -> tuple[Any, Any]:
        module = Model()
        private, optimizer, loader = PrivacyEngine().make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.05),
            data_loader=DataLoader(_data(present), batch_size=BATCH_SIZE),
            noise_multiplier=self._noise_multiplier,
            max_grad_norm=CLIP_NORM,
        )
        # A canary's gradient points down its axis: what is released along it is turned round.
        scale = -optimizer.expected_batch_size / CLIP_NORM
        releases = np.empty((STEPS, CANARIES), dtype=np.float32)
        drawn = np.zeros((STEPS, CANARIES), dtype=np.bool_)
        for step, (inputs, targets, places) in enumerate(_batches(loader)):
            optimizer.zero_grad()
            (private(inputs) - targets).square().mean().backward()
            optimizer.step()
            releases[step] = scale * module.canaries.weight.grad[0].numpy()
            drawn[step, places[places >= 0].numpy()] = True
        return releases, drawn


def _batches(loader: Any) -> Iterator[Any]:
    for _ in range(EPOCHS):
        yield from loader


def _data(present: Any) -> TensorDataset:
    """Examples first, then the canaries' places; the last column says whose place it is."""
    inputs = torch.zeros(NUM_EXAMPLES, FEATURES + CANARIES)
    inputs[:REAL, :FEATURES] = torch.randn(REAL, FEATURES)
    flags = torch.from_numpy(np.asarray(present)).float()
    inputs[REAL:, FEATURES:] = torch.diag(flags)
    targets = torch.cat([inputs[:REAL, 0].tanh(), FAR * flags])[:, None]
    return TensorDataset(inputs, targets, torch.cat([torch.full((REAL,), -1), torch.arange(CANARIES)]))


def training_audits(runs: int) -> list[dict[str, Any]]:
    """The training as it is, and the negative control: two thirds of the noise under the same claim."""
    return [
        _audited("Opacus", OpacusTraining(), runs),
        _audited(
            "Opacus, told to add two thirds of the noise", OpacusTraining(noise_multiplier=SIGMA / 1.5), runs
        ),
    ]


def _audited(name: str, training: OpacusTraining, runs: int) -> dict[str, Any]:
    started = time.process_time()
    report = audit_training(training, runs=runs)
    truth = training.claim.epsilon
    return {
        "training": name,
        "claim": str(training.claim),
        "claimed_epsilon": [round(truth.lower, 4), round(truth.upper, 4)],
        "runs": report.runs,
        "canaries": report.num_canaries,
        "passed": [check.name for check in report.checks if check.passed],
        "findings": [
            {"check": check.name, "found": check.found, "must_hold": check.must_hold}
            for check in report.findings
        ],
        "bounds": {
            row.name: {"epsilon": round(row.bound.epsilon, 3), "heuristic": row.heuristic}
            for row in report.bounds
            if math.isfinite(row.bound.epsilon)
        },
        "cpu_seconds": round(time.process_time() - started, 1),
    }
