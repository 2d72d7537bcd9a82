"""Runs trained as one: everything that differs between them is data on the run axis.

Noise multiplier, clip norm, learning rate and seed are data; the model, the data's shape, the kinds
of sampler, clipping, noise and optimiser, and the number of steps are shared. Run r of a cohort
equals the same spec trained alone: its draws come from its own streams, and no operation mixes
runs. The equality is up to the round-off of one batched product (1e-6 relative in float32), because
a matrix library may choose another order of summation for another batch size.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clifftop.batching import Examples, draw_batch
from clifftop.criteria import cross_entropy
from clifftop.datasets import ArrayDataset
from clifftop.gradients import PerExampleLoss, TapeEngine
from clifftop.gradients.base import constant_tensors, stack_runs, trainable_parameters
from clifftop.lab.evaluate import evaluate
from clifftop.lab.optim import CohortOptimizer
from clifftop.lab.spec import RunSpec, SpecError
from clifftop.noise import RunStreams
from clifftop.private_gradient import StepRecord, initial_state, private_gradient

LARGEST_COHORT = 256
"""Beyond this many runs, more of them save no more overhead and only cost cache."""

TRACE_FIELDS = tuple(f.name for f in fields(StepRecord))


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """What a cohort hands back after some steps.

    Attributes:
        step: steps done so far.
        metrics: evaluations in this block: name to steps ``(K,)`` and values ``(R, K)``.
        trace: per-step diagnostics of this block, each ``(R, k)``; not private.
        state: the checkpoint to resume from; None once finished.
        finished: whether the runs are done.
        diverged: ``(R,)`` whether a run's parameters, or its loss at the end, are no longer finite.
    """

    step: int
    metrics: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    trace: dict[str, NDArray[np.float32]]
    state: bytes | None
    finished: bool
    diverged: NDArray[np.bool_]


def static_key(spec: RunSpec) -> str:
    """Specs with equal keys may train as one cohort."""
    plan = replace(spec.plan, clipping=spec.plan.clipping.template(), noise=spec.plan.noise.template())
    shared = replace(spec, seed=0, optimizer=replace(spec.optimizer, lr=1.0), plan=plan)
    return shared.id


def cohort_size(spec: RunSpec, *, budget_bytes: int = 1 << 30) -> int:
    """How many runs like ``spec`` to train together, so that one step's tensors fit ``budget_bytes``.

    Counted: parameters with their companions, and a batch's activations with their gradients, seen in
    one forward pass on one example. A fixed rule of the spec alone, so that a sweep resumed forms the
    same cohorts.
    """
    model = _build_model(spec)
    data = _load_data(spec)
    parameters = sum(p.numel() for p in model.parameters())
    expected = spec.plan.expected_batch_size or getattr(spec.plan.sampler, "batch_size", 1)
    outputs: list[int] = []

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        outputs.append(output.numel() if isinstance(output, Tensor) else 0)

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model.eval()(torch.from_numpy(data.train_inputs[:1]))
    for handle in handles:
        handle.remove()
    numbers = 8 * parameters + 4 * expected * (sum(outputs) + data.train_inputs[0].size)
    return int(max(1, min(LARGEST_COHORT, budget_bytes // (4 * numbers))))


def train_cohort(
    specs: Sequence[RunSpec], *, state: bytes | None = None, checkpoint_seconds: float = 5.0
) -> Iterator[Block]:
    """Train runs together, handing back a block at the end and every ``checkpoint_seconds``.

    Args:
        specs: runs with one `static_key`.
        state: a block's checkpoint, of the same specs in the same order.
        checkpoint_seconds: the longest time whose steps a crash may lose.
    """
    cohort = _Cohort(specs)
    if state is not None:
        cohort.load(state)
    since = time.monotonic()
    steps = specs[0].steps
    while cohort.step < steps:
        cohort.advance()
        finished = cohort.step == steps
        if finished or time.monotonic() - since >= checkpoint_seconds:
            yield cohort.block(finished=finished)
            since = time.monotonic()


@final
class _Cohort:
    """The moving parts of one cohort: parameters, optimiser, streams, and what the block will hold."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._spec = specs[0]
        self._streams: RunStreams = self._spec.streams.open([spec.seed for spec in specs])
        by_seed = {spec.seed: spec for spec in specs}
        distinct = [by_seed[seed] for seed in self._streams.seeds]
        self._train, self._test = _load_examples(distinct)
        models = [_build_model(spec) for spec in distinct]
        self._module = models[0]
        self._criterion = cross_entropy
        spread = self._streams.spread
        self._params = {
            n: spread(v).clone() for n, v in stack_runs(map(trainable_parameters, models)).items()
        }
        self._constants = {n: spread(v) for n, v in stack_runs(map(constant_tensors, models)).items()}
        self._optimizer = CohortOptimizer([spec.optimizer for spec in specs], self._params)
        self._privacy = initial_state([spec.plan for spec in specs], next(iter(self._params.values())))
        self._engine = TapeEngine()
        self.step = 0
        self._clear()

    def advance(self) -> None:
        """One step of every run, and an evaluation where one is due."""
        spec = self._spec
        batch = draw_batch(spec.plan.sampler, self._train, self._streams, self.step)
        noisy, self._privacy, record = private_gradient(
            plan=spec.plan,
            engine=self._engine,
            loss=PerExampleLoss(module=self._module, criterion=self._criterion, constants=self._constants),
            params=self._params,
            batch=batch,
            state=self._privacy,
            streams=self._streams.at(self.step),
        )
        self._optimizer.step(noisy)
        self.step += 1
        assert record is not None
        self._records.append(record)
        if self.step % spec.evaluate_every == 0 or self.step == spec.steps:
            self._evaluations.append((self.step, self._evaluate()))

    def _evaluate(self) -> dict[str, Tensor]:
        return evaluate(
            self._module,
            self._criterion,
            self._params,
            self._constants,
            tuple(map(self._streams.spread, self._test.inputs)),
            tuple(map(self._streams.spread, self._test.targets)),
        )

    def block(self, *, finished: bool) -> Block:
        """What happened since the last block."""
        steps = np.array([step for step, _ in self._evaluations], dtype=np.int64)
        names = self._evaluations[0][1] if self._evaluations else {}
        metrics = {
            name: (steps, torch.stack([values[name] for _, values in self._evaluations], 1).double().numpy())
            for name in names
        }
        trace = {
            name: torch.stack([getattr(record, name) for record in self._records], 1).float().numpy()
            for name in TRACE_FIELDS
        }
        finite = torch.stack([torch.isfinite(p).flatten(1).all(1) for p in self._params.values()]).all(0)
        if finished and "loss" in metrics:
            # Finite parameters may still overflow: such a run has no loss to report.
            finite &= torch.from_numpy(np.isfinite(metrics["loss"][1][:, -1]))
        self._clear()
        return Block(
            step=self.step,
            metrics=metrics,
            trace=trace,
            state=None if finished else self._save(),
            finished=finished,
            diverged=~finite.numpy(),
        )

    def load(self, state: bytes) -> None:
        """Go on from a block's checkpoint."""
        saved: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True)
        self.step = saved["step"]
        for name, p in self._params.items():
            p.copy_(saved["params"][name])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._streams.load_state(saved["streams"])

    def _save(self) -> bytes:
        # Clipping and noise need no entry: their states hold the specs' numbers and never change.
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "params": self._params,
            "optimizer": self._optimizer.state_dict(),
            "streams": self._streams.state(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def _clear(self) -> None:
        self._records: list[StepRecord] = []
        self._evaluations: list[tuple[int, dict[str, Tensor]]] = []


def _load_examples(specs: Sequence[RunSpec]) -> tuple[Examples, Examples]:
    """Training and test examples of the distinct seeds; once if the data does not depend on the seed."""
    data = [_load_data(spec) for spec in specs]
    if all(d is data[0] for d in data):
        data = data[:1]

    def stacked(name: str) -> Tensor:
        return torch.stack([torch.from_numpy(getattr(d, name)) for d in data])

    return (
        Examples(inputs=(stacked("train_inputs"),), targets=(stacked("train_targets"),)),
        Examples(inputs=(stacked("test_inputs"),), targets=(stacked("test_targets"),)),
    )


def _load_data(spec: RunSpec) -> ArrayDataset:
    """The data of a run: its factory is called with the run's seed and the options."""
    data = spec.data.resolve()(seed=spec.seed, **spec.data.options)
    if not isinstance(data, ArrayDataset):
        raise SpecError(f"data must be an ArrayDataset, found {type(data).__name__} from {spec.data.target}")
    return data


def _build_model(spec: RunSpec) -> nn.Module:
    """The model of a run, initialised from its seed without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        model = spec.model.resolve()(**spec.model.options)
    if not isinstance(model, nn.Module):
        raise SpecError(
            f"model must be a torch.nn.Module, found {type(model).__name__} from {spec.model.target}"
        )
    return model
