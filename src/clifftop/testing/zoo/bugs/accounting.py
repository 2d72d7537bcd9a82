"""What is charged and reported, against what was released."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import math

import numpy as np

from clifftop.events import DpEvent, FixedOrder, Gaussian, SelfComposed
from clifftop.testing.zoo.accountant import Array, Textbook
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.trainer import (
    DELTA,
    EXPECTED,
    NOISE,
    SAMPLING_PROB,
    STEPS,
    Seen,
    State,
    Trainer,
)


class MicrobatchesCharged(Trainer):
    """Every microbatch of 4 is charged as a step."""

    def charge(self, state: State, seen: Seen) -> None:
        state.charged += max(1, math.ceil(len(seen.batch) / 4))


class EmptyBatchesNotCharged(Trainer):
    """A batch that is empty releases noise alone, and is not charged: the ledger tells that it was empty."""

    def charge(self, state: State, seen: Seen) -> None:
        state.charged += bool(seen.batch)


class EmptyBatchesLeftOut(Trainer):
    """A batch that is empty makes no step."""

    def step(
        self, state: State, rows: Array, batch: tuple[int, ...], seed: int, given: Array | None
    ) -> tuple[Array, Array] | None:
        return super().step(state, rows, batch, seed, given) if batch else None


class FirstStepFree(Trainer):
    """The budget is looked at before the charge, and the first step is free."""

    def charge(self, state: State, seen: Seen) -> None:
        state.charged += int(state.updates > 0)


class ChargedTwice(Trainer):
    """Every step is charged by the optimiser and by the loop."""

    def charge(self, state: State, seen: Seen) -> None:
        state.charged += 2


class CountOfAdaptiveClippingFree(Trainer):
    """The noisy count of adaptive clipping is not charged."""

    noise_of_sum = NOISE


class ShuffledReportedAsPoisson(Trainer):
    """Batches are cut from a fixed order, and reported as if examples joined by coins of their own."""

    @property
    def event(self) -> DpEvent:
        return SelfComposed(
            FixedOrder(Gaussian(NOISE), round(1 / SAMPLING_PROB)), STEPS // round(1 / SAMPLING_PROB)
        )


class ClaimedByHalfTheSensitivity(Trainer):
    """The engine's noise is for half of the sensitivity that is accounted."""

    def claimed_epsilon(self, runs: int = 1) -> float:
        return self.epsilon_of(
            sampling_prob=SAMPLING_PROB, noise_multiplier=2 * NOISE, steps=STEPS * runs, delta=DELTA
        )


class EpochsForSteps(Trainer):
    """The number of epochs is accounted as the number of steps."""

    def claimed_epsilon(self, runs: int = 1) -> float:
        epochs = STEPS * EXPECTED / 40
        return self.epsilon_of(
            sampling_prob=SAMPLING_PROB, noise_multiplier=NOISE, steps=int(epochs) * runs, delta=DELTA
        )


class _FractionalOrders(Textbook):
    """An integer binomial coefficient at a fractional order below 2 is 0: the order is free."""

    orders: Array = np.array([1.5, 8.0, 64.0])

    def divergences(self, q: float, sigma: float) -> Array:
        pairs = np.array([math.comb(int(order), 2) for order in self.orders], dtype=np.float64)
        growth = math.expm1(min(600.0, 1 / sigma**2))
        return np.log1p(q**2 * pairs * growth) / (self.orders - 1)


class _FreeOrder(Textbook):
    orders: Array = np.array([1.01, 8.0, 64.0])

    def divergences(self, q: float, sigma: float) -> Array:
        return np.where(self.orders < 1.1, 0.0, self.orders / (2 * sigma**2))

    def conversion(self, delta: float) -> Array:
        return np.where(self.orders < 1.1, 0.1, -math.log(delta) / (self.orders - 1))


class _OverflowGuard(Textbook):
    def divergences(self, q: float, sigma: float) -> Array:
        guarded = q**2 * self.orders / (2 * sigma**2)
        return np.where((self.orders - 1) / sigma**2 > 500, guarded, super().divergences(q, sigma))


class _SmallProbabilities(Textbook):
    def divergences(self, q: float, sigma: float) -> Array:
        return q**2 * self.orders / (2 * sigma**2)


class _XorDelta(Textbook):
    def conversion(self, delta: float) -> Array:
        return math.log(abs(10 ^ round(math.log10(delta)))) / (self.orders - 1)


class _Negative(Textbook):
    def conversion(self, delta: float) -> Array:
        a = self.orders
        return np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)


class _LessNoiseCostsLess(Textbook):
    def epsilon(self, *, sampling_prob: float, noise_multiplier: float, steps: float, delta: float) -> float:
        return super().epsilon(
            sampling_prob=sampling_prob, noise_multiplier=1 / noise_multiplier, steps=steps, delta=delta
        )


class _FreeWhenTiny(Textbook):
    def epsilon(self, *, sampling_prob: float, noise_multiplier: float, steps: float, delta: float) -> float:
        if steps * self.divergences(sampling_prob, noise_multiplier)[0] < 1e-6:
            return 0.0
        return super().epsilon(
            sampling_prob=sampling_prob, noise_multiplier=noise_multiplier, steps=steps, delta=delta
        )


class FractionalOrders(Trainer):
    """Renyi orders below 2 are free, since a binomial coefficient is cut to whole numbers."""

    accountant = _FractionalOrders()


class FreeOrder(Trainer):
    """A Renyi order near 1 costs nothing."""

    accountant = _FreeOrder()


class OverflowGuard(Trainer):
    """Where a term would overflow, a formula takes its place that is no bound."""

    accountant = _OverflowGuard()


class SmallProbabilities(Trainer):
    """The formula for small sampling probabilities is used at all of them."""

    accountant = _SmallProbabilities()


class DeltaByXor(Trainer):
    """Ten to the power of delta's exponent is written with the sign of exclusive or."""

    accountant = _XorDelta()


class NegativeEpsilon(Trainer):
    """A conversion returns negative privacy losses."""

    accountant = _Negative()


class LessNoiseCostsLess(Trainer):
    """Less noise spends less of the budget."""

    accountant = _LessNoiseCostsLess()


class FreeWhenTiny(Trainer):
    """A tiny divergence is reported as no privacy loss at all."""

    accountant = _FreeWhenTiny()


_KIND = BugKind.ACCOUNTING
_SPLIT = "opacus#757, PR#758"
BUGS = (
    bug(_KIND, MicrobatchesCharged, "charges", source="jax_privacy#288, PR#308"),
    bug(_KIND, EmptyBatchesNotCharged, "charges"),
    bug(_KIND, EmptyBatchesLeftOut, "charges", source="opacus#161, PR#164"),
    bug(_KIND, FirstStepFree, "charges"),
    bug(_KIND, ChargedTwice, "charges", source="opacus#418"),
    bug(_KIND, CountOfAdaptiveClippingFree, "reported-epsilon", source=_SPLIT),
    bug(_KIND, ShuffledReportedAsPoisson, "reported-epsilon", source="opacus#80, tensorflow/privacy#19"),
    bug(_KIND, ClaimedByHalfTheSensitivity, "reported-epsilon", source="fast-differential-privacy#46"),
    bug(_KIND, EpochsForSteps, "reported-epsilon"),
    bug(_KIND, FractionalOrders, "accountant-truth", source="the study that this project starts from"),
    bug(_KIND, FreeOrder, "accountant-truth"),
    bug(_KIND, OverflowGuard, "accountant-truth", source="the study that this project starts from"),
    bug(
        _KIND,
        SmallProbabilities,
        "accountant-truth",
        source="a sibling of the study that this project starts from",
    ),
    bug(_KIND, DeltaByXor, "accountant-full-batch", source="PATE-GAN, original code"),
    bug(_KIND, NegativeEpsilon, "accountant-positive", source="opacus#585, PR#844; opendp#621"),
    bug(_KIND, LessNoiseCostsLess, "accountant-monotone-noise", source="PySyft#6914"),
    bug(_KIND, FreeWhenTiny, "accountant-positive", source="tensorflow/privacy#166"),
)
