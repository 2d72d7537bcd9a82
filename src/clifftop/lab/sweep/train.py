"""Training a sweep: the runs into a store, what each costs beside them, and the cost of the search."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from clifftop.lab.arms import arm_of
from clifftop.lab.costs import SearchCost, search_cost
from clifftop.lab.facts import keep_facts
from clifftop.lab.jobs import Executor
from clifftop.lab.machine import require_device, sizes_on, threads_for, trainer_on
from clifftop.lab.runner import Progress, SweepError, SweepResult, run_sweep
from clifftop.lab.spec import RunSpec
from clifftop.lab.store import Store
from clifftop.lab.sweep.base import Sweep
from clifftop.lab.sweep.best import Cell, best_of, cells
from clifftop.lab.sweep.fit import Loaded
from clifftop.lab.sweep.planned import Entry, entries, prepare, with_secret
from clifftop.lab.sweep.search import Point, Scored
from clifftop.vocabulary import Arm

SWEEP_ARTIFACT = "sweep.json"
COST_ARTIFACT = "cost.json"
SECRET_ARTIFACT = "secret"
_SECRET_BYTES = 32

_NOTHING = SweepResult(runs=0, trained=0, diverged=0, failures=(), training_seconds=0.0, seconds=0.0)


@final
@dataclass(frozen=True, kw_only=True)
class TrainedSweep:
    """What the training of a sweep came to.

    Attributes:
        sweep: what was trained.
        folder: holds the store.
        num_examples: N, the fewest training rows of any run.
        result: counts of runs and seconds of training; ``seconds`` is from the call to its end.
        best: the best setting at each level of privacy, the most private first.
        cost: what the search cost, every run that the folder holds counted.
    """

    sweep: Sweep
    folder: Path
    num_examples: int
    result: SweepResult
    best: tuple[Cell, ...]
    cost: SearchCost


def train_sweep(
    sweep: Sweep,
    folder: Path | str,
    *,
    executor: Executor | Callable[[int], Executor] | None = None,
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
) -> TrainedSweep:
    """Train what is missing of a sweep, and say what the search cost.

    The same call starts, resumes and extends: runs that the folder holds are not trained again, and a
    sweep of the same name with more values adds runs.

    Args:
        sweep: what to train.
        folder: of the results; nothing is written there if the sweep cannot be trained.
        executor: who trains, or what chooses one by the steps of all runs; by default this process.
        progress: called as blocks come in.
        device: where to train, as torch names it.

    Raises:
        ValueError: there is no such device here.
        SweepFault: model, data and loss do not fit together, or a factory raises.
        StoreError: the folder belongs to a sweep of another name, or cannot be used.
        SweepError: some runs failed; everything else was trained and recorded.
    """
    started = time.perf_counter()
    require_device(device)
    first, data = prepare(sweep)
    if callable(executor):
        executor = executor(sum(entry.spec.steps for entry in first))
    with Store.open(folder, study=sweep.name) as store, threads_for(first[0].spec):
        store.put_artifact(SWEEP_ARTIFACT, sweep.canonical.encode("ascii"))
        points = _points(first)
        keep_facts(store, sweep, points, data=data, device=device)
        training = _Training(sweep, store, executor, progress, device)
        training.train(first)
        training.search(data)
        if len(training.points) > len(points):
            keep_facts(store, sweep, training.points, data=data, device=device)
        rows = min(map(data.count, training.points))
        cost = _cost(sweep, store, training.specs, rows)
        best = best_of(sweep, cells(sweep, store, training.specs))
    result = replace(training.result, seconds=time.perf_counter() - started)
    if result.failures:
        raise SweepError(result)
    return TrainedSweep(
        sweep=sweep,
        folder=Path(folder),
        num_examples=rows,
        result=result,
        best=tuple(best),
        cost=cost,
    )


@final
class _Training:
    """The rounds of a search, one after the other."""

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        executor: Executor | None,
        progress: Callable[[Progress], None] | None,
        device: str,
    ) -> None:
        self._sweep, self._store = sweep, store
        self._secret = _secret_of(store) if sweep.secret_seeds else None
        self._executor, self._progress, self._device = executor, progress, device
        self.specs: dict[str, RunSpec] = {}
        self.points: list[Point] = []
        self.result = _NOTHING

    def train(self, found: Sequence[Entry]) -> None:
        """Train one round; what failed is in the result."""
        found = found if self._secret is None else with_secret(found, self._secret)
        specs = [entry.spec for entry in found]
        self.specs |= {spec.id: spec for spec in specs}
        self.points += _points(found)
        self._store.add(specs)
        self._store.describe(entry.setting for entry in found)
        try:
            result = run_sweep(
                self._store,
                specs,
                executor=self._executor,
                trainer=trainer_on(self._device, self._executor, per_layer=self._sweep.per_layer),
                cohort_size=sizes_on(self._device, self._executor, self._store),
                progress=self._progress,
            )
        except SweepError as error:
            result = error.result
        self.result = _sum(self.result, result)

    def search(self, data: Loaded) -> None:
        """Train the later rounds of a search that looks at the earlier ones."""
        while not self.result.failures:
            points = self._sweep.search.ask(self._sweep.axes_in_order, self._scored())
            if not points:
                return
            self.train(entries(self._sweep, points, data))

    def _scored(self) -> list[Scored]:
        goal, found = self._sweep.goal, cells(self._sweep, self._store, self.specs)
        return [
            Scored(point=cell.point, score=-math.inf if math.isnan(cell.score) else goal.score(cell.score))
            for cell in found
            if cell.asked
        ]


def _points(found: Sequence[Entry]) -> list[Point]:
    """Where the runs lie that train the sweep's own model."""
    return [entry.setting.point for entry in found if arm_of(entry.spec) is not Arm.ORIGINAL]


def _secret_of(store: Store) -> int:
    """The folder's secret, drawn by the operating system the first time."""
    # One statement, so that of two processes that start together one draws and both use it.
    store.query(
        "INSERT OR IGNORE INTO artifact (name, at, content) "
        "VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?)",
        (SECRET_ARTIFACT, secrets.token_bytes(_SECRET_BYTES)),
    )
    known = store.artifact(SECRET_ARTIFACT)
    assert known is not None
    return int.from_bytes(known, "big")


def _cost(sweep: Sweep, store: Store, specs: Mapping[str, RunSpec], num_examples: int) -> SearchCost:
    """What every run of the store cost together: a search is all that was ever trained for it."""
    everything = specs if len(store.statuses()) == len(specs) else store.specs()
    cost = search_cost(
        list(everything.values()), num_examples=num_examples, delta=sweep.delta, public=sweep.public
    )
    store.put_artifact(COST_ARTIFACT, json.dumps(cost.to_json(), sort_keys=True).encode())
    return cost


def _sum(one: SweepResult, other: SweepResult) -> SweepResult:
    return SweepResult(
        runs=one.runs + other.runs,
        trained=one.trained + other.trained,
        diverged=one.diverged + other.diverged,
        failures=one.failures + other.failures,
        training_seconds=one.training_seconds + other.training_seconds,
        seconds=one.seconds + other.seconds,
    )
