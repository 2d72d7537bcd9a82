"""Checks that every store of runs must pass, and a toy study to try stores, executors and sweeps with.

A test of a store parametrises over `STORE_CHECKS` and calls each with a function that opens the same,
at first empty, store again and again::

    @pytest.mark.parametrize("check", STORE_CHECKS)
    def test_store(check, tmp_path):
        check(lambda: Store.open(tmp_path, study="toy"))

The toy study has no model and no data: a run's numbers are a chaotic recurrence that starts from the
seed, so that a lost, repeated or misplaced step, or a state given to the wrong run, changes all that
follows.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.lab.contract import BlockLike, Checkpoint, RunStore, Status, StoreError
from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec

OpenStore = Callable[[], AbstractContextManager[RunStore]]


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


@final
@dataclass(frozen=True, kw_only=True)
class ToyTrainer:
    """Trains toy runs; the result is a pure function of each spec.

    A run whose noise multiplier is 100 or more diverges at its end.

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
        while first < steps:
            self._before(specs, first)
            last = min(first + self.block_steps, steps)
            history = np.empty((len(specs), last - first))
            for column, step in enumerate(range(first + 1, last + 1)):
                values = _advance(specs, values, step)
                history[:, column] = values
            yield _block(specs, history, first, last)
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


def _block(specs: Sequence[RunSpec], history: NDArray[np.float64], first: int, last: int) -> ToyBlock:
    finished = last == specs[0].steps
    steps = np.arange(first + 1, last + 1)
    due = (steps % specs[0].evaluate_every == 0) | (steps == specs[0].steps)
    diverged = np.array([finished and (spec.noise_multiplier or 0.0) >= 100 for spec in specs])
    loss = np.where(diverged[:, None], np.nan, -np.log(np.abs(history) + 1e-3))
    return ToyBlock(
        step=last,
        metrics={"accuracy": (steps[due], history[:, due]), "loss": (steps[due], loss[:, due])},
        trace={"loss": loss.astype(np.float32), "noise_norm": history.astype(np.float32)},
        state=None if finished else struct.pack("<q", last) + history[:, -1].astype("<f8").tobytes(),
        finished=finished,
        diverged=diverged,
    )


def toy_static_key(spec: RunSpec) -> str:
    """Toy runs with equal numbers of steps may train together."""
    return str(spec.steps)


def toy_cohort_size(spec: RunSpec) -> int:
    """Four toy runs train together, or two if they have more than ten steps."""
    return 4 if spec.steps <= 10 else 2


def check_added_once(open_store: OpenStore) -> None:
    """A run that is there already is not added again, also not after reopening."""
    specs = [toy_spec(seed=seed) for seed in range(3)]
    with open_store() as store:
        _must(store.add(specs[:2]) == 2, "add must return how many runs were new")
    with open_store() as store:
        _must(store.add(specs) == 1, "add must leave runs that are there already alone")
        expected = {spec.id: Status.PENDING for spec in specs}
        _must(list(store.statuses().items()) == list(expected.items()), "runs must be pending, in order")


def check_blocks_kept(open_store: OpenStore) -> None:
    """A reopened store has every number, and the last block's checkpoint until the cohort has finished."""
    specs = [toy_spec(seed=seed) for seed in range(3)]
    ids = tuple(spec.id for spec in specs)
    blocks = list(ToyTrainer()(specs))
    with open_store() as store:
        store.add(specs)
    for count, block in enumerate(blocks, start=1):
        with open_store() as store:
            store.commit(ids, block)
        with open_store() as store:
            _must(_numbers(store) == _expected(specs, blocks[:count]), "every number must be kept exactly")
            held: list[Checkpoint] = []
            if block.state is not None:
                held.append(Checkpoint(run_ids=ids, step=block.step, state=block.state))
            _must(store.checkpoints() == held, "a checkpoint must be the last block's")
            status = Status.DONE if block.finished else Status.RUNNING
            _must(set(store.statuses().values()) == {status}, f"runs must be {status}")


def check_divergence_is_a_result(open_store: OpenStore) -> None:
    """A run that diverges keeps its numbers, NaN too, and does not touch its cohort's others."""
    specs = [toy_spec(seed=1), toy_spec(seed=1, noise_multiplier=100.0)]
    blocks = list(ToyTrainer()(specs))
    blocks[0] = replace(_toy(blocks[0]), diverged=np.array([False, True]))
    blocks[-1] = replace(_toy(blocks[-1]), diverged=np.array([False, False]))
    with open_store() as store:
        store.add(specs)
        for block in blocks:
            store.commit([spec.id for spec in specs], block)
        _must(
            list(store.statuses().values()) == [Status.DONE, Status.DIVERGED], "divergence must be remembered"
        )
        _must(_numbers(store) == _expected(specs, blocks), "a diverged run must keep its numbers")


def check_refused_block_leaves_nothing(open_store: OpenStore) -> None:
    """A block that cannot be written whole is not written at all."""
    specs = [toy_spec(seed=seed) for seed in range(2)]
    ids = [spec.id for spec in specs]
    first, second, _ = ToyTrainer()(specs)
    with open_store() as store:
        store.add(specs)
        store.commit(ids, first)
        before = (_numbers(store), store.checkpoints(), store.statuses())
        for run_ids, block in (
            (ids, first),  # recorded already
            ([*ids[:1], "0" * 16], second),  # an unknown run
            (ids, replace(_toy(second), trace=_toy(first).trace, step=2)),  # new metrics, old trace
        ):
            _refused(lambda run_ids=run_ids, block=block: store.commit(run_ids, block))
            after = (_numbers(store), store.checkpoints(), store.statuses())
            _must(after == before, "a refused block must leave the store as it was")
        store.commit(ids, second)
        _must(store.checkpoints()[0].step == 4, "a store must go on after it has refused a block")


def check_forgets_whole_cohorts(open_store: OpenStore) -> None:
    """Reset and fail forget the runs named and the rest of their cohort under way, and nothing else."""
    specs = [toy_spec(seed=seed) for seed in range(6)]
    ids = [spec.id for spec in specs]
    under_way, other = next(iter(ToyTrainer()(specs[:3]))), list(ToyTrainer()(specs[3:]))
    with open_store() as store:
        store.add(specs)
        for block in other:
            store.commit(ids[3:], block)
        kept = _numbers(store)
        store.commit(ids[:3], under_way)
        store.reset(ids[1:2])
        _must(_numbers(store) == kept, "a reset must forget the cohort's numbers and keep all others")
        store.commit(ids[:3], under_way)
        store.fail(ids[:2], "ValueError: because")
        _must(_numbers(store) == kept and store.checkpoints() == [], "a failure must forget the cohort")
        expected = [Status.FAILED, Status.FAILED, Status.PENDING, *[Status.DONE] * 3]
        _must(list(store.statuses().values()) == expected, "only the runs named must be failed")
        errors = store.query("SELECT DISTINCT error FROM run WHERE status = 'failed'")
        _must(errors == [("ValueError: because",)], "the error must be kept")
        store.commit(ids[:3], under_way)
        _must(
            store.query("SELECT count(*) FROM run WHERE error IS NOT NULL") == [(0,)],
            "a retry must clear errors",
        )


def check_one_writer(open_store: OpenStore) -> None:
    """The right to train has one holder, can be taken again, and does not keep readers out."""
    with open_store() as first, open_store() as second:
        with first.exclusive():
            _refused(lambda: second.exclusive().__enter__())
            _must(second.statuses() == {}, "a reader must not be kept out")
        with second.exclusive():
            _refused(lambda: first.exclusive().__enter__())


def check_timeline(open_store: OpenStore) -> None:
    """Events are kept in order with their details."""
    with open_store() as store:
        store.record("started", runs=3)
        store.record("ended", seconds=1.5, why="done")
    with open_store() as store:
        rows = store.query("SELECT kind, detail FROM event ORDER BY key")
        _must(
            rows == [("started", '{"runs": 3}'), ("ended", '{"seconds": 1.5, "why": "done"}')],
            "events must be kept",
        )


STORE_CHECKS: tuple[Callable[[OpenStore], None], ...] = (
    check_added_once,
    check_blocks_kept,
    check_divergence_is_a_result,
    check_refused_block_leaves_nothing,
    check_forgets_whole_cohorts,
    check_one_writer,
    check_timeline,
)
"""Each takes a function that opens the same store, empty before its first call."""


def _must(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def _refused(call: Callable[[], object]) -> None:
    try:
        call()
    except StoreError as error:
        _must("\n" not in str(error), f"an error must be one line, found {error!s}")
    else:
        raise AssertionError("the call must be refused with StoreError")


def _toy(block: BlockLike) -> ToyBlock:
    assert isinstance(block, ToyBlock)
    return block


def _numbers(store: RunStore) -> set[tuple[object, ...]]:
    """Every metric and every traced number, in a form that compares NaN as equal to itself."""
    metrics = store.query("SELECT id, name, metric.step, value FROM metric JOIN run ON run = run.key")
    traces = store.query("SELECT id, name, first_step, vals FROM trace JOIN run ON run = run.key")
    numbers: set[tuple[object, ...]] = {("metric", *row) for row in metrics}
    return numbers | {("trace", *row) for row in traces}


def _expected(specs: Sequence[RunSpec], blocks: Sequence[BlockLike]) -> set[tuple[object, ...]]:
    rows: set[tuple[object, ...]] = set()
    for block in blocks:
        for r, spec in enumerate(specs):
            for name, (steps, values) in block.metrics.items():
                numbers = [None if math.isnan(value) else value for value in values[r].tolist()]
                rows |= {
                    ("metric", spec.id, name, *pair) for pair in zip(steps.tolist(), numbers, strict=True)
                }
            for name, values in block.trace.items():
                row = values[r].astype("<f4")
                rows.add(("trace", spec.id, name, block.step - len(row) + 1, row.tobytes()))
    return rows
