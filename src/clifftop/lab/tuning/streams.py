"""Streams whose every draw but the initialisation hangs on a 256-bit secret beside the run's seed.

A run's seed has 63 bits and also starts torch's generator for the initial parameters, of which that generator
uses 32. A released model may hold parameters as they were initialised, which gives these bits away. Batches,
dropout and noise of a trial therefore come from keystreams of (secret, seed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from torch import Tensor

from clifftop.flow import Params
from clifftop.noise import RunStreams, Secure, StreamKind

_SEED_BITS = 256  # of a noise seed, the longest of them


@final
class SecretlyKeyed(RunStreams):
    """`clifftop.noise.SecureStreams` of (secret, seed), under the runs' own seeds."""

    def __init__(self, seeds: Sequence[int], secret: int) -> None:
        super().__init__(seeds)
        self._secret = secret
        self._own = Secure().open([self._mixed(seed) for seed in seeds])

    def _mixed(self, seed: int) -> int:
        """One number for (secret, seed); different for different pairs, as no seed has more bits."""
        return (self._secret << _SEED_BITS) | seed

    def sampling(self, seed: int, step: int) -> np.random.Generator:
        """See `RunStreams.sampling`."""
        return self._own.sampling(self._mixed(seed), step)

    def uniforms(self, step: int, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """See `RunStreams.uniforms`."""
        return self._own.uniforms(step, label, shape, offset=offset)

    def flat_normals(self, step: int, like: Params) -> Tensor:
        """See `RunStreams.flat_normals`."""
        return self._own.flat_normals(step, like)

    def add_normals(self, step: int, value: Params, std: Tensor) -> Params:
        """See `RunStreams.add_normals`."""
        return self._own.add_normals(step, value, std)

    def add_into(self, step: int, out: Tensor, std: Tensor) -> None:
        """See `RunStreams.add_into`."""
        self._own.add_into(step, out, std)


@final
@dataclass(frozen=True)
class SecretStreams(StreamKind):
    """`SecretlyKeyed` streams.

    Attributes:
        secret: whole number in [0, 2**256), such as ``secrets.randbits(256)``; not printed.
    """

    secret: int = field(repr=False)

    def open(self, seeds: Sequence[int]) -> RunStreams:
        """The streams of runs with these seeds, one a run."""
        return SecretlyKeyed(seeds, self.secret)
