"""How far a sweep is: counts that follow each block, and are read from the store where others train too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clifftop.lab.contract import BlockLike, RunStore, Status
from clifftop.lab.spec import RunSpec


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a sweep is, after a block, or after a look at what other processes did.

    Attributes:
        runs_done: runs that need no more training, those finished earlier included.
        runs_total: runs asked for.
        steps_done: steps taken so far by all runs asked for; a run that has finished counts in full.
        steps_total: steps of all runs asked for.
        cohorts_done: cohorts of the list of which every run has finished.
        cohorts_total: cohorts that the list was cut into.
        cohort_runs: runs in the cohort that last advanced in this process.
        cohort_step: steps that cohort has done.
        processes: how many processes train into the store, this one included.
        seconds: since the sweep was started this time.
    """

    runs_done: int
    runs_total: int
    steps_done: int
    steps_total: int
    cohorts_done: int
    cohorts_total: int
    cohort_runs: int
    cohort_step: int
    processes: int
    seconds: float


_FINISHED = (Status.DONE, Status.DIVERGED)


@final
class Tally:
    """The runs asked for, and how far each is."""

    def __init__(self, asked: Mapping[str, RunSpec], cohorts: Sequence[Sequence[RunSpec]]) -> None:
        self._asked, self._cohorts = asked, cohorts
        self._home = {spec.id: index for index, cohort in enumerate(cohorts) for spec in cohort}
        self._left = [len(cohort) for cohort in cohorts]
        self._steps = dict.fromkeys(asked, 0)
        self._status = dict.fromkeys(asked, Status.PENDING)
        self._runs_done = self._steps_done = self._cohorts_done = 0
        self._cohort_runs = self._cohort_step = 0
        self._steps_total = sum(spec.steps for spec in asked.values())

    @property
    def counts(self) -> tuple[int, int]:
        """Runs and steps done."""
        return self._runs_done, self._steps_done

    def read(self, store: RunStore) -> None:
        """Take everything from the store."""
        named = {status.value: status for status in Status}
        for run_id, status, step in store.query("SELECT id, status, step FROM run"):
            if run_id in self._asked:
                self._set(run_id, named[status], step)

    def advance(self, run_ids: Sequence[str], block: BlockLike) -> int:
        """Follow a committed block; return how many runs it finished."""
        before = self._runs_done
        rows = zip(
            run_ids, np.asarray(block.trained).tolist(), np.asarray(block.diverged).tolist(), strict=True
        )
        for run_id, trained, diverged in rows:
            if trained:
                status = Status.DONE if block.finished else Status.RUNNING
                self._set(run_id, Status.DIVERGED if diverged else status, block.step)
        self._cohort_runs, self._cohort_step = len(run_ids), block.step
        return self._runs_done - before

    def fail(self, run_ids: Sequence[str]) -> None:
        """Follow a failure."""
        for run_id in run_ids:
            if self._status[run_id] not in _FINISHED:
                self._set(run_id, Status.FAILED, 0)

    def unfinished(self) -> list[str]:
        """Runs that neither finished nor failed."""
        return [
            run_id for run_id, status in self._status.items() if status in (Status.PENDING, Status.RUNNING)
        ]

    def report(self, *, processes: int, seconds: float) -> Progress:
        """The counts."""
        return Progress(
            runs_done=self._runs_done,
            runs_total=len(self._asked),
            steps_done=self._steps_done,
            steps_total=self._steps_total,
            cohorts_done=self._cohorts_done,
            cohorts_total=len(self._left),
            cohort_runs=self._cohort_runs,
            cohort_step=self._cohort_step,
            processes=processes,
            seconds=seconds,
        )

    def _set(self, run_id: str, status: Status, step: int) -> None:
        finished = status in _FINISHED
        change = finished - (self._status[run_id] in _FINISHED)
        reached = self._asked[run_id].steps if finished else step
        self._runs_done += change
        home = self._home[run_id]
        self._cohorts_done -= self._left[home] == 0
        self._left[home] -= change
        self._cohorts_done += self._left[home] == 0
        self._steps_done += reached - self._steps[run_id]
        self._steps[run_id], self._status[run_id] = reached, status
