"""A numpy generator that reads a keystream, for samplers."""

from __future__ import annotations

import ctypes
import math
import threading
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from clifftop.noise.keystream import Keystream

_WORDS = 512  # refilled at once: 4 KiB


class _Bitgen(ctypes.Structure):
    """numpy's ``bitgen_t``: a state and four functions that draw from it."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("next_uint64", ctypes.c_void_p),
        ("next_uint32", ctypes.c_void_p),
        ("next_double", ctypes.c_void_p),
        ("next_raw", ctypes.c_void_p),
    )


@final
class KeystreamBits:
    """The words of a keystream as a numpy bit generator: 64 bits a draw, in order.

    ``capsule`` and ``lock`` are what ``numpy.random.Generator`` asks a bit generator for.
    """

    def __init__(self, keystream: Keystream) -> None:
        self._keystream = keystream
        self._words: list[int] = []
        self._next_byte = 0
        self.lock = threading.Lock()
        self._functions = self._callbacks()
        pointers = [ctypes.cast(function, ctypes.c_void_p) for function in self._functions]
        self._bitgen = _Bitgen(None, *pointers)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        self.capsule = new(ctypes.addressof(self._bitgen), b"BitGenerator", None)

    def words(self, count: int) -> NDArray[np.uint64]:
        """The next ``count`` words at once; what a refill holds in store is left behind."""
        self._words.clear()
        out = np.empty(count, dtype=np.uint64)
        self._keystream.fill(out, at_byte=self._next_byte)
        self._next_byte += (8 * count + 15) // 16 * 16
        return out

    def _next(self, _state: int | None) -> int:
        if not self._words:
            self._words = self.words(_WORDS)[::-1].tolist()
        return self._words.pop()

    def _next32(self, _state: int | None) -> int:
        return self._next(None) >> 32

    def _next_double(self, _state: int | None) -> float:
        return (self._next(None) >> 11) * 2.0**-53

    def _callbacks(self) -> tuple[Any, ...]:
        uint64 = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(self._next)
        uint32 = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)(self._next32)
        double = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)(self._next_double)
        return uint64, uint32, double, uint64


@final
class KeystreamGenerator(np.random.Generator):
    """numpy's ``Generator`` on a keystream; ``random(n)`` is quick, every other draw a call a word.

    >>> from clifftop.noise.keystream import Keystreams
    >>> rng = KeystreamGenerator(Keystreams().at(seed=1, purpose="sampling", step=0))
    >>> sorted(rng.permutation(4).tolist())
    [0, 1, 2, 3]
    """

    def __init__(self, keystream: Keystream) -> None:
        self._bits = KeystreamBits(keystream)
        # numpy documents the capsule as the interface; its annotation asks for a class.
        super().__init__(cast("np.random.BitGenerator", self._bits))

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Uniforms in [0, 1), multiples of 2^-53; as numpy's in arguments and result."""
        if size is None or out is not None or np.dtype(dtype) != np.float64:
            return super().random(size, dtype, out)
        shape = tuple(np.atleast_1d(size).tolist())
        with self._bits.lock:
            words = self._bits.words(math.prod(shape))
        return ((words >> np.uint64(11)) * 2.0**-53).reshape(shape)
