"""What a tuning must remember to go on after it was stopped: its trials, what is done, the best so far.

Drawing the number of trials again after a crash would change its law, and with it what may be claimed; so
trials are written down before the first is trained, and read back ever after. Of the trials that are done
only the best is kept.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.codec import CodecError, canonical_json, from_json
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.secret import SecretFolder
from clifftop.lab.tuning.trials import Trial

DRAWN, DONE = "drawn.json", "done.json"
_STEP_BYTES = 8

Arrays = Mapping[str, NDArray[np.floating[Any]]]


@final
@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn before the first trial.

    Attributes:
        design: the id of the design that it was drawn for.
        secret: everything random follows from it.
        trials: in the order that breaks ties.
        cohorts: which trials train together, by their places.
    """

    design: str
    secret: int = field(repr=False)
    trials: tuple[Trial, ...] = field(repr=False)
    cohorts: tuple[tuple[int, ...], ...] = field(repr=False)


@final
@dataclass(frozen=True, kw_only=True)
class Leader:
    """The best trial so far.

    Attributes:
        trial: its place.
        score: larger is better.
        file: of its parameters.
    """

    trial: int
    score: float
    file: str

    def beats(self, other: Leader | None) -> bool:
        """Whether it is the better one; of equals it is the first."""
        if other is None:
            return True
        return (self.score, -self.trial) > (other.score, -other.trial)


@final
@dataclass(frozen=True, kw_only=True)
class Done:
    """How far a tuning is."""

    cohorts: tuple[int, ...] = ()
    leader: Leader | None = None


@final
class Memory:
    """A tuning's state in its secret folder."""

    def __init__(self, folder: SecretFolder) -> None:
        self._folder = folder

    def drawn(self) -> Drawn | None:
        """What was drawn; None if nothing was yet.

        Raises:
            TuneError: the file is damaged.
        """
        found = self._folder.read(DRAWN)
        return None if found is None else self._decoded(found, Drawn)

    def require_empty(self) -> None:
        """Refuse a folder that has seen trials but no longer says which.

        Raises:
            TuneError: it has; drawing again would change the law of the number of trials.
        """
        left = [name for name in self._folder.names() if not name.startswith(f"{DRAWN}.")]
        if left:
            raise self._damaged(f"there is no {DRAWN} beside {left[0]}")

    def keep_drawn(self, drawn: Drawn) -> None:
        """Write down what was drawn, before anything is trained."""
        self._folder.write(DRAWN, canonical_json(drawn).encode("ascii"))

    def done(self) -> Done:
        """How far it is."""
        found = self._folder.read(DONE)
        return Done() if found is None else self._decoded(found, Done)

    def keep_done(self, done: Done, parameters: Arrays | None) -> None:
        """Write down that a cohort is done; with the parameters of a new leader, who replaces the last."""
        before = self.done().leader
        if parameters is not None:
            assert done.leader is not None
            self._folder.write(done.leader.file, _packed(parameters))
        self._folder.write(DONE, canonical_json(done).encode("ascii"))
        if before is not None and before != done.leader:
            self._folder.destroy(before.file)

    def parameters(self, leader: Leader) -> Arrays:
        """The parameters of the best trial."""
        found = self._folder.read(leader.file)
        if found is None:
            raise self._damaged(f"there is no {leader.file}")
        with np.load(io.BytesIO(found), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def checkpoint(self, cohort: int) -> tuple[int, bytes | None]:
        """Steps done and the state of a cohort under way."""
        found = self._folder.read(_checkpoint(cohort))
        if found is None:
            return 0, None
        return int.from_bytes(found[:_STEP_BYTES], "big"), found[_STEP_BYTES:]

    def keep_checkpoint(self, cohort: int, step: int, state: bytes) -> None:
        """Write down where a cohort is."""
        self._folder.write(_checkpoint(cohort), step.to_bytes(_STEP_BYTES, "big") + state)

    def forget_checkpoint(self, cohort: int) -> None:
        """Destroy a cohort's checkpoint."""
        self._folder.destroy(_checkpoint(cohort))

    def _decoded(self, content: bytes, expected: type[Any]) -> Any:
        try:
            return from_json(content.decode("ascii"), expected)
        except (CodecError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> TuneError:
        return TuneError(
            f"{self._folder.path} must hold the state of a tuning, found it damaged ({reason}); nothing was "
            "released: clifftop tune --abandon destroys it"
        )


def cohorts_of(groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of trials cut into cohorts of their sizes.

    >>> cohorts_of([[0, 2, 3], [1]], [2, 5])
    ((0, 2), (3,), (1,))
    """
    return tuple(
        tuple(group[start : start + size])
        for group, size in zip(groups, sizes, strict=True)
        for start in range(0, len(group), size)
    )


def _checkpoint(cohort: int) -> str:
    return f"cohort-{cohort}.state"


def _packed(parameters: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(parameters))
    return buffer.getvalue()
