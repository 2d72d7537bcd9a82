"""A textbook accountant, valid and loose, and faults planted in it: each overrides one of its parts."""

import math

import numpy as np
from scipy import special

ORDERS = np.arange(2, 65)
_COUNTS = np.arange(ORDERS[-1] + 1)
_LOG_CHOOSE = (
    special.gammaln(ORDERS[:, None] + 1.0)
    - special.gammaln(_COUNTS + 1.0)
    - special.gammaln(np.maximum(ORDERS[:, None] - _COUNTS, 0) + 1.0)
)
_LOG_CHOOSE[ORDERS[:, None] < _COUNTS] = -math.inf


class Textbook:
    """Moments at whole orders (Abadi et al. 2016; Mironov et al. 2019) and Mironov's conversion."""

    orders = ORDERS

    def rdp(self, q, sigma):
        """One release's divergence at every order."""
        if q == 1:
            return self.orders / (2.0 * sigma**2)
        terms = (
            _LOG_CHOOSE
            + _COUNTS * math.log(q)
            + (ORDERS[:, None] - _COUNTS) * math.log1p(-q)
            + (_COUNTS**2 - _COUNTS) / (2.0 * sigma**2)
        )
        return special.logsumexp(terms, axis=1) / (ORDERS - 1)

    def conversion(self, delta):
        return -math.log(delta) / (self.orders - 1)

    def __call__(self, sampling_prob, noise_multiplier, steps, delta):
        each = self.rdp(sampling_prob, noise_multiplier)
        return float(np.min(steps * each + self.conversion(delta)))

    def divergence(self, order, sampling_prob, noise_multiplier):
        return float(self.rdp(sampling_prob, noise_multiplier)[np.flatnonzero(self.orders == order)[0]])

    def noise(self, target_epsilon, sampling_prob, steps, delta, *, end=1):
        """Bisection on the logarithm; ``end`` is the end of the last interval that is returned."""
        ends = [1e-2, 1e4]
        while ends[1] > ends[0] * (1 + 1e-2):
            middle = math.sqrt(ends[0] * ends[1])
            ends[int(self(sampling_prob, middle, steps, delta) <= target_epsilon)] = middle
        return ends[end]


class OverflowGuard(Textbook):
    def rdp(self, q, sigma):
        return np.where(
            (self.orders - 1) / sigma**2 > 500, q**2 * self.orders / (2 * sigma**2), super().rdp(q, sigma)
        )


class SmallProbability(Textbook):
    def rdp(self, q, sigma):
        return q**2 * self.orders / (2 * sigma**2)


class SecondTermOnly(Textbook):
    def rdp(self, q, sigma):
        pairs = self.orders * (self.orders - 1) / 2
        with np.errstate(over="ignore"):
            return np.log1p(q**2 * pairs * np.expm1(1 / sigma**2)) / (self.orders - 1)


class FreeOrder(Textbook):
    orders = np.array([1.01])

    def rdp(self, q, sigma):
        return np.zeros(1)


class FreeWhenTiny(Textbook):
    def __call__(self, sampling_prob, noise_multiplier, steps, delta):
        if steps * self.rdp(sampling_prob, noise_multiplier)[0] < 1e-6:
            return 0.0
        return super().__call__(sampling_prob, noise_multiplier, steps, delta)


class Unclamped(Textbook):
    def conversion(self, delta):
        a = self.orders
        return np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)


class Clamped(Unclamped):
    """Correct: the conversion of Canonne, Kamath and Steinke 2020, never below 0."""

    def __call__(self, *args, **options):
        return max(0.0, super().__call__(*args, **options))


class WrongEnd(Textbook):
    def noise(self, target_epsilon, sampling_prob, steps, delta, *, end=0):
        return super().noise(target_epsilon, sampling_prob, steps, delta, end=end)


class HalfTheTarget(Textbook):
    """Its own epsilon is right, its calibration is of an engine with twice the sensitivity."""

    def noise(self, target_epsilon, sampling_prob, steps, delta, *, end=1):
        return super().noise(target_epsilon, sampling_prob, steps, delta, end=end) / 2


class DeltaDropped(Textbook):
    def conversion(self, delta):
        return np.zeros(self.orders.size)


class DeltaByXor(Textbook):
    def conversion(self, delta):
        return math.log(abs(10 ^ round(math.log10(delta)))) / (self.orders - 1)


class CommonLogarithm(Textbook):
    def conversion(self, delta):
        return -math.log10(delta) / (self.orders - 1)


class NoiseSquared(Textbook):
    def rdp(self, q, sigma):
        return super().rdp(q, sigma**2)


class PlainOverflow(Textbook):
    orders = ORDERS[:9]

    def rdp(self, q, sigma):
        grown = [math.comb(int(a), 2) * math.exp(a / sigma**2) for a in self.orders]
        return np.log1p(q**2 * np.array(grown))


class NotANumber(Textbook):
    def rdp(self, q, sigma):
        with np.errstate(all="ignore"):
            grown = np.exp(np.minimum(self.orders, 64) / sigma**2)
            return super().rdp(q, sigma) + 0 * grown


class Remembers(Textbook):
    """A cache whose key forgets the number of steps."""

    def __init__(self):
        self.known = {}

    def __call__(self, sampling_prob, noise_multiplier, steps, delta):
        key = sampling_prob, noise_multiplier, delta
        if key not in self.known:
            self.known[key] = super().__call__(sampling_prob, noise_multiplier, steps, delta)
        return self.known[key]


def changed(change):
    """The textbook accountant, asked with other arguments."""
    textbook = Textbook()

    def epsilon(sampling_prob, noise_multiplier, steps, delta):
        return textbook(*change(sampling_prob, noise_multiplier, steps, delta))

    return epsilon


def gaussian_limit(sampling_prob, noise_multiplier, steps, delta):
    """The central limit (Bu et al. 2020) taken for a bound."""
    from clifftop.accounting.gdp import gaussian_epsilon

    if noise_multiplier < 0.1:
        return math.inf
    mu = sampling_prob * math.sqrt(steps * math.expm1(1 / noise_multiplier**2))
    return gaussian_epsilon(mu, delta, method="limit").upper if mu < 1e6 else math.inf


def classic(sampling_prob, noise_multiplier, steps, delta):
    """The formula that holds for epsilon up to 1, used everywhere."""
    return math.sqrt(2 * math.log(1.25 / delta) * steps) * sampling_prob / noise_multiplier


WRONG = {
    "overflow guard": (OverflowGuard(), "truth"),
    "formula for small probabilities": (SmallProbability(), "truth"),
    "second term of the series only": (SecondTermOnly(), "truth"),
    "an order that is free": (FreeOrder(), "truth"),
    "0 where the divergence is tiny": (FreeWhenTiny(), "positive"),
    "negative": (Unclamped(), "positive"),
    "delta dropped": (DeltaDropped(), "full-batch"),
    "10 ^ delta": (DeltaByXor(), "full-batch"),
    "common logarithm": (CommonLogarithm(), "full-batch"),
    "variance for deviation": (NoiseSquared(), "truth"),
    "overflow": (PlainOverflow(), "answers"),
    "not a number": (NotANumber(), "answers"),
    "a cache that forgets the steps": (Remembers(), "truth"),
    "less noise costs less": (changed(lambda q, sigma, t, d: (q, 1 / sigma, t, d)), "monotone-noise"),
    "one step short": (changed(lambda q, sigma, t, d: (q, sigma, t - 1, d)), "truth"),
    "steps counted as batches of 16": (changed(lambda q, sigma, t, d: (q, sigma, t / 16, d)), "truth"),
    "probability rounded": (changed(lambda q, sigma, t, d: (max(1e-9, round(q, 2)), sigma, t, d)), "truth"),
    "one over a whole number": (
        changed(lambda q, sigma, t, d: (1 / math.ceil(1 / q + 1), sigma, t, d)),
        "full-batch",
    ),
    "half the sensitivity": (changed(lambda q, sigma, t, d: (q, 2 * sigma, t, d)), "truth"),
    "steps capped": (changed(lambda q, sigma, t, d: (q, sigma, min(t, 1000), d)), "truth"),
    "delta by the other end": (changed(lambda q, sigma, t, d: (q, sigma, t, 1e-14 / d)), "monotone-delta"),
    "amplified twice": (changed(lambda q, sigma, t, d: (q**2, sigma, t, d)), "truth"),
    "only the rest of the batch": (
        changed(lambda q, sigma, t, d: (min(q, 1.001 - q), sigma, t, d)),
        "monotone-sampling",
    ),
    "clamped at 100": (lambda **asked: min(100.0, Textbook()(**asked)), "full-batch"),
    "the central limit as a bound": (gaussian_limit, "truth"),
    "the classic formula everywhere": (classic, "full-batch"),
    "root of the steps": (changed(lambda q, sigma, t, d: (q, sigma, math.sqrt(t), d)), "truth"),
    "a pair, not a number": (lambda **asked: (Textbook()(**asked), 12), "answers"),
    "gives up": (lambda **asked: exec("raise RuntimeError('grid too fine')"), "extremes"),
}
"""Name: the accountant, and the check that must fail."""
