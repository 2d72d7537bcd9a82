"""Streams whose every draw comes from a cryptographic keystream: for anything that is released.

AES-128 in counter mode, keyed by HKDF of (seed, purpose), with the step in the counter block: any
step can be drawn first, nothing has to be stored to resume, every rank with the seed draws the same,
and whoever does not know the seed cannot tell the keystream from random bytes. What that does not
cover is in docs/noise.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from clifftop.flow import Params
from clifftop.noise.ahead import Ahead, Several
from clifftop.noise.bits import KeystreamGenerator
from clifftop.noise.keystream import Keystream, Keystreams
from clifftop.noise.normals import CHUNK, Floats, NormalDrawer, noise_purpose, spans
from clifftop.noise.streams import RunStreams, StreamKind, sizes_of

_WORDS_A_BLOCK = 4
_WIDTHS: tuple[np.dtype[Any], ...] = (np.dtype(np.float32), np.dtype(np.float64))
_NATIVE = (torch.float32, torch.float64)


@final
class SecureStreams(RunStreams):
    """Every draw from its own AES keystream.

    Normals are drawn in float32, or in float64 where a tensor is float64, on the CPU; they reach another
    device a chunk of 65536 at a time. The words are the same everywhere; the last bits of a logarithm,
    sine or cosine are those of numpy on the processor at hand.
    """

    def __init__(self, seeds: Sequence[int], *, prefetch: bool = False) -> None:
        super().__init__(seeds)
        self._keystreams = Keystreams()
        self._drawers: dict[np.dtype[Any], NormalDrawer] = {}
        self._chunks: dict[np.dtype[Any], tuple[Floats, Floats]] = {}
        for width in _WIDTHS:
            self._drawers[width] = NormalDrawer(width)
            self._chunks[width] = (np.empty(CHUNK, width), np.empty(CHUNK, width))
        self._several = Several(self.seeds, self._keystreams)
        self._ahead = Ahead(self.seeds) if prefetch else None
        self._seed_of = [self.seeds.index(seed) for seed in seeds]

    def sampling(self, seed: int, step: int) -> np.random.Generator:
        """The generator that draws the batch of ``step``, on a keystream of its own."""
        # A cipher of its own too: a loader's thread may hold it while this one draws noise.
        return KeystreamGenerator(Keystreams().at(seed=seed, purpose="sampling", step=step))

    def uniforms(self, step: int, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniforms in [0, 1) of every distinct seed, ``(S, *shape)``: float32 multiples of 2^-24.

        They are those from row ``offset`` on of what a larger batch draws; none before is drawn.
        """
        start, size = offset * math.prod(shape[1:]), math.prod(shape)
        rest = start % _WORDS_A_BLOCK
        words = np.empty((len(self.seeds), rest + size), dtype=np.uint32)
        for row, seed in zip(words, self.seeds, strict=True):
            stream = self._keystreams.at(seed=seed, purpose=f"uniform/{label}", step=step)
            stream.fill(row, at_byte=4 * (start - rest))
        values = (words[:, rest:] >> np.uint32(8)).astype(np.float32)
        values *= np.float32(2.0**-24)
        return torch.from_numpy(values).view(len(self.seeds), *shape)

    def flat_normals(self, step: int, like: Params) -> Tensor:
        """Standard normals ``(S, P)``, parameters in the order of ``like``."""
        first = next(iter(like.values()))
        width = _width(like)
        size = sum(sizes_of(like))
        rows = np.empty((len(self.seeds), size), dtype=width)
        ready = self._ready(step, size, width)
        for s, row in enumerate(rows):
            if ready is None:
                self._drawers[width].fill(self._keystream(s, step, width), row)
            else:
                row[:] = ready[s]
        return torch.from_numpy(rows).to(device=first.device, dtype=first.dtype)

    def add_normals(self, step: int, value: Params, std: Tensor) -> Params:
        """``value`` plus ``std``, ``(R,)``, times `flat_normals`.

        The results are parts of one new buffer ``(R, P)``, and nothing else of that size is made; the sum
        is taken in float32 at least and then rounded to each tensor's own type.
        """
        wide = torch.float64 if _width(value) == np.float64 else torch.float32
        flat = torch.cat([part.flatten(1) for part in value.values()], dim=1).to(wide)
        self.add_into(step, flat, std)
        noisy: Params = {}
        for (name, like), part in zip(value.items(), flat.split_with_sizes(sizes_of(value), 1), strict=True):
            shaped = part.view(like.shape)
            noisy[name] = shaped if like.dtype == wide else shaped.to(like.dtype)
        return noisy

    def add_into(self, step: int, out: Tensor, std: Tensor, *, offset: int = 0) -> None:
        """Add ``std``, ``(R,)``, times numbers ``offset ..`` of each run's stream to ``out``, ``(R, n)``.

        In place, a chunk at a time: beyond ``out`` it touches buffers of 65536 numbers only. A run whose
        ``std`` is 0 is left as it is. A rank that holds coordinates ``offset .. offset + n`` of a
        sharded gradient draws them alone.

        Raises:
            ValueError: ``out`` has not one row a run.
        """
        if out.dim() != 2 or len(out) != self.num_runs:
            raise ValueError(
                f"out must be (R, n) with R={self.num_runs} runs, found shape={tuple(out.shape)}; "
                "give every run its row"
            )
        width = _WIDTHS[out.dtype == torch.float64]
        stds: list[float] = std.tolist()
        alone = self.num_runs == 1 and offset == 0 and stds[0] != 0
        if alone and self._several.suits(out.shape[1]) and out.dtype in _NATIVE and out.device.type == "cpu":
            self._add_short(step, out, width, stds[0])
            return
        ready = self._ready(step, out.shape[1], width) if offset == 0 and any(stds) else None
        for s in range(len(self.seeds)):
            runs = [r for r in range(self.num_runs) if stds[r] != 0 and self._seed_of[r] == s]
            targets = [(_adder(out[r]), width.type(stds[r])) for r in runs]
            keystream = self._keystream(s, step, width) if runs and ready is None else None
            for start, stop in spans(offset, out.shape[1] if runs else 0):
                normals, scaled = (buffer[: stop - start] for buffer in self._chunks[width])
                if keystream is not None:
                    self._drawers[width].fill(keystream, normals, offset=offset + start)
                elif ready is not None:
                    normals = ready[s, start:stop]
                for add, factor in targets:
                    np.multiply(normals, factor, out=scaled)
                    add(start, stop, scaled)

    def _add_short(self, step: int, out: Tensor, width: np.dtype[Any], std: float) -> None:
        """What `add_into` does, for one run of a small model, in few calls."""
        row: Floats = out.detach().numpy()[0]
        scaled = self._chunks[width][1][: len(row)]
        np.multiply(self._several.take(step, len(row), width)[0], width.type(std), out=scaled)
        np.add(row, scaled, out=row)

    def normals_into(self, step: int, out: Tensor, *, offset: int = 0) -> None:
        """Overwrite ``out`` with numbers ``offset ..`` of each seed's stream.

        ``out`` is ``(S, n)`` on the CPU, its rows contiguous, in float32 or float64.
        """
        rows = out.numpy()
        for s, row in enumerate(rows):
            self._drawers[row.dtype].fill(self._keystream(s, step, row.dtype), row, offset=offset)

    def _ready(self, step: int, size: int, width: np.dtype[Any]) -> Floats | None:
        if self._several.suits(size):
            return self._several.take(step, size, width)
        return None if self._ahead is None else self._ahead.take(step, size, width)

    def _keystream(self, s: int, step: int, width: np.dtype[Any]) -> Keystream:
        return self._keystreams.at(seed=self.seeds[s], purpose=noise_purpose(width), step=step)


@final
@dataclass(frozen=True)
class Secure(StreamKind):
    """`SecureStreams`: every draw from an AES keystream named by (seed, purpose, step).

    Attributes:
        prefetch: whether one background thread draws the next step's noise while the model computes.
            The numbers are the same. It gains where a core is idle and costs two more buffers of the
            parameters' size a seed.

    >>> import torch
    >>> streams = Secure().open([7])
    >>> like = {"w": torch.zeros(1, 2, 3)}
    >>> bool((streams.at(5).normal(like)["w"] == streams.at(5).normal(like)["w"]).all())
    True
    """

    prefetch: bool = False

    def open(self, seeds: Sequence[int]) -> RunStreams:
        """The streams of runs with these seeds, one a run."""
        return SecureStreams(seeds, prefetch=self.prefetch)


def _width(value: Params) -> np.dtype[Any]:
    wide = any(part.dtype == torch.float64 for part in value.values())
    return np.dtype(np.float64 if wide else np.float32)


def _adder(row: Tensor) -> Callable[[int, int, Floats], None]:
    """What adds a chunk to ``row[start:stop]``: numpy where it can, since a call of it is cheaper."""
    if row.device.type == "cpu" and row.dtype in _NATIVE:
        array = row.detach().numpy()

        def add_here(start: int, stop: int, chunk: Floats) -> None:
            np.add(array[start:stop], chunk, out=array[start:stop])

        return add_here

    def add_there(start: int, stop: int, chunk: Floats) -> None:
        row[start:stop].add_(torch.from_numpy(chunk).to(row.device))

    return add_there
