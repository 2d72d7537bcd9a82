"""How many examples go through the engine at once: speed and memory only, never the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from clifftop.flow import Batch, Params
from clifftop.gradients.base import GradientEngine, PerExampleLoss
from clifftop.training.memory import free_bytes, held_bytes_per_example

_ROUND_TO = 8


class Microbatches(ABC):
    """Decides the microbatch size, once a run."""

    @abstractmethod
    def size(
        self, *, engine: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
    ) -> int | None:
        """The microbatch size for batches such as this one; None for whole batches."""


@final
@dataclass(frozen=True)
class Whole(Microbatches):
    """Every batch at once."""

    def size(
        self, *, engine: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
    ) -> int | None:
        """None."""
        del engine, loss, params, batch
        return None


@final
@dataclass(frozen=True)
class Fixed(Microbatches):
    """Always ``microbatch_size`` examples: what a run needs that is to repeat bit for bit elsewhere."""

    microbatch_size: int

    def __post_init__(self) -> None:
        value = self.microbatch_size
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"microbatch_size must be a whole number >= 1, found microbatch_size={value!r}")

    def size(
        self, *, engine: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
    ) -> int | None:
        """``microbatch_size``."""
        del engine, loss, params, batch
        return self.microbatch_size


@final
@dataclass(frozen=True, kw_only=True)
class Automatic(Microbatches):
    """The largest size whose measured bytes fit a share of the memory that is free.

    ``size = floor(budget / bytes of one example)``, rounded down to a multiple of 8 so that the shapes
    that an engine meets stay few, and at least 1. The bytes are those of
    `clifftop.training.memory.held_bytes_per_example`.

    Two machines may so choose two sizes, and floats are then added in another order; a resumed run keeps
    the size of the run it continues.

    Attributes:
        fraction: the share of free memory to use, in (0, 1].
        budget_bytes: the bytes to use, instead.
    """

    fraction: float = 0.5
    budget_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"fraction must be in (0, 1], found fraction={self.fraction}; it is a share of free memory"
            )
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ValueError(f"budget_bytes must be >= 1, found budget_bytes={self.budget_bytes}")

    def size(
        self, *, engine: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
    ) -> int | None:
        """Measure one example, and divide."""
        held = held_bytes_per_example(engine=engine, loss=loss, params=params, batch=batch)
        budget = self.budget_bytes
        if budget is None:
            budget = int(self.fraction * free_bytes(batch.mask.device))
        fits = budget // max(1, held)
        return max(1, fits - fits % _ROUND_TO if fits >= _ROUND_TO else fits)
