"""Clifftop's own step on the same tasks, under the same checks."""

from __future__ import annotations

from subjects import BATCH_SIZE, CLIP_NORM, SAMPLING_PROB, SIGMA, Scope, Task

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, cross_entropy
from clifftop.audit.steps import OwnStep, ours


def clifftop_step(task: Task, *, scope: Scope, microbatch_size: int | None = None) -> OwnStep:
    """The step of a `Trainer`; hard examples are its own, so the scope must be `Scope.ALL`."""
    if scope is not Scope.ALL:
        raise ValueError(f"Clifftop's step is examined with all hard examples, found {scope=}; leave it")
    plan = PrivacyPlan(
        sampler=Poisson(sampling_prob=SAMPLING_PROB),
        clipping=Flat(clip_norm=CLIP_NORM),
        noise=Gaussian(noise_multiplier=SIGMA),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=BATCH_SIZE,
    )
    return ours(
        plan, task.module(), cross_entropy, (task.inputs,), (task.targets,), microbatch_size=microbatch_size
    )
