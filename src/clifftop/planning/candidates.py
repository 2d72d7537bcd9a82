r"""Batch sizes side by side, each with the steps that the compute pays for and the noise that it needs.

With n examples, expected batch size B, rate ``q = B / n``, T steps, noise multiplier sigma and clip norm C, a
step releases the sum of clipped gradients plus noise of standard deviation ``sigma C``; divided by B, the
mean gradient carries noise of standard deviation ``sigma C / B`` in each coordinate. What follows is in
units of C.

- *noise per update*: ``sigma / B``, the effective noise ``sigma / (q n)``; McKenna and others 2025 ("Scaling
  laws for differentially private language models") call it the noise-batch ratio.
- *signal-to-noise ratio of a step*: ``B / sigma``. The mean of clipped gradients has norm at most 1, so
  this is the most that a step can have in the direction of the signal, reached if all gradients agree. With
  P parameters the noise vector's norm is about ``sqrt(P)`` times as long: ``B / (sigma sqrt(P))``.
- *total noise*: ``Sigma = sigma / (q sqrt(T))``, the total amount of noise of Sander, Stock and Sablayrolles
  2023 ("TAN without a burn: scaling laws of DP-SGD"), who write ``eta = 1 / (sqrt(2) Sigma) = q sqrt(T / 2) /
  sigma``; for sigma above about 2, epsilon is nearly a function of it alone.
- *signal-to-noise ratio in total*: ``sqrt(T) B / sigma = n / Sigma``. Over T steps at one learning rate
  signals add up to at most T, and noises to ``sqrt(T) sigma / B``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clifftop.accounting import Bound
from clifftop.accounting import epsilon as bound_epsilon
from clifftop.accounting.calibration import calibrate_noise_multiplier
from clifftop.events import DpEvent, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.events.base import is_number, require_positive
from clifftop.planning.compute import Compute, require_examples, require_parameters

SMALLEST_PART = 4096
"""The smallest batch of the usual grid holds about this part of the data."""
NEARLY = 1e-4
"""Relative tolerance of the noise multiplier: on the safe side, and finer than anything rests on."""


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """What a plan is asked.

    Attributes:
        num_examples: n, a public number.
        epsilon: what the run may cost.
        delta: in (0, 1).
        compute: what training may take.
        neighboring_relation: the data sets that are compared.
        parameters: of the model, if known.

    Errors: ValueError where a number is outside its range.
    """

    num_examples: int
    epsilon: float
    delta: float
    compute: Compute
    neighboring_relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE
    parameters: int | None = None

    def __post_init__(self) -> None:
        require_examples(self.num_examples)
        require_positive("epsilon", self.epsilon, advice="pass the epsilon that may be spent")
        if not (is_number(self.delta) and 0 < self.delta < 1):
            raise ValueError(
                f"delta must be between 0 and 1, found delta={self.delta!r}; pass one well below 1 / n"
            )
        if self.parameters is not None:
            require_parameters(self.parameters)

    def event(self, *, batch_size: int, steps: int, noise_multiplier: float) -> DpEvent:
        """What Poisson sampling with Gaussian noise releases."""
        sampled = PoissonSampled(batch_size / self.num_examples, Gaussian(noise_multiplier))
        return SelfComposed(sampled, steps)


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to spend the compute.

    Attributes:
        num_examples: n.
        batch_size: B, expected.
        steps: T.
        noise_multiplier: sigma, calibrated.
        epsilon: what the run costs, certified.
    """

    num_examples: int
    batch_size: int
    steps: int
    noise_multiplier: float
    epsilon: Bound

    @property
    def sampling_prob(self) -> float:
        """Q."""
        return self.batch_size / self.num_examples

    @property
    def epochs(self) -> float:
        """Passes over the data, in expectation: ``q T``."""
        return self.sampling_prob * self.steps

    @property
    def noise_per_update(self) -> float:
        """``sigma / B``, in units of the clip norm."""
        return self.noise_multiplier / self.batch_size

    @property
    def total_noise(self) -> float:
        """``Sigma = sigma / (q sqrt(T))``."""
        return self.noise_multiplier / (self.sampling_prob * math.sqrt(self.steps))

    @property
    def eta(self) -> float:
        """``1 / (sqrt(2) Sigma)``, as Sander and others write it."""
        return 1.0 / (math.sqrt(2.0) * self.total_noise)

    def snr_per_step(self, parameters: int = 1) -> float:
        """``B / (sigma sqrt(P))``, at most."""
        return self.batch_size / (self.noise_multiplier * math.sqrt(parameters))

    def snr_total(self, parameters: int = 1) -> float:
        """``n / (Sigma sqrt(P))``, at most."""
        return self.num_examples / (self.total_noise * math.sqrt(parameters))


def batch_grid(num_examples: int, *, most: int | None = None) -> tuple[int, ...]:
    """Powers of two from about ``n / 4096``, then all examples; none above ``most``.

    >>> batch_grid(60_000)[:3], batch_grid(60_000)[-2:], batch_grid(1000, most=100)[-2:]
    ((16, 32, 64), (32768, 60000), (32, 64))
    """
    require_examples(num_examples)
    first = max(0, math.ceil(math.log2(num_examples / SMALLEST_PART)))
    powers = (2**exponent for exponent in range(first, num_examples.bit_length()))
    sizes = sorted({*(size for size in powers if size < num_examples), num_examples})
    fitting = tuple(size for size in sizes if most is None or size <= most)
    return fitting or (min(sizes[0], most or sizes[0]),)


def candidate(question: Question, batch_size: int) -> Candidate:
    """The candidate with one batch size: T is what the compute pays for, rounded down.

    The noise multiplier is found by the accountant's own search (a saddle-point guess first, which nothing
    rests on), and its epsilon is certified in a call of its own.

    Errors: ValueError for a batch that is larger than the data or than the compute; `Unreachable`.
    """
    steps = question.compute.example_gradients // _checked(question, batch_size)

    def event(noise_multiplier: float) -> DpEvent:
        return question.event(batch_size=batch_size, steps=steps, noise_multiplier=noise_multiplier)

    relation = question.neighboring_relation
    noise_multiplier = calibrate_noise_multiplier(
        event,
        target_epsilon=question.epsilon,
        target_delta=question.delta,
        neighboring_relation=relation,
        tolerance=NEARLY,
    )
    bound = bound_epsilon(event(noise_multiplier), delta=question.delta, neighboring_relation=relation)
    return Candidate(
        num_examples=question.num_examples,
        batch_size=batch_size,
        steps=steps,
        noise_multiplier=noise_multiplier,
        epsilon=bound,
    )


def candidates(question: Question, batch_sizes: Sequence[int] | None = None) -> tuple[Candidate, ...]:
    """The table of a plan, by batch size.

    Args:
        question: what is asked.
        batch_sizes: which to compare; by default `batch_grid`.

    Errors: as `candidate`.

    >>> forty = Compute.of_epochs(40, num_examples=60_000)
    >>> question = Question(num_examples=60_000, epsilon=3.0, delta=1e-5, compute=forty)
    >>> small, large = candidates(question, [512, 2048])
    >>> small.steps, f"{small.noise_multiplier:.3f}", f"{small.total_noise:.2f}"
    (4687, '1.068', '1.83')
    >>> large.steps, f"{large.noise_multiplier:.3f}", f"{large.total_noise:.2f}"
    (1171, '1.808', '1.55')
    """
    most = min(question.num_examples, question.compute.example_gradients)
    sizes = batch_grid(question.num_examples, most=most) if batch_sizes is None else batch_sizes
    if not sizes:
        raise ValueError(
            "batch_sizes must name at least one size, found none; leave it out for the usual grid"
        )
    return tuple(candidate(question, size) for size in sorted(set(sizes)))


def _checked(question: Question, batch_size: int) -> int:
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if not (whole and 1 <= batch_size <= question.num_examples):
        raise ValueError(
            "batch_size must be a whole number between 1 and num_examples, found "
            f"batch_size={batch_size!r} num_examples={question.num_examples}; pass an expected size"
        )
    if batch_size > question.compute.example_gradients:
        raise ValueError(
            f"the compute must pay for one step, found batch_size={batch_size} with "
            f"{question.compute.example_gradients} example gradients; take a smaller batch or more compute"
        )
    return batch_size
