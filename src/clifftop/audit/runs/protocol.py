"""What the audit of a training asks of it: train several models with canaries, and say what was released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.runs.claim import TrainingClaim

Flags: TypeAlias = NDArray[np.bool_]
Releases: TypeAlias = NDArray[np.float32]


@final
@dataclass(frozen=True, kw_only=True)
class Observed:
    """What R trainings with k canaries released over T steps.

    Attributes:
        releases: ``(R, T, k)`` the inner product of each released sum (noise included, before any division)
            with each canary's direction, divided by the clip norm. A canary that is in the batch adds 1 to
            its own, and noise of the claimed scale has the noise multiplier as its standard deviation.
        present: ``(R, k)`` whether the canary was in the data of the run.
        drawn: ``(R, T, k)`` whether the sampler drew the canary's place in the data, present or not; None
            where this is not known. With it the audit measures the sampling and the sensitivity, too.

    Raises:
        ValueError: shapes do not agree, or a release is not finite.
    """

    releases: Releases
    present: Flags
    drawn: Flags | None = None

    def __post_init__(self) -> None:
        if self.releases.ndim != 3:
            raise ValueError(
                f"releases must be (R, T, k), found shape {self.releases.shape}; give one number a run, step "
                "and canary"
            )
        runs, _, canaries = self.releases.shape
        if self.present.shape != (runs, canaries):
            raise ValueError(
                f"present must be (R, k) for releases (R, T, k), found {self.present.shape} and "
                f"{self.releases.shape}; give one flag a run and canary"
            )
        if self.drawn is not None and self.drawn.shape != self.releases.shape:
            raise ValueError(
                f"drawn must have the shape of releases, found {self.drawn.shape} and {self.releases.shape}; "
                "give one flag a run, step and canary, or None"
            )
        # One pass without a mask in memory: a sum is finite only if its terms are, or it overflows.
        if not np.isfinite(self.releases.sum(dtype=np.float64)):
            raise ValueError(
                "releases must be finite numbers, found some that are not; a training that releases such "
                "numbers has no privacy to audit"
            )


@runtime_checkable
class TrainingUnderTest(Protocol):
    """A training as an audit sees it. Its canaries have directions that no other example moves along."""

    @property
    def claim(self) -> TrainingClaim:
        """What it is accounted as."""
        ...

    @property
    def num_canaries(self) -> int:
        """How many in each run."""
        ...

    def observe(self, present: Flags, *, seed: int) -> Observed:
        """Train R models; canary j is in the data of run r iff ``present[r, j]``, ``(R, k)``.

        All that is random in a run must be drawn afresh for it, from ``seed`` and its place: calls with
        other seeds are other runs. The audit calls it several times.
        """
        ...
