"""The normals that settle rows: named by seed, purpose and step, and by nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol, final

import torch
from torch import Tensor

from clifftop.noise import RunStreams, Secure, StreamKind


class RowNormals(Protocol):
    """Standard normals for rows of tables."""

    def __call__(self, *, purpose: str, step: int, like: Tensor) -> Tensor:
        """Independent standard normals of the shape ``(n,)``, dtype and device of ``like``.

        Calls with another purpose or step must be independent of each other.
        """
        ...


@final
class StreamNormals:
    """Normals from a kind of run stream, each purpose with a seed derived from the run's."""

    def __init__(self, seed: int, kind: StreamKind | None = None) -> None:
        self._seed = seed
        self._kind = Secure() if kind is None else kind
        self._open: tuple[str, RunStreams] | None = None

    def state(self) -> dict[str, Tensor]:
        """The seed, digit by digit: it may be longer than any number that a tensor holds."""
        return {"seed": torch.tensor(list(str(self._seed).encode()), dtype=torch.uint8)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Draw on with the seed of `state`."""
        self._seed = int(bytes(state["seed"].tolist()))
        self._open = None

    def __call__(self, *, purpose: str, step: int, like: Tensor) -> Tensor:
        """Standard normals; one (seed, purpose, step) always gives the same."""
        if self._open is None or self._open[0] != purpose:
            digest = hashlib.sha256(f"clifftop/tables/{self._seed}/{purpose}".encode()).digest()
            self._open = purpose, self._kind.open([int.from_bytes(digest[:16], "little")])
        return self._open[1].flat_normals(step, {"rows": like[None]})[0]
