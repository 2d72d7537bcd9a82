"""Which way each layer goes to its norms: the quickest together, within what memory may be kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from clifftop.gradients.graph.base import Choosable
from clifftop.gradients.graph.options import Option

_ALWAYS_ALLOWED = 2**23
"""Bytes that may always be kept: less than what an interpreter's noise hides."""


class Choices(ABC):
    """Picks a way for each layer, from their sizes alone: equal steps are done in equal ways.

    Gradients that were formed for the norms may be kept for the sum, which then costs next to nothing.
    They take the place of a layer's operands; what they take beyond that is limited.
    """

    @property
    @abstractmethod
    def kept_fraction(self) -> float:
        """How much may be kept, as a fraction of the operands of all layers."""

    @abstractmethod
    def seconds(self, part: Choosable, options: Sequence[Option]) -> list[float]:
        """What each way costs."""

    def __call__(self, parts: Mapping[str, Choosable]) -> dict[str, Option]:
        """One way for each layer, by name."""
        allowed = int(self.kept_fraction * sum(part.operand_bytes for part in parts.values()))
        left = max(allowed, _ALWAYS_ALLOWED)
        picked: dict[str, Option] = {}
        better: list[tuple[float, str, float, Option]] = []
        for name, part in parts.items():
            options = part.options()
            timed = list(zip(self.seconds(part, options), options, strict=True))
            cheapest, picked[name] = min(((s, o) for s, o in timed if not o.kept_bytes), key=_time)
            better += [
                ((cheapest - s) / o.kept_bytes, name, s, o) for s, o in timed if o.kept_bytes and s < cheapest
            ]
        # Those that save the most time a byte first. One layer has at most a few, and the first is taken.
        taken: set[str] = set()
        for _, name, _, option in sorted(better, key=lambda item: (-item[0], item[1], item[2])):
            if name not in taken and option.kept_bytes <= left:
                taken.add(name)
                picked[name] = option
                left -= option.kept_bytes
        return picked


def _time(item: tuple[float, Option]) -> float:
    return item[0]


@final
@dataclass(frozen=True)
class Predicted(Choices):
    """By predicted cost: the same on every machine, nothing to measure, nothing to save.

    Attributes:
        kept_fraction: see `Choices`.
    """

    kept_fraction: float = 0.25

    def seconds(self, part: Choosable, options: Sequence[Option]) -> list[float]:
        """Predicted time of each."""
        del part
        return [option.seconds for option in options]


@final
@dataclass(frozen=True)
class Measured(Choices):
    """By measured cost: each way of each size once, on random numbers, when the size is first met.

    Two ways differ in rounding, and which is quicker may differ from one measurement to the next. A run
    that must repeat bit for bit starts from the measurements of the first one: save `state_dict` and give
    it to `load_state_dict` before the first step.

    Attributes:
        kept_fraction: see `Choices`.
        repetitions: how often each way is timed; the least counts.
    """

    kept_fraction: float = 0.25
    repetitions: int = 3
    _known: dict[str, dict[str, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def seconds(self, part: Choosable, options: Sequence[Option]) -> list[float]:
        """Measured time of each, in proportion to the number of examples."""
        key = f"{part.size_key()}, {torch.get_num_threads()} threads"
        known = self._known.setdefault(key, {})
        if any(option.name not in known for option in options):
            with disable_proxy_modes_tracing(), torch.no_grad():
                stand_in = part.stand_in()
                for option in stand_in.options():
                    known[option.name] = self._time(option, stand_in) / part.num_examples
        return [known[option.name] * part.num_examples for option in options]

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The measurements: sizes in words, to ways, to seconds an example."""
        return {key: dict(times) for key, times in self._known.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from measurements made before; sizes that they lack are measured when met."""
        self._known.clear()
        self._known.update({key: dict(times) for key, times in state.items()})

    def _time(self, option: Option, part: Choosable) -> float:
        # On one thread the time of this process alone: other work on the machine is not counted.
        clock = time.process_time if _one_thread(part.device) else time.perf_counter
        weights = torch.ones(part.num_examples, device=part.device)
        best = float("inf")
        for _ in range(self.repetitions + 1):
            _wait(part.device)
            start = clock()
            _, rest = option.settle()
            rest.weighted_sum(weights)
            _wait(part.device)
            best = min(best, clock() - start)
        return best


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _one_thread(device: torch.device) -> bool:
    return device.type == "cpu" and torch.get_num_threads() == 1
