"""Asking an accountant that may raise, warn, or answer nonsense, beside what is proven."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar, final

from clifftop.accounting import Bound, RenyiAccountant, epsilons
from clifftop.audit.accounts.settings import DELTAS, Moment, Setting
from clifftop.events import DpEvent, NeighboringRelation

REFUSALS = (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What an accountant may raise that cannot answer."""
MOMENT_ERROR = 1e-9
"""The divergences are upper bounds, good to about 1e-13 of themselves; the lower ends are this much less."""

Asked = TypeVar("Asked")


class EpsilonOf(Protocol):
    """An accountant: epsilon of Poisson-sampled Gaussian releases, called by keyword."""

    def __call__(self, *, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        """Epsilon, or an upper bound on it."""
        ...


class NoiseOf(Protocol):
    """A calibration: the noise multiplier that keeps an epsilon, called by keyword."""

    def __call__(self, *, target_epsilon: float, sampling_prob: float, steps: int, delta: float) -> float:
        """The noise multiplier."""
        ...


class DivergenceOf(Protocol):
    """A Renyi accountant's divergence of one release at an order, called by keyword."""

    def __call__(self, *, order: float, sampling_prob: float, noise_multiplier: float) -> float:
        """The divergence, or an upper bound on it."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Answer(Generic[Asked]):
    """What was asked and answered, beside the truth.

    Attributes:
        asked: the question.
        reported: the answer; NaN where there was none.
        certified: an interval that certainly holds the truth.
        error: what was raised instead of an answer, in one line; empty where nothing was.
    """

    asked: Asked
    reported: float
    certified: Bound
    error: str = ""

    @property
    def given(self) -> bool:
        """Whether there was an answer that is a number."""
        return not math.isnan(self.reported)

    @property
    def share(self) -> float:
        """The answer as a part of the least that the truth can be; ``inf`` where that is 0."""
        return self.reported / self.certified.lower if self.certified.lower > 0 else math.inf

    def __str__(self) -> str:
        said = f"raised {self.error}" if self.error else f"reported {self.reported:.6g}"
        return f"{said} at {self.asked}, where the truth is {interval(self.certified)}"


@final
class Clock:
    """Time that an audit may take, in seconds that this process computes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.process_time() + seconds

    def within(self, questions: Iterable[Asked]) -> Iterator[Asked]:
        """The questions, as long as there is time for another one."""
        for question in questions:
            if time.process_time() > self._end:
                return
            yield question


def interval(bound: Bound) -> str:
    """A certified interval, in words.

    >>> interval(Bound(lower=1.0, estimate=1.0, upper=1.0 + 1e-12, method="example"))
    '1'
    """
    low, high = f"{bound.lower:.6g}", f"{bound.upper:.6g}"
    return low if low == high else f"in [{low}, {high}]"


def answer(call: Callable[[], object]) -> tuple[float, str]:
    """The number that ``call`` gives, or NaN and what it raised; its warnings are nobody's concern.

    >>> answer(lambda: 1 / 0)
    (nan, 'ZeroDivisionError: division by zero')
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(call()), ""  # pyrefly: ignore[bad-argument-type]
    except REFUSALS as error:
        said = str(error).splitlines()
        return math.nan, f"{type(error).__name__}: {said[0][:200] if said else ''}".rstrip(": ")


def ask(epsilon_of: EpsilonOf, setting: Setting, relation: NeighboringRelation) -> Answer[Setting]:
    """What an accountant says of a setting."""
    reported, error = answer(
        lambda: epsilon_of(
            sampling_prob=setting.sampling_prob,
            noise_multiplier=setting.noise_multiplier,
            steps=setting.steps,
            delta=setting.delta,
        )
    )
    truth = certified(setting.event, setting.delta, relation)
    return Answer(asked=setting, reported=reported, certified=truth, error=error)


def ask_moment(divergence_of: DivergenceOf, moment: Moment, relation: NeighboringRelation) -> Answer[Moment]:
    """What a Renyi accountant says of one release."""
    reported, error = answer(
        lambda: divergence_of(
            order=moment.order,
            sampling_prob=moment.sampling_prob,
            noise_multiplier=moment.noise_multiplier,
        )
    )
    high = RenyiAccountant(relation).divergence(moment.event, order=moment.order)
    low = high * (1.0 - MOMENT_ERROR) if math.isfinite(high) else 0.0
    truth = Bound(lower=low, estimate=high, upper=high, method="Renyi divergence by quadrature")
    return Answer(asked=moment, reported=reported, certified=truth, error=error)


def certified(event: DpEvent, delta: float, relation: NeighboringRelation) -> Bound:
    """`clifftop.accounting.epsilon`, kept: several accountants are asked the same."""
    deltas = DELTAS if delta in DELTAS else (delta,)
    return _curve(event, deltas, relation)[deltas.index(delta)]


@lru_cache(maxsize=4096)
def _curve(event: DpEvent, deltas: tuple[float, ...], relation: NeighboringRelation) -> tuple[Bound, ...]:
    """All deltas of the grid at once, which costs hardly more than one."""
    return tuple(epsilons(event, deltas=deltas, neighboring_relation=relation))
