"""What a layer of a chain does: forward, and back from the gradient at its output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, final

from torch import Tensor

from clifftop.gradients.chain.grads import Part
from clifftop.gradients.randomness import writes


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a layer gives for the gradient at its output.

    Attributes:
        input: the gradient at its input; None where it was not asked for.
        parts: what each of its parameters contributes to each example's gradient, by the model's name.
    """

    input: Tensor | None
    parts: Mapping[str, Part] = field(default_factory=dict)


class Pull(Protocol):
    """The way back through one call of a layer."""

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """From the gradient of each example's own loss at the output."""
        ...


class Stage(ABC):
    """One layer of a chain, for one run; examples are on the first axis of all that it takes and gives."""

    @property
    def restored(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """For each parameter that it trains, by the model's name: from its part's layout to its shape."""
        return {}

    @abstractmethod
    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, Pull]:
        """The output, and the way back.

        Args:
            x: the input, which the way back may hold.
            tensors: the model's parameters and frozen tensors, by name.
            shared: what calls on the same batch have in common.
        """


@final
class Shared:
    """What is made of a batch alone, kept for the next run that has the same batch.

    Only the last batch's are kept. A batch is known by its memory, its layout and the count of writes
    into it; it is held here, so that its memory cannot become another's.
    """

    def __init__(self) -> None:
        self._batch: Tensor | None = None
        self._writes: int | None = None
        self._made: dict[object, Tensor] = {}

    def begin(self, batch: Tensor) -> None:
        """Say which batch the next calls are about."""
        count = None if batch.is_inference() else writes(batch)
        known = self._batch is not None and count is not None and count == self._writes
        if not (known and self._batch is not None and _same_memory(self._batch, batch)):
            self._made = {}
        self._batch, self._writes = batch, count

    def get(self, x: Tensor, name: object, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives, made once for a batch; every time where ``x`` is not the batch."""
        if x is not self._batch:
            return make()
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def _same_memory(a: Tensor, b: Tensor) -> bool:
    one, other = ((x.shape, x.stride(), x.dtype, x.device) for x in (a, b))
    return a.data_ptr() == b.data_ptr() and one == other
