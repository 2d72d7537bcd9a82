"""A toy sweep as a process of its own, for tests that kill it; also the faults that a trainer can have.

Usage: python sweep_script.py FOLDER LOG in_process|pool PAUSE [kill_before_block N | kill_in_commit N]
"""

import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from clifftop.lab.executors import InProcess, ProcessPool
from clifftop.lab.runner import run_sweep
from clifftop.lab.store import Store
from clifftop.testing.stores import ToyTrainer, toy_cohort_size, toy_spec, toy_static_key


def study():
    """8 runs in 3 cohorts of two kinds; three runs diverge."""
    short = [
        toy_spec(seed=seed, noise_multiplier=sigma) for seed in range(3) for sigma in (0.5, 100.0 + seed % 2)
    ]
    return [*short, *(toy_spec(seed=seed, steps=12) for seed in range(2))]


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Does ``what`` when a cohort with a run of this seed has done ``step`` steps; with a marker, once."""

    what: str
    seed: int
    step: int
    marker: Path | None = None

    def __call__(self, specs, step):
        if step != self.step or all(spec.seed != self.seed for spec in specs):
            return
        if self.marker is not None:
            if self.marker.exists():
                return
            self.marker.touch()
        if self.what == "raise":
            raise ValueError("the toy\nbroke")
        die()


def large_state(specs, *, state=None):
    """The toy trainer with states of 6 MB."""
    for block in ToyTrainer()(specs, state=None if state is None else state[:24]):
        yield block if block.finished else replace(block, state=block.state + bytes(6_000_000))


class Countdown:
    """Dies at the n-th call."""

    def __init__(self, count):
        self.count = count

    def __call__(self, *_):
        self.count -= 1
        if self.count == 0:
            die()


def kill_in_commit(store, count):
    """Die in the middle of the n-th transaction that writes numbers: after metrics, before the checkpoint."""
    countdown = Countdown(count)
    store._db.create_function("countdown", 0, countdown)
    store._db.execute(
        "CREATE TEMP TRIGGER dying AFTER INSERT ON main.event WHEN NEW.kind = 'block' "
        "BEGIN SELECT countdown(); END"
    )


def main():
    folder, log, executor, pause, *fault = sys.argv[1:]
    trainer = ToyTrainer(log=Path(log), pause=float(pause))
    if fault[:1] == ["kill_before_block"]:
        trainer = ToyTrainer(log=Path(log), fault=Countdown(int(fault[1])))
    with Store.open(folder, study="toy") as store:
        if fault[:1] == ["kill_in_commit"]:
            kill_in_commit(store, int(fault[1]))
        run_sweep(
            store,
            study(),
            executor=InProcess() if executor == "in_process" else ProcessPool(workers=2),
            trainer=trainer,
            static_key=toy_static_key,
            cohort_size=toy_cohort_size,
            progress=lambda progress: print(progress.steps_done, flush=True),
        )


if __name__ == "__main__":
    main()
