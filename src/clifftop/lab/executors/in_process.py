"""One job after another, in the process that asks."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import final

from clifftop.lab.jobs import Job, Outcome, Trainer, train


@final
@dataclass(frozen=True, kw_only=True)
class InProcess:
    """Trains one job after another in this process."""

    @property
    def most_workers(self) -> int:
        """1."""
        return 1

    def run(self, trainer: Trainer, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """See `clifftop.lab.jobs.Executor.run`."""
        for job in jobs:
            for outcome in train(trainer, job):
                yield job, outcome
