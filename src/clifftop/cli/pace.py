"""How fast a sweep goes, and how long it still takes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from clifftop.lab import Progress

_SHORT_SECONDS, _LONG_SECONDS = 10.0, 60.0
_GRAIN_SECONDS = 0.25  # of the record: blocks may come by the hundred a second


@final
@dataclass(frozen=True, kw_only=True)
class Rates:
    """Work done per second over the last while."""

    runs: float
    steps: float


@final
@dataclass(frozen=True)
class _Mark:
    at: float
    runs: int
    steps: int


def begins_round(before: Progress, now: Progress) -> bool:
    """Whether a search went on to its next round between the two: counts are of one round each."""
    return now.steps_total != before.steps_total or now.steps_done < before.steps_done


@final
class Pace:
    """Counts of the last minute, from the first block of this process on.

    What an earlier process had done, or an earlier round of a search, is in the first count and so in no
    difference: a sweep that is resumed does not start with a pace that nobody can keep.
    """

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._last: Progress | None = None

    def tell(self, progress: Progress, now: float) -> None:
        """Take in a block, told at ``now`` seconds."""
        mark = _Mark(now, progress.runs_done, progress.steps_done)
        if self._last is not None and begins_round(self._last, progress):
            self._marks.clear()
        self._last = progress
        if len(self._marks) > 1 and now - self._marks[-2].at < _GRAIN_SECONDS:
            self._marks.pop()
        self._marks.append(mark)
        while len(self._marks) > 2 and self._marks[1].at < now - _LONG_SECONDS:
            self._marks.popleft()

    def rates(self, now: float) -> Rates | None:
        """Over the last ten seconds or so; None before the second block."""
        return self._since(now - _SHORT_SECONDS, now)

    def seconds_left(self, now: float) -> float | None:
        """By the steps of the last minute; None before the second block."""
        rates = self._since(now - _LONG_SECONDS, now)
        if rates is None or rates.steps <= 0 or self._last is None:
            return None
        steps_left = self._last.steps_total - self._last.steps_done
        return max(0.0, steps_left / rates.steps - (now - self._marks[-1].at))

    def _since(self, start: float, now: float) -> Rates | None:
        """From the last mark at or before ``start``, up to the newest one, or to now where that is late."""
        if len(self._marks) < 2:
            return None
        first = self._marks[0]
        for mark in list(self._marks)[1:-1]:
            if mark.at > start:
                break
            first = mark
        last = self._marks[-1]
        usual = (last.at - self._marks[0].at) / (len(self._marks) - 1)
        waited = now - last.at
        seconds = (last.at - first.at) + (waited if waited > max(_SHORT_SECONDS, 2 * usual) else 0.0)
        if seconds <= 0:
            return None
        return Rates(runs=(last.runs - first.runs) / seconds, steps=(last.steps - first.steps) / seconds)
