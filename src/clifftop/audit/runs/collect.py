"""Train, block by block, and keep what the audit needs; a budget decides how many runs, never a score."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.runs.protocol import Flags, Observed, Releases, TrainingUnderTest
from clifftop.audit.runs.scores import Scores, log_likelihood_ratios
from clifftop.audit.runs.tally import Tally, tally
from clifftop.events.base import require_count, require_positive

Progress: TypeAlias = Callable[[float, str], None]
"""Told how far an audit is, from 0 to 1, and what it is at."""

BLOCK_BYTES = 1 << 26
"""What the releases of one block may take; about four times as much is used at once."""
FIRST_BLOCK = 4
"""Runs of the first block, whose time is not counted: some of it is spent once only."""
MOST_RUNS = 1 << 14
MOST_TRAJECTORIES = 1 << 14
TRAJECTORIES_A_RUN = 128
SHARE_OF_TRAINING = 0.75
"""Of a budget; the rest is for judging, which hardly depends on how many runs there are."""


class UnusableRuns(ValueError):
    """A training does not show what it must, so that nothing can be said of it; one line."""


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of R runs with k canaries.

    Attributes:
        scores: ``(R, k)`` log-likelihood ratios.
        present: ``(R, k)`` the coins.
        seen: sums over all runs.
        trajectories: ``(R', c, T)`` releases along the first canaries of the first runs, for the learned
            attack; its coins are the same part of ``present``.
        seconds: CPU time of training and scoring.
    """

    scores: Scores
    present: Flags
    seen: Tally
    trajectories: Releases
    seconds: float

    @property
    def runs(self) -> int:
        """R."""
        return len(self.present)

    @property
    def num_canaries(self) -> int:
        """How many in each run."""
        return self.present.shape[1]


@final
class _Blocks:
    """The runs that were seen, and what they took."""

    def __init__(self, training: TrainingUnderTest, *, seed: int) -> None:
        self._training, self._seed = training, seed
        self._coins = np.random.default_rng([seed, 1])
        self._scores: list[Scores] = []
        self._present: list[Flags] = []
        self._trajectories: list[Releases] = []
        self._kept = 0
        self._seen: Tally | None = None
        self.runs = 0
        self.seconds = 0.0

    def more(self, runs: int) -> float:
        """Train as many more and return their CPU seconds."""
        start = time.process_time()
        present: NDArray[np.bool_] = self._coins.random((runs, self._training.num_canaries)) < 0.5
        observed = observed_of(self._training, present, seed=block_seed(self._seed, len(self._present)))
        self._scores.append(log_likelihood_ratios(observed.releases, self._training.claim))
        self._present.append(present)
        kept = min(TRAJECTORIES_A_RUN, self._training.num_canaries)
        room = max(0, MOST_TRAJECTORIES // kept - self._kept)
        self._trajectories.append(observed.releases[:room, :, :kept].transpose(0, 2, 1).copy())
        self._kept += len(self._trajectories[-1])
        block = tally(observed)
        self._seen = block if self._seen is None else self._seen + block
        self.runs += runs
        taken = time.process_time() - start
        self.seconds += taken
        return taken

    def evidence(self) -> Evidence:
        """All of it."""
        assert self._seen is not None
        return Evidence(
            scores=np.concatenate(self._scores),
            present=np.concatenate(self._present),
            seen=self._seen,
            trajectories=np.concatenate(self._trajectories),
            seconds=self.seconds,
        )


def collect(
    training: TrainingUnderTest,
    *,
    runs: int | None,
    budget_seconds: float | None,
    seed: int,
    progress: Progress | None = None,
) -> Evidence:
    """Train ``runs`` models, or as many as three quarters of ``budget_seconds`` of CPU allow, at least four.

    The number of runs follows from sizes and from the time that the first ones took, never from a score.

    Errors: ValueError unless exactly one of the two is given, and at least four runs.
    """
    if (runs is None) == (budget_seconds is None):
        raise ValueError(
            f"give runs or budget_seconds, one of the two, found runs={runs} budget_seconds={budget_seconds}"
        )
    blocks = _Blocks(training, seed=seed)
    tell = progress or _silent
    largest = _block_runs(training)
    sizes = _timed(blocks, float(budget_seconds or 0.0), largest) if runs is None else _counted(runs, largest)
    for size, done in sizes:
        tell(done, f"training {size} more runs")
        blocks.more(size)
    return blocks.evidence()


def observed_of(training: TrainingUnderTest, present: Flags, *, seed: int) -> Observed:
    """What the training shows of these runs.

    Raises:
        UnusableRuns: it is not asked so, shows something else, or other runs or steps than the claim has.
    """
    try:
        inspect.signature(training.observe).bind(present, seed=seed)
    except TypeError as error:
        raise UnusableRuns(
            f"a training must be asked as observe(present, seed=), found: {error}; name its arguments so"
        ) from error
    observed = training.observe(present, seed=seed)
    if not isinstance(observed, Observed):
        raise UnusableRuns(
            f"observe must return clifftop.audit.runs.Observed, found {type(observed).__name__}; give it "
            "releases and present"
        )
    asked = (len(present), training.claim.steps, training.num_canaries)
    if observed.releases.shape != asked:
        raise UnusableRuns(
            f"releases must be (R, T, k) = {asked}, the runs that were asked for, the claim's steps and the "
            f"canaries, found {observed.releases.shape}; release along each canary in every step"
        )
    return observed


def block_seed(seed: int, block: int) -> int:
    """The seed of one block of runs."""
    return int.from_bytes(hashlib.sha256(f"clifftop/audit/{seed}/block/{block}".encode()).digest()[:7])


def _counted(runs: int, largest: int) -> Iterator[tuple[int, float]]:
    require_count("runs", runs)
    if runs < FIRST_BLOCK:
        raise ValueError(
            f"runs must be at least {FIRST_BLOCK}, found runs={runs}: half of them choose what the others "
            "judge; for a single run see clifftop.audit.one_run"
        )
    done = 0
    while done < runs:
        size = min(largest, runs - done)
        yield size, done / runs
        done += size


def _timed(blocks: _Blocks, budget: float, largest: int) -> Iterator[tuple[int, float]]:
    """Blocks until the next would not fit: first a small one, then by the time of a run in the last."""
    require_positive("budget_seconds", budget, advice="20 shows 0.9 of the truth for a small model")
    available = SHARE_OF_TRAINING * budget
    yield FIRST_BLOCK, 0.0
    before, second = blocks.seconds, min(largest, 2 * FIRST_BLOCK)
    if before + second * before / FIRST_BLOCK > available:
        return  # a slow training: what there is has to do
    yield second, min(1.0, before / available)
    a_run = (blocks.seconds - before) / second
    while blocks.runs < MOST_RUNS:
        size = min(largest, int((available - blocks.seconds) / max(a_run, 1e-9)))
        if size < 2 * FIRST_BLOCK:
            return
        before = blocks.seconds
        yield size, min(1.0, before / available)
        a_run = (blocks.seconds - before) / size


def _block_runs(training: TrainingUnderTest) -> int:
    a_run = 4 * training.claim.steps * training.num_canaries
    return max(2 * FIRST_BLOCK, BLOCK_BYTES // a_run)


def _silent(done: float, what: str) -> None:
    del done, what
