"""A captured step gives what the ordinary step gives, on every odd module, or steps aside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clifftop.capture import CapturedSumming
from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.flow import NoisySum
from clifftop.gradients import GraphEngine, UnsupportedModule
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import StepRecord, initial_state, private_gradient
from clifftop.sampling import Poisson
from clifftop.testing.gradients import Case, SeededDraws, make_case
from clifftop.testing.problem import Problem
from clifftop.testing.problems import PROBLEMS
from clifftop.testing.real_models import REAL_MODELS

# What tracing cannot enter, and what the walk of the graph leaves to another engine.
NOT_CAPTURED = {
    "embedding by frequency", "dropout in a transformer layer", "einsum as linear", "einsum of three",
    "einsum mixture", "one-hot product", "scores of looked-up rows", "rows rolled and back",
    "rows reversed and back",
    "rows sorted and back", "halves swapped and back", "one by one", "one by one without their axis",
}  # fmt: skip


def plan(*, sigma: float = 1.0, clip: float = 0.7, size: float | None = 5) -> PrivacyPlan:
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.1),
        clipping=Flat(clip_norm=clip),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=size,
    )


class Draws(SeededDraws):
    """No noise, named dropout."""

    def normal(self, like):
        return {name: torch.zeros_like(v) for name, v in like.items()}

    def add_normal(self, value, std):
        return value


def run(
    case: Case, engine: GraphEngine, summing, *, diagnose: bool = True
) -> tuple[NoisySum, StepRecord | None]:
    one = plan()
    noisy, _, record = private_gradient(
        plan=one,
        engine=engine,
        loss=case.loss,
        params=case.params,
        batch=case.batch,
        state=initial_state([one], next(iter(case.params.values()))),
        streams=Draws(seeds=case.draws.seeds),
        diagnose=diagnose,
        summing=summing,
    )
    return noisy, record


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-10, atol=1e-12, equal_nan=True)


# A sixth of the zoo, and every problem that is not captured: tracing all of it takes minutes.
SOME = [p for i, p in enumerate((*PROBLEMS, *REAL_MODELS)) if i % 6 == 0 or p.name in NOT_CAPTURED]


@pytest.mark.parametrize("problem", SOME, ids=lambda p: p.name)
def test_captured_equals_ordinary(problem: Problem):
    case, engine = make_case(problem, num_runs=1), GraphEngine()
    summing = CapturedSumming()
    try:
        ordinary, seen = run(case, engine, None)
    except UnsupportedModule:
        with pytest.raises(UnsupportedModule):
            run(case, engine, summing)
        return
    for _ in range(2):
        captured, record = run(case, engine, summing)
        for name, value in ordinary.value.items():
            assert close(captured.value[name], value), name
        assert seen is not None
        assert record is not None
        numbers = zip(seen.numbers().values(), record.numbers().values(), strict=True)
        assert all(close(a, b) for a, b in numbers)
    graphs = [graph for kept in summing.graphs._kept.values() for _, graph in kept.values()]
    assert [graph is None for graph in graphs] == [problem.name in NOT_CAPTURED]
