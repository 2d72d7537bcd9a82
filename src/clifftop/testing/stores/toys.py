"""A study with no model and no data, to try stores, executors and sweeps with.

A run's numbers are a chaotic recurrence that starts from the seed, so that a lost, repeated or misplaced
step, or a state given to the wrong run, changes all that follows.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.lab.contract import BlockLike
from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec


@final
@dataclass(frozen=True, kw_only=True)
class ToyClipping:
    """Stands for a clipping rule."""

    clip_norm: float = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class ToyNoise:
    """Stands for a noise mechanism."""

    noise_multiplier: float = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class ToyPlan:
    """Stands for a `clifftop.plan.PrivacyPlan`, without torch."""

    clipping: ToyClipping = field(default_factory=ToyClipping)
    noise: ToyNoise = field(default_factory=ToyNoise)


@final
@dataclass(frozen=True, kw_only=True)
class ToyStreams:
    """Stands for a choice of random streams."""


def toy_spec(
    *, seed: int = 0, noise_multiplier: float = 1.0, clip_norm: float = 1.0, lr: float = 0.1, steps: int = 6
) -> RunSpec:
    """A spec that `ToyTrainer` trains. It evaluates every second step."""
    plan: Any = ToyPlan(
        clipping=ToyClipping(clip_norm=clip_norm), noise=ToyNoise(noise_multiplier=noise_multiplier)
    )
    return RunSpec(
        model=Factory(target="clifftop.testing.stores:ToyPlan"),
        data=Factory(target="clifftop.testing.stores:ToyStreams"),
        plan=plan,
        optimizer=OptimizerSpec(lr=lr),
        steps=steps,
        evaluate_every=2,
        seed=seed,
        streams=ToyStreams(),
    )


@final
@dataclass(frozen=True, kw_only=True)
class ToyBlock:
    """A block of the toy study; see `clifftop.lab.contract.BlockLike`."""

    step: int
    metrics: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    trace: dict[str, NDArray[np.float32]]
    state: bytes | None
    finished: bool
    diverged: NDArray[np.bool_]
    trained: NDArray[np.bool_]


@final
@dataclass(frozen=True, kw_only=True)
class ToyTrainer:
    """Trains toy runs; the result is a pure function of each spec.

    A run whose noise multiplier is 100 or more diverges at its end, one of 1000 or more at its first
    evaluation, after which it takes no part.

    Attributes:
        block_steps: steps a block.
        pause: seconds to sleep before each block, for tests that interrupt.
        log: a file to append one line to before each block: process, step before it, run ids.
        fault: called with the specs and the steps done before each block; it may raise, or kill.
    """

    block_steps: int = 2
    pause: float = 0.0
    log: Path | None = None
    fault: Callable[[Sequence[RunSpec], int], None] | None = None

    def __call__(self, specs: Sequence[RunSpec], *, state: bytes | None = None) -> Iterator[BlockLike]:
        """Blocks of ``specs``, from the start or from ``state``."""
        first, values = _restore(specs, state)
        steps = specs[0].steps
        while first < steps and not np.isnan(values).all():
            self._before(specs, first)
            last = min(first + self.block_steps, steps)
            doomed = _doomed(specs) & ~np.isnan(values)
            if doomed.any():
                last = min(last, specs[0].evaluate_every)
            history = np.empty((len(specs), last - first))
            for column, step in enumerate(range(first + 1, last + 1)):
                values = _advance(specs, values, step)
                history[:, column] = values
            if last >= specs[0].evaluate_every:
                values = np.where(doomed, np.nan, values)
            yield _block(specs, history, values, first)
            first = last

    def _before(self, specs: Sequence[RunSpec], step: int) -> None:
        if self.log is not None:
            line = f"{os.getpid()} {step} {','.join(spec.id for spec in specs)}\n"
            with self.log.open("a") as file:
                file.write(line)
        if self.fault is not None:
            self.fault(specs, step)
        if self.pause > 0:
            time.sleep(self.pause)


def _restore(specs: Sequence[RunSpec], state: bytes | None) -> tuple[int, NDArray[np.float64]]:
    if state is None:
        return 0, np.array([math.modf(0.377 * (spec.seed + 1))[0] for spec in specs])
    (step,) = struct.unpack_from("<q", state)
    values = np.frombuffer(state, dtype="<f8", offset=8)
    if len(values) != len(specs):
        raise ValueError(
            f"a state must be of the cohort's runs, found {len(values)} runs for {len(specs)} specs"
        )
    return step, values


def _advance(specs: Sequence[RunSpec], values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """A logistic map a run, stirred by its plan and by the step."""
    axes = [
        (spec.noise_multiplier or 0.0, min(spec.clip_norm or 0.0, 1e3), spec.optimizer.lr) for spec in specs
    ]
    stir = np.array([0.01 * math.sin(sigma + clip + lr + step) for sigma, clip, lr in axes])
    return np.clip(3.9 * values * (1.0 - values), 0.02, 0.97) + stir


def _doomed(specs: Sequence[RunSpec]) -> NDArray[np.bool_]:
    return np.array([(spec.noise_multiplier or 0.0) >= 1000 for spec in specs])


def _block(
    specs: Sequence[RunSpec], history: NDArray[np.float64], values: NDArray[np.float64], first: int
) -> ToyBlock:
    last = first + history.shape[1]
    trained = ~np.isnan(history[:, 0])
    at_end = last == specs[0].steps
    finished = at_end or bool(np.isnan(values).all())
    steps = np.arange(first + 1, last + 1)
    due = (steps % specs[0].evaluate_every == 0) | (steps == specs[0].steps)
    diverged = np.array([at_end and (spec.noise_multiplier or 0.0) >= 100 for spec in specs])
    diverged |= np.isnan(values)
    loss = np.where(diverged[:, None], np.nan, -np.log(np.abs(history) + 1e-3))
    return ToyBlock(
        step=last,
        metrics={"accuracy": (steps[due], history[:, due]), "loss": (steps[due], loss[:, due])},
        trace={"loss": loss.astype(np.float32), "noise_norm": history.astype(np.float32)},
        state=None if finished else struct.pack("<q", last) + values.astype("<f8").tobytes(),
        finished=finished,
        diverged=diverged,
        trained=trained,
    )


def toy_static_key(spec: RunSpec) -> str:
    """Toy runs with equal numbers of steps may train together."""
    return str(spec.steps)


def toy_cohort_size(spec: RunSpec) -> int:
    """Four toy runs train together, or two if they have more than ten steps."""
    return 4 if spec.steps <= 10 else 2
