"""Training the trials of a tuning, of which only the best is ever kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, final

import numpy as np

from clifftop.lab.cohort import Block, cohort_size, static_key, train_cohort
from clifftop.lab.jobs import Executor, Failed, Job, Trained, Trainer
from clifftop.lab.tuning.design import Design
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.scores import WORST
from clifftop.lab.tuning.state import Arrays, Drawn, Leader, Memory, cohorts_of
from clifftop.lab.tuning.trials import Trial, draw_trials, new_secret, require_sound, secret_generator

KEEPING: Trainer = functools.partial(train_cohort, keep_parameters=True)


def begin(design: Design, memory: Memory) -> Drawn:
    """The trials: as they were drawn when the tuning began, or drawn now and written down.

    Raises:
        TuneError: they were drawn for another tuning, or are not independent.
    """
    drawn = memory.drawn()
    if drawn is None:
        memory.require_empty()
        secret = new_secret()
        trials = draw_trials(design, secret)
        groups = _groups(trials)
        sizes = [cohort_size(trials[group[0]].spec) for group in groups]
        cohorts = cohorts_of(groups, sizes)
        drawn = Drawn(design=design.id, secret=secret, trials=trials, cohorts=cohorts)
        require_sound(design, trials)
        memory.keep_drawn(drawn)
    if drawn.design != design.id:
        raise TuneError(
            "a tuning must go on as it began, found a folder with another one under way (sweep, law, mean, "
            "target or rows differ); give its own settings, or end it with --abandon"
        )
    require_sound(design, drawn.trials)
    return drawn


def compete(
    design: Design, drawn: Drawn, memory: Memory, *, executor: Executor, trainer: Trainer = KEEPING
) -> Leader | None:
    """Train what is left, and return the best trial of all; None if there was no trial.

    The order in which cohorts are trained changes nothing.

    Raises:
        TuneError: a trial could not be trained. It cannot be left out, so nothing is released.
    """
    contest = _Contest(design, drawn, memory)
    jobs = contest.jobs()
    with closing(executor.run(trainer, jobs)) as outcomes:
        for job, outcome in outcomes:
            if isinstance(outcome, Failed):
                raise TuneError(
                    f"every trial must be trained, found one that failed ({outcome.error}); nothing was "
                    "released: mend it and run the same command, which goes on with the same trials"
                )
            if isinstance(outcome, Trained):
                contest.take(job, outcome.block)
    return memory.done().leader


@final
class _Contest:
    """The one consumer of what the executor hands back."""

    def __init__(self, design: Design, drawn: Drawn, memory: Memory) -> None:
        self._design, self._drawn, self._memory = design, drawn, memory
        self._cohorts: dict[tuple[str, ...], int] = {}

    def jobs(self) -> list[Job]:
        """The cohorts that are not done, each from where it was."""
        done = set(self._memory.done().cohorts)
        found: list[Job] = []
        for number, places in enumerate(self._drawn.cohorts):
            if number in done:
                self._memory.forget_checkpoint(number)  # it may have stayed where the process was killed
                continue
            step, state = self._memory.checkpoint(number)
            job = Job(specs=tuple(self._drawn.trials[place].spec for place in places), state=state, step=step)
            self._cohorts[job.run_ids] = number
            found.append(job)
        return found

    def take(self, job: Job, block: Any) -> None:
        """Keep a checkpoint, or of a cohort that is done the best trial, if it is the best of all."""
        number = self._cohorts[job.run_ids]
        if not block.finished:
            self._memory.keep_checkpoint(number, block.step, block.state)
            return
        before = self._memory.done()
        leader, parameters = before.leader, None
        for row, place in enumerate(self._drawn.cohorts[number]):
            own = _row(block, row)
            score = self._score(place, block, row, own)
            candidate = Leader(trial=place, score=score, file=f"trial-{place}.npz")
            if candidate.beats(leader):
                leader, parameters = candidate, own
        done = replace(before, cohorts=(*before.cohorts, number), leader=leader)
        self._memory.keep_done(done, parameters)
        self._memory.forget_checkpoint(number)

    def _score(self, place: int, block: Block, row: int, parameters: Arrays) -> float:
        if not all(np.isfinite(array).all() for array in parameters.values()):
            return WORST
        steps, values = block.metrics[self._design.sweep.goal.metric]
        assert steps[-1] == self._drawn.trials[place].spec.steps
        rng = secret_generator(self._drawn.secret, "score", place)
        return self._design.score.score(float(values[row, -1]), rng)


def _row(block: Block, row: int) -> Arrays:
    """One run's parameters."""
    if block.parameters is None:
        raise TuneError(
            "a trainer must hand back the parameters of a tuning, found none; keep_parameters=True"
        )
    parameters: Mapping[str, Any] = block.parameters
    return {name: value[row].copy() for name, value in parameters.items()}


def _groups(trials: tuple[Trial, ...]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, trial in enumerate(trials):
        groups.setdefault(static_key(trial.spec), []).append(place)
    return list(groups.values())
