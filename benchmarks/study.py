"""The published study: the tape's cohort of 66 runs against our own loop oracle on a slice of them.

The rival is the reference program's method: one forward and one backward an example. It is run on
the first steps of one private run, in the same process and interleaved with the cohort, and scaled
to 66 runs of 140 steps. FLOPs: both do the same matrix products, 2 x 3 x 64 x (10 x 64 + 64 x 5) a
step and run; what differs is the number of calls, about 64 x 66 to 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import record

from clifftop.batching import Examples, draw_batch
from clifftop.criteria import cross_entropy
from clifftop.datasets import gaussian_clusters
from clifftop.gradients import LoopEngine, PerExampleLoss
from clifftop.gradients.base import trainable_parameters
from clifftop.lab import RunSpec, train_cohort
from clifftop.lab.optim import CohortOptimizer
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.studies import get
from clifftop.studies.no_cliff.model import mlp


def main() -> None:
    """Run both in turn, and print seconds, CPU seconds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop-steps", type=int, default=14, help="steps of the loop oracle a round")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = get("no-cliff")
    grid = study.grid(study.defaults)
    specs = list(study.specs(grid))
    steps = specs[0].steps
    list(train_cohort(specs))  # warm both up
    loop_steps(specs[1], 2)
    cohort, loop = [], []
    for _ in range(options.rounds):
        cohort.append(timed(lambda: list(train_cohort(specs))))
        loop.append(timed(lambda: loop_steps(specs[1], options.loop_steps)))
    scale = len(specs) * steps / options.loop_steps
    figures = {}
    for i, kind in enumerate(("wall_seconds", "cpu_seconds")):
        ours = statistics.median(t[i] for t in cohort)
        theirs = statistics.median(t[i] for t in loop) * scale
        ratios = [b[i] * scale / a[i] for a, b in zip(cohort, loop, strict=True)]
        figures[kind] = {
            "cohort_of_66": round(ours, 3),
            "loop_scaled_to_66": round(theirs, 1),
            "ratio": {
                "min": round(min(ratios)),
                "median": round(statistics.median(ratios)),
                "max": round(max(ratios)),
            },
        }
    record("study", figures)


def loop_steps(spec: RunSpec, count: int) -> None:
    """``count`` steps of one run with the loop oracle, in float32 like the cohort."""
    data = gaussian_clusters(spec.seed)
    examples = Examples(
        inputs=(torch.from_numpy(data.train_inputs)[None],),
        targets=(torch.from_numpy(data.train_targets)[None],),
    )
    model = mlp()
    params = {name: p.clone()[None] for name, p in trainable_parameters(model).items()}
    loss = PerExampleLoss(module=model, criterion=cross_entropy)
    optimizer = CohortOptimizer([spec.optimizer], params)
    state = initial_state([spec.plan], next(iter(params.values())))
    streams = spec.streams.open([spec.seed])
    for step in range(count):
        noisy, state, _ = private_gradient(
            plan=spec.plan,
            engine=LoopEngine(),
            loss=loss,
            params=params,
            batch=draw_batch(spec.plan.sampler, examples, streams, step),
            state=state,
            streams=streams.at(step),
            diagnose=False,
        )
        optimizer.step(noisy)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
