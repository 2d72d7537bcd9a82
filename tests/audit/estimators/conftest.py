"""Mechanisms whose privacy is known exactly, by which the auditors are audited."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import optimize, stats

from clifftop.accounting.gdp import gaussian_epsilon


@dataclass(frozen=True, kw_only=True)
class Known:
    """A mechanism on one bit, (epsilon, delta)-private and for no smaller epsilon at this delta.

    ``scores(rng, bits)`` is the log-likelihood ratio of what it releases for each bit.
    """

    epsilon: float
    delta: float
    scores: Callable

    def samples(self, rng, runs):
        ones, zeros = np.ones(runs, dtype=bool), np.zeros(runs, dtype=bool)
        return self.scores(rng, ones), self.scores(rng, zeros)


def gaussian(mu, delta):
    def scores(rng, bits):
        return mu * (rng.normal(size=bits.size) + mu * bits) - 0.5 * mu * mu

    return Known(epsilon=gaussian_epsilon(mu, delta, method="oracle").estimate, delta=delta, scores=scores)


def laplace(epsilon):
    def scores(rng, bits):
        released = rng.laplace(scale=1.0 / epsilon, size=bits.size) + bits
        # The last bits of a sum in floating point tell the bit (Mironov 2012), and audits see that.
        return np.round(epsilon * (np.abs(released) - np.abs(released - 1.0)), 9)

    return Known(epsilon=epsilon, delta=0.0, scores=scores)


def randomised_response(epsilon, *, answers=2, delta=0.0):
    """With probability delta the bit in clear; else one of ``answers``, the true one with odds e^eps."""

    def scores(rng, bits):
        right = 1.0 / (1.0 + (answers - 1) * np.exp(-epsilon))
        other = rng.integers(1, answers, size=bits.size)
        answer = np.where(rng.random(bits.size) < right, bits, (bits + other) % answers)
        noisy = np.where(answer == 1, epsilon, np.where(answer == 0, -epsilon, 0.0))
        return np.where(rng.random(bits.size) < delta, np.where(bits, np.inf, -np.inf), noisy)

    return Known(epsilon=epsilon, delta=delta, scores=scores)


MECHANISMS = {
    "gaussian": gaussian(1.0, 1e-3),
    "laplace": laplace(1.0),
    "randomised response": randomised_response(1.0),
    "5 answers, delta 0.01": randomised_response(1.0, answers=5, delta=0.01),
}


@pytest.fixture(params=MECHANISMS.values(), ids=MECHANISMS.keys())
def known(request):
    return request.param


@pytest.fixture
def named():
    return MECHANISMS


@pytest.fixture
def allowed():
    """How many false alarms of level 0.05 are no surprise: more have probability below 1e-4."""
    return lambda repetitions: int(stats.binom.isf(1e-4, repetitions, 0.05))


@pytest.fixture
def mu_of():
    """The Gaussian mechanism that is (epsilon, delta)-private and no better."""

    def solve(epsilon, delta):
        return optimize.brentq(
            lambda mu: gaussian_epsilon(mu, delta, method="oracle").estimate - epsilon, 0.01, 20.0
        )

    return solve
