"""Who draws what: every random number of a run comes from a stream named by (seed, purpose, step).

A stream never knows the cohort, so a run draws the same numbers alone and among others, and a
resumed run the same as an uninterrupted one. Runs with one seed share their draws, which are made
once. Whoever knows a seed can draw the noise again. `Keyed` draws from Philox, a statistical
generator and not a cryptographic one: a claim against an adversary who attacks the generator itself
needs `clifftop.noise.Secure`.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from clifftop.flow import Params

_FLOATS_A_BLOCK = 8
"""A step of Philox's counter gives 256 bits, and a float32 takes 32."""


def generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """The generator of one (seed, purpose, step): Philox, keyed by 128 bits of SHA-256.

    >>> a, b = generator(1, "noise", 5), generator(1, "noise", 5)
    >>> bool((a.random(3) == b.random(3)).all())
    True
    >>> bool(generator(1, "noise", 6).random() == generator(1, "noise", 5).random())
    False
    """
    digest = hashlib.sha256(f"clifftop/{seed}/{purpose}/{step}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _philox(rng: np.random.Generator) -> np.random.Philox:
    """The bit generator of what `generator` makes."""
    bits = rng.bit_generator
    assert isinstance(bits, np.random.Philox)
    return bits


def sizes_of(like: Params) -> list[int]:
    """How many numbers one run has in each of its tensors ``(R, ...)``."""
    # Not value[0].numel(): an index costs more than a small tensor's noise.
    return [math.prod(value.shape[1:]) for value in like.values()]


class RunStreams(ABC):
    """The random draws of R runs, at any step.

    Attributes:
        seeds: the runs' distinct seeds, S of them.
        rows: ``(R,)`` the place of each run's seed among them.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(dict.fromkeys(seeds))
        self.rows = torch.tensor([self.seeds.index(seed) for seed in seeds]) if len(self.seeds) > 1 else None
        self.num_runs = len(seeds)

    def sampling(self, seed: int, step: int) -> np.random.Generator:
        """The generator that draws the batch of ``step``."""
        return generator(seed, "sampling", step)

    @abstractmethod
    def flat_normals(self, step: int, like: Params) -> Tensor:
        """Standard normals of every distinct seed, ``(S, P)``, parameters in the order of ``like``."""

    def normals(self, step: int, like: Params) -> Tensor:
        """Standard normals of every run, ``(R, P)``."""
        return self.spread(self.flat_normals(step, like))

    def add_normals(self, step: int, value: Params, std: Tensor) -> Params:
        """``value`` plus ``std`` times `flat_normals`, as new tensors; ``std`` is ``(R,)``."""
        draws = self.at(step).normal(value)
        return {
            name: torch.addcmul(part, std.view(-1, *(1,) * (part.dim() - 1)), draws[name])
            for name, part in value.items()
        }

    def add_into(self, step: int, out: Tensor, std: Tensor) -> None:
        """Add ``std``, ``(R,)``, times `flat_normals` to ``out``, ``(R, P)``, in place."""
        out += std[:, None] * self.normals(step, {"": out})

    def uniforms(self, step: int, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniforms in [0, 1) of every distinct seed, ``(S, *shape)``, float32; from row ``offset`` on."""
        start, size = offset * math.prod(shape[1:]), math.prod(shape)
        blocks, rest = divmod(start, _FLOATS_A_BLOCK)
        rows: list[Tensor] = []
        for seed in self.seeds:
            rng = generator(seed, label, step)
            if blocks:
                _philox(rng).advance(blocks)
            drawn = rng.random(rest + size, dtype=np.float32)[rest:]
            rows.append(torch.from_numpy(drawn).view(shape))
        return torch.stack(rows)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs besides the step: nothing, unless draws come in sequence."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        del state

    def at(self, step: int) -> StepStreams:
        """The streams of one step."""
        return StepStreams(self, step)

    def spread(self, per_seed: Tensor) -> Tensor:
        """From one row a distinct seed ``(S, ...)``, or one for all ``(1, ...)``, to one row a run."""
        if self.rows is None or per_seed.shape[0] == 1:
            return per_seed.expand(self.num_runs, *per_seed.shape[1:])
        return per_seed.index_select(0, self.rows.to(per_seed.device))


@final
@dataclass(frozen=True)
class StepStreams:
    """The draws of one step: noise for the gradient, uniforms for the model."""

    streams: RunStreams
    step: int

    def normal(self, like: Params) -> Params:
        """Independent standard normals, ``(R, ...)`` for each tensor of ``like``."""
        flat = self.streams.normals(self.step, like)
        sizes = sizes_of(like)
        return {
            name: part.view(value.shape)
            for (name, value), part in zip(like.items(), flat.split(sizes, dim=1), strict=True)
        }

    def add_normal(self, value: Params, std: Tensor) -> Params:
        """``value`` plus ``std`` (``(R,)``) times independent standard normals, as new tensors."""
        return self.streams.add_normals(self.step, value, std)

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), ``(R, *shape)``, float32; equal labels give equal draws.

        With ``offset``, the rows from there on of what a larger batch draws.
        """
        return self.streams.spread(self.streams.uniforms(self.step, label, shape, offset=offset))


@final
class KeyedStreams(RunStreams):
    """Every draw from its own keyed generator: what the studies use."""

    def flat_normals(self, step: int, like: Params) -> Tensor:
        """Standard normals ``(S, P)`` in float32 (float64 for float64 parameters)."""
        first = next(iter(like.values()))
        wide = first.dtype == torch.float64
        size = sum(sizes_of(like))
        rows = np.empty((len(self.seeds), size), dtype=np.float64 if wide else np.float32)
        for row, seed in zip(rows, self.seeds, strict=True):
            rng = generator(seed, "noise", step)
            row[:] = rng.standard_normal(size) if wide else rng.standard_normal(size, dtype=np.float32)
        return torch.from_numpy(rows).to(device=first.device, dtype=first.dtype)


@final
class OwnNoise(RunStreams):
    """Batches and the model's draws from one set of streams, noise from another.

    So runs may share their data order and each have noise of its own.

    Args:
        draws: streams of R runs, for batches, dropout and all else but noise.
        noise: streams of as many runs, for noise alone.
    """

    def __init__(self, draws: RunStreams, noise: RunStreams) -> None:
        if draws.num_runs != noise.num_runs:
            raise ValueError(
                f"noise must be of as many runs as the draws, found {noise.num_runs} and {draws.num_runs}"
            )
        # Not by way of the seeds: these are the places of the runs among the draws' own.
        self.seeds, self.rows, self.num_runs = draws.seeds, draws.rows, draws.num_runs
        self._draws, self._noise = draws, noise

    def sampling(self, seed: int, step: int) -> np.random.Generator:
        """The draws' own."""
        return self._draws.sampling(seed, step)

    def uniforms(self, step: int, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """The draws' own."""
        return self._draws.uniforms(step, label, shape, offset=offset)

    def flat_normals(self, step: int, like: Params) -> Tensor:
        """The noise of every distinct noise seed."""
        return self._noise.flat_normals(step, like)

    def normals(self, step: int, like: Params) -> Tensor:
        """The noise of every run."""
        return self._noise.normals(step, like)

    def add_normals(self, step: int, value: Params, std: Tensor) -> Params:
        """The noise streams' own way."""
        return self._noise.add_normals(step, value, std)

    def add_into(self, step: int, out: Tensor, std: Tensor) -> None:
        """The noise streams' own way."""
        self._noise.add_into(step, out, std)

    def state(self) -> dict[str, Tensor]:
        """Of both."""
        own = {"draws": self._draws.state(), "noise": self._noise.state()}
        return {f"{part}/{name}": value for part, state in own.items() for name, value in state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        for part, streams in (("draws", self._draws), ("noise", self._noise)):
            own = {n.removeprefix(f"{part}/"): v for n, v in state.items() if n.startswith(f"{part}/")}
            streams.load_state(own)


class StreamKind(ABC):
    """Which streams a run draws from: a frozen value that a run's specification can hold."""

    @abstractmethod
    def open(self, seeds: Sequence[int]) -> RunStreams:
        """The streams of runs with these seeds, one a run."""


@final
@dataclass(frozen=True)
class Keyed(StreamKind):
    """`KeyedStreams`: draws named by (seed, purpose, step)."""

    def open(self, seeds: Sequence[int]) -> RunStreams:
        """The streams of runs with these seeds, one a run."""
        return KeyedStreams(seeds)
