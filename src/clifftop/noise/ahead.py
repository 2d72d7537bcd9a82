"""Normals drawn before they are asked for: of the next step by a thread, or of many steps at once.

Neither changes a number: a step that was not foreseen is drawn when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import numpy as np

from clifftop.noise.keystream import Keystreams
from clifftop.noise.normals import CHUNK, PAIRS, Floats, NormalDrawer, fill_rows, noise_purpose

_MOST_STEPS = 64


@final
class Ahead:
    """Serves a step's normals and starts on the next step's, in two buffers ``(S, P)`` by turns.

    The thread ends with this object, and at the interpreter's exit.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = tuple(seeds)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clifftop-noise")
        self._pending: tuple[tuple[int, int, np.dtype[Any]], Future[Floats]] | None = None
        self._spare: list[Floats] = []

    def take(self, step: int, size: int, dtype: np.dtype[Any]) -> Floats:
        """Normals of every seed, ``(S, size)``; they last until the next call."""
        wanted = (step, size, dtype)
        rows: Floats | None = None
        if self._pending is not None:
            foreseen, future = self._pending
            self._pending = None
            if foreseen == wanted:
                rows = future.result()
            else:
                self._spare = [future.result()]
        if rows is None:
            rows = _draw(self._seeds, step, self._buffer(size, dtype))
        self._pending = (
            (step + 1, size, dtype),
            self._pool.submit(_draw, self._seeds, step + 1, self._buffer(size, dtype)),
        )
        self._spare = [rows]
        return rows

    def _buffer(self, size: int, dtype: np.dtype[Any]) -> Floats:
        spare = self._spare.pop() if self._spare else None
        if spare is not None and spare.shape[1] == size and spare.dtype == dtype:
            return spare
        return np.empty((len(self._seeds), size), dtype=dtype)


@final
class Several:
    """Serves a small model's normals, a bundle of consecutive steps drawn at once.

    Below a few thousand parameters a draw costs what its calls cost, whatever their size.
    """

    def __init__(self, seeds: Sequence[int], keystreams: Keystreams) -> None:
        self._seeds = tuple(seeds)
        self._keystreams = keystreams
        self._first = 0
        self._rows: Floats = np.empty((0, len(self._seeds), 0), dtype=np.float32)

    def suits(self, size: int) -> bool:
        """Whether draws of so many numbers are worth bundling."""
        return 0 < size <= PAIRS and size * len(self._seeds) <= CHUNK // 8

    def take(self, step: int, size: int, dtype: np.dtype[Any]) -> Floats:
        """Normals of every seed, ``(S, size)``; they last until the next call."""
        place = step - self._first
        alike = self._rows.shape[2] == size and self._rows.dtype == dtype
        if not (alike and 0 <= place < len(self._rows)):
            # Bundled only where the steps come one after the other.
            count = CHUNK // 2 // (size * len(self._seeds)) if alike and place == len(self._rows) else 1
            self._first, place = step, 0
            self._rows = self._draw(range(step, step + min(count, _MOST_STEPS)), size, dtype)
        return self._rows[place]

    def _draw(self, steps: range, size: int, dtype: np.dtype[Any]) -> Floats:
        rows = np.empty((len(steps) * len(self._seeds), size), dtype=dtype)
        purpose = noise_purpose(dtype)
        at = self._keystreams.at
        fill_rows([at(seed=seed, purpose=purpose, step=k) for k in steps for seed in self._seeds], rows)
        return rows.reshape(len(steps), len(self._seeds), size)


def _draw(seeds: Sequence[int], step: int, out: Floats) -> Floats:
    drawer, keystreams = NormalDrawer(out.dtype), Keystreams()
    for row, seed in zip(out, seeds, strict=True):
        drawer.fill(keystreams.at(seed=seed, purpose=noise_purpose(out.dtype), step=step), row)
    return out
