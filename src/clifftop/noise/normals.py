"""Standard normals from a keystream: Box and Muller (1958), a chunk that fits the cache at a time.

A pair of words gives a pair of normals: one word the radius ``sqrt(-2 log u)`` with
``u = (k + 1/2) / 2^w``, the other the angle ``pi k / 2^(w-1)`` with k signed. Word width w is 32
for float32, whose radius reaches 6.76, and 64 for float64 (9.49). No word gives an infinite or
undefined number. In the tail u is as fine as the words are. Near u = 1, where the radius is near 0,
u moves in steps of 2^-24 in float32 and 2^-53 in float64: so much probability is moved to the
nearest step, and no more.

The pairs of a stream are numbered. Pair p takes word p and word p + 2^64 of the keystream (2^63 in
float64). Number e of the stream belongs to block ``e // 8192``, which holds the cosines of 4096 pairs
and then their sines. So any slice can be drawn alone, and a longer draw only appends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from clifftop.noise.keystream import Keystream

PAIRS = 4096
"""Pairs in a block. Part of what defines the numbers: another value would give others."""

CHUNK = 1 << 16
"""Numbers drawn at once, so that every buffer stays in the cache. Defines nothing."""

_BLOCK = 2 * PAIRS
_ANGLES_AT_BYTE = 1 << 66

Floats = NDArray[np.floating[Any]]
Words = NDArray[np.unsignedinteger[Any]]


def noise_purpose(dtype: np.dtype[Any]) -> str:
    """The purpose that names the words of noise; float32 and float64 read different ones."""
    return "noise/float64" if dtype.itemsize == 8 else "noise/float32"


def radii(words: Words, out: Floats) -> None:
    """``sqrt(-2 log u)`` of unsigned words, at the width of ``out``.

    >>> import numpy as np
    >>> out = np.empty(2, dtype=np.float32)
    >>> radii(np.array([0, 2**32 - 1], dtype=np.uint32), out)
    >>> [round(abs(float(r)), 3) for r in out]
    [6.764, 0.0]
    """
    kind = out.dtype.type
    np.copyto(out, words, casting="unsafe")
    np.add(out, kind(0.5), out=out)
    # Scaled before the logarithm: log2(k) - 32 would cancel where u is near 1.
    np.multiply(out, kind(2.0 ** -(8 * words.itemsize)), out=out)
    np.log(out, out=out)
    np.multiply(out, kind(-2), out=out)
    np.sqrt(out, out=out)


def angles(words: Words, out: Floats) -> None:
    """Angles in [-pi, pi] of words read as signed, at the width of ``out``."""
    np.copyto(out, words.view(np.int64 if words.itemsize == 8 else np.int32), casting="unsafe")
    np.multiply(out, out.dtype.type(math.pi * 2.0 ** (1 - 8 * words.itemsize)), out=out)


@final
class NormalDrawer:
    """Draws normals of one float type through buffers of its own, 3 x 32768 numbers in all."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._words: Words = np.empty(CHUNK // 2, dtype=np.dtype(f"u{dtype.itemsize}"))
        self._radii: Floats = np.empty(CHUNK // 2, dtype=dtype)
        self._angles: Floats = np.empty(CHUNK // 2, dtype=dtype)

    def fill(self, keystream: Keystream, out: Floats, *, offset: int = 0) -> None:
        """Overwrite ``out``, ``(n,)``, with numbers ``offset .. offset + n`` of the stream."""
        for start, stop in spans(offset, len(out)):
            self._fill_chunk(keystream, offset + start, out[start:stop])

    def _fill_chunk(self, keystream: Keystream, start: int, out: Floats) -> None:
        """Numbers from ``start`` on, which do not cross the end of a chunk."""
        stop = start + len(out)
        first = start // _BLOCK
        count = stop // _BLOCK * PAIRS + min(stop % _BLOCK, PAIRS) - first * PAIRS
        words, radius, angle = self._words[:count], self._radii[:count], self._angles[:count]
        at_byte = first * PAIRS * words.itemsize
        keystream.fill(words, at_byte=at_byte)
        radii(words, radius)
        keystream.fill(words, at_byte=_ANGLES_AT_BYTE + at_byte)
        angles(words, angle)
        # Whole blocks go as one matrix; a block cut at either end goes by itself.
        begin = -(-start // _BLOCK) * _BLOCK
        end = max(begin, stop // _BLOCK * _BLOCK)
        origin = first * _BLOCK
        if begin >= stop:
            _part(radius, angle, start - origin, out)
            return
        _part(radius, angle, start - origin, out[: begin - start])
        _whole(radius, angle, begin - origin, out[begin - start : end - start])
        _part(radius, angle, end - origin, out[end - start :])


def fill_rows(keystreams: Sequence[Keystream], out: Floats) -> None:
    """Overwrite row i of ``out``, ``(n, size)``, with the first ``size <= PAIRS`` numbers of stream i.

    The same numbers as a `NormalDrawer`'s, for many short draws at the price of a few calls.
    """
    words: Words = np.empty(out.shape, dtype=np.dtype(f"u{out.dtype.itemsize}"))
    radius, angle = np.empty_like(out), np.empty_like(out)
    for at_byte, transform, target in ((0, radii, radius), (_ANGLES_AT_BYTE, angles, angle)):
        for row, keystream in zip(words, keystreams, strict=True):
            keystream.fill(row, at_byte=at_byte)
        transform(words, target)
    np.cos(angle, out=angle)
    np.multiply(angle, radius, out=out)


def spans(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """``(start, stop)`` of pieces of ``range(size)``, cut where ``offset + start`` begins a chunk.

    >>> list(spans(65000, 2000))
    [(0, 536), (536, 2000)]
    """
    start = 0
    while start < size:
        stop = min(size, start + CHUNK - (offset + start) % CHUNK)
        yield start, stop
        start = stop


def _whole(radius: Floats, angle: Floats, at: int, out: Floats) -> None:
    """The numbers of whole blocks, from number ``at`` of the pairs given."""
    halves = out.reshape(-1, 2, PAIRS)
    pairs = slice(at // 2, at // 2 + len(halves) * PAIRS)
    r, theta = radius[pairs].reshape(-1, PAIRS), angle[pairs].reshape(-1, PAIRS)
    for half, function in enumerate((np.cos, np.sin)):
        function(theta, out=halves[:, half])
        np.multiply(halves[:, half], r, out=halves[:, half])


def _part(radius: Floats, angle: Floats, at: int, out: Floats) -> None:
    """Numbers of a single block, from number ``at`` of the pairs given."""
    block, low = divmod(at, _BLOCK)
    high = low + len(out)
    cosines = max(0, min(high, PAIRS) - low)
    for function, start, piece in (
        (np.cos, low, out[:cosines]),
        (np.sin, max(low - PAIRS, 0), out[cosines:]),
    ):
        if len(piece):
            pairs = slice(block * PAIRS + start, block * PAIRS + start + len(piece))
            function(angle[pairs], out=piece)
            np.multiply(piece, radius[pairs], out=piece)
