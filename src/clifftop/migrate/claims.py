"""The old epsilon as Opacus computes it, beside the certified one for the same run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clifftop.accounting import (
    NOISE_MULTIPLIER,
    Bound,
    EpsilonTarget,
    RenyiAccountant,
    Unreachable,
    calibrate,
    epsilon,
)
from clifftop.events import DpEvent, FixedOrder, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.migrate.facts import Run

_ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(12, 64))
"""The orders of Renyi divergence that Opacus tries."""

_ADD_OR_REMOVE = NeighboringRelation.ADD_OR_REMOVE_ONE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two statements about one run.

    Attributes:
        old: the epsilon that Opacus states.
        how: its accountant, and whether ``old`` is its formula or about what it gives.
        new: the certified interval for the run as it was made.
        relation: the data sets that ``new`` compares.
        noise_multiplier: the run's; where Opacus calibrated it, what meets the target for what it accounts.
        run: in words.
    """

    old: float
    how: str
    new: Bound
    relation: NeighboringRelation
    noise_multiplier: float
    run: str


def missing_numbers(run: Run) -> tuple[str, ...]:
    """What must be known before epsilons can be computed, by the names of `Run`."""
    names = ("delta", "batch_size", "num_examples", "epochs")
    unknown = [name for name in names if getattr(run, name) is None]
    if run.noise_multiplier is None and run.target_epsilon is None:
        unknown.insert(0, "noise_multiplier")
    return tuple(unknown)


def compare(run: Run) -> Comparison | None:
    """Old and new epsilon; None where numbers are missing, or a target cannot be met.

    Opacus counts ``len(data_loader)`` steps an epoch (one fewer where ``int(1 / (1 / len))`` falls short) and
    takes one over that number as the sampling rate, whatever the batches were.

    Raises:
        ValueError: the numbers cannot be those of a run.

    >>> shuffled = Run(
    ...     noise_multiplier=1.0, delta=1e-5, batch_size=256, num_examples=60_000, epochs=15, poisson=False
    ... )
    >>> found = compare(shuffled)
    >>> round(found.old, 2), round(found.new.upper, 2)
    (1.35, 23.35)
    """
    known = _Known.of(run)
    if known is None:
        return None
    sigma = known.sigma(run)
    if sigma is None:
        return None
    relation = _ADD_OR_REMOVE if run.poisson else NeighboringRelation.ZERO_OUT
    how, statement = _STATEMENTS.get(run.accountant, _STATEMENTS["prv"])
    return Comparison(
        old=statement(known, sigma),
        how=how,
        new=epsilon(known.event(sigma), delta=known.delta, neighboring_relation=relation),
        relation=relation,
        noise_multiplier=sigma,
        run=f"{known.num_examples} examples, batch size {known.batch_size}, {known.epochs} epochs, "
        f"noise multiplier {sigma:.4g}, delta {known.delta:g}",
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The numbers of a run, none of them missing."""

    delta: float
    batch_size: int
    num_examples: int
    epochs: int
    poisson: bool
    per_epoch: int

    @classmethod
    def of(cls, run: Run) -> _Known | None:
        delta, size, total, epochs = run.delta, run.batch_size, run.num_examples, run.epochs
        if delta is None or size is None or total is None or epochs is None or missing_numbers(run):
            return None
        if not 1 <= size <= total:
            raise ValueError(
                "batch_size must be between 1 and the number of examples, found "
                f"batch_size={size} and num_examples={total}"
            )
        return cls(
            delta=delta,
            batch_size=size,
            num_examples=total,
            epochs=epochs,
            poisson=run.poisson,
            per_epoch=total // size if run.drop_last else math.ceil(total / size),
        )

    @property
    def stated_per_epoch(self) -> int:
        """Opacus' steps an epoch; its sampling rate is one over them."""
        return int(1 / (1 / self.per_epoch)) if self.poisson else self.per_epoch

    def event(self, sigma: float) -> DpEvent:
        """What the run releases."""
        if not self.poisson:
            return FixedOrder(Gaussian(sigma), self.epochs)
        rate = self.batch_size / self.num_examples
        return SelfComposed(PoissonSampled(rate, Gaussian(sigma)), self.per_epoch * self.epochs)

    def stated(self, sigma: float) -> DpEvent:
        """What Opacus accounts for."""
        steps = self.stated_per_epoch
        return SelfComposed(PoissonSampled(1 / steps, Gaussian(sigma)), steps * self.epochs)

    def sigma(self, run: Run) -> float | None:
        """The noise multiplier: given, or what Opacus' calibration comes to; None where there is none."""
        if run.noise_multiplier is not None or run.target_epsilon is None:
            return run.noise_multiplier
        target = EpsilonTarget(
            epsilon=run.target_epsilon, delta=self.delta, neighboring_relation=_ADD_OR_REMOVE
        )
        try:
            return calibrate(self.stated, over=NOISE_MULTIPLIER, target=target)
        except Unreachable:
            return None


def _renyi(known: _Known, sigma: float) -> float:
    """The best of Opacus' orders, by the conversion of Balle and others (2020)."""
    accountant, event = RenyiAccountant(_ADD_OR_REMOVE), known.stated(sigma)
    return min(
        accountant.divergence(event, order=a)
        - (math.log(known.delta) + math.log(a)) / (a - 1)
        + math.log((a - 1) / a)
        for a in _ORDERS
    )


def _central_limit(known: _Known, sigma: float) -> float:
    """A Gaussian release with the mean that the composition tends to (Bu and others 2019)."""
    steps = known.stated_per_epoch
    mu = math.sqrt(math.expm1(sigma**-2) * steps * known.epochs) / steps
    return epsilon(Gaussian(1 / mu), delta=known.delta, neighboring_relation=_ADD_OR_REMOVE).estimate


def _numerical(known: _Known, sigma: float) -> float:
    """What a numerical accountant estimates; Opacus adds up to 0.01 to it."""
    return epsilon(known.stated(sigma), delta=known.delta, neighboring_relation=_ADD_OR_REMOVE).estimate


_Statement = Callable[[_Known, float], float]
_STATEMENTS: Mapping[str, tuple[str, _Statement]] = {
    "rdp": ("accountant 'rdp', its formula", _renyi),
    "gdp": ("accountant 'gdp', its formula", _central_limit),
    "prv": ("accountant 'prv', which adds up to 0.01", _numerical),
}
