"""What a step says about the number of examples: Opacus divides by ``floor(n q)`` with its private n.

One step, all features zero, 1,050 parameters: whether the data set had 31 or 32 examples is guessed from the
length of the released update (opacus issues 571 and 819). The threshold is chosen on one half of the
releases and judged on the other.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, cross_entropy, epsilon
from clifftop.audit.estimators import thresholds
from clifftop.audit.steps import ours
from clifftop.events import Gaussian as GaussianEvent
from clifftop.events import PoissonSampled

FEATURES, CLASSES, BATCH_SIZE, SIGMA, DELTA = 20, 50, 8, 8.0, 1e-5
SIZES = range(28, 38)

Lengths = Callable[[int, int], tuple[list[float], float]]
"""Update lengths of so many runs on so many examples, and the epsilon that the library states for one."""


def from_opacus(num_examples: int, runs: int) -> tuple[list[float], float]:
    """Whole first steps of Opacus: its loader, its model, its optimiser, its accountant."""
    from opacus import PrivacyEngine

    lengths: list[float] = []
    engine, module, optimizer, loader = _made(PrivacyEngine(), num_examples)
    stated = math.nan
    while len(lengths) < runs:
        for inputs, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.pre_step()
            lengths.append(math.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters())))
            if len(lengths) == 1:
                stated = engine.get_epsilon(DELTA)
    return lengths[:runs], stated


def _made(engine: Any, num_examples: int) -> tuple[Any, Any, Any, Any]:
    warnings.simplefilter("ignore")
    torch.manual_seed(num_examples)
    module = nn.Linear(FEATURES, CLASSES)
    data = TensorDataset(torch.zeros(num_examples, FEATURES), torch.zeros(num_examples, dtype=torch.int64))
    module, optimizer, loader = engine.make_private(
        module=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        data_loader=DataLoader(data, batch_size=BATCH_SIZE),
        noise_multiplier=SIGMA,
        max_grad_norm=1.0,
    )
    return engine, module, optimizer, loader


def from_clifftop(num_examples: int, runs: int) -> tuple[list[float], float]:
    """The same with a plan that was fixed beforehand: rate 1/4 and divisor 8, whatever n is."""
    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=0.25),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=SIGMA),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=BATCH_SIZE,
    )
    torch.manual_seed(num_examples)
    inputs = torch.zeros(num_examples, FEATURES)
    targets = torch.zeros(num_examples, dtype=torch.int64)
    step = ours(plan, nn.Linear(FEATURES, CLASSES), cross_entropy, (inputs,), (targets,))
    lengths = [
        float(np.linalg.norm(step.release(step.sample(0, seed), noise=True, seed=16 * seed)))
        for seed in range(num_examples * 100_000, num_examples * 100_000 + runs)
    ]
    event = PoissonSampled(0.25, GaussianEvent(SIGMA))
    bound = epsilon(event, delta=DELTA, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    return lengths, bound.upper


def public_numbers() -> list[dict[str, float]]:
    """The rate and the divisor that Opacus takes for each size of the data, which its claim holds fixed."""
    from opacus import PrivacyEngine

    found = []
    for size in SIZES:
        _, _, optimizer, loader = _made(PrivacyEngine(), size)
        found.append(
            {"n": size, "sampling_prob": loader.sample_rate, "divisor": optimizer.expected_batch_size}
        )
    return found


def audited(name: str, lengths: Lengths, *, small: int, large: int, runs: int) -> dict[str, Any]:
    """A lower bound on epsilon from the lengths of updates on two neighbouring data sets."""
    started = time.process_time()
    (absent, stated), (present, _) = lengths(small, runs), lengths(large, runs)
    bound = thresholds.epsilon_held_out(
        present, absent, delta=DELTA, confidence=0.95, rng=np.random.default_rng(0)
    )
    return {
        "library": name,
        "n": [small, large],
        "stated_epsilon": round(stated, 4),
        "delta": DELTA,
        "lower_bound": round(bound.epsilon, 3),
        "confidence": bound.confidence,
        "most_that_could_be_shown": round(bound.detection_limit, 3),
        "mean_length": [round(float(np.mean(one)), 3) for one in (absent, present)],
        "runs_on_each_side": runs,
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def size_audits(runs: int) -> dict[str, Any]:
    """Opacus where its divisor changes, Opacus where it does not, Clifftop."""
    return {
        "public_numbers_of_opacus": public_numbers(),
        "audits": [
            audited("opacus", from_opacus, small=31, large=32, runs=runs),
            audited("opacus", from_opacus, small=30, large=31, runs=runs),
            audited("clifftop", from_clifftop, small=31, large=32, runs=runs),
        ],
    }
