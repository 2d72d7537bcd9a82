"""A textbook accountant of Poisson-sampled Gaussian releases: valid, loose, in parts that can be replaced."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_ORDERS: Array = np.arange(2, 65).astype(np.float64)
_COUNTS: Array = np.arange(65).astype(np.float64)
_LOG_CHOOSE: Array = np.where(
    _ORDERS[:, None] < _COUNTS,
    -np.inf,
    special.gammaln(_ORDERS[:, None] + 1)
    - special.gammaln(_COUNTS + 1)
    - special.gammaln(np.maximum(_ORDERS[:, None] - _COUNTS, 0) + 1),
)


class Textbook:
    """Moments at whole orders (Abadi et al. 2016; Mironov et al. 2019) and Mironov's conversion."""

    orders: Array = _ORDERS

    def divergences(self, q: float, sigma: float) -> Array:
        """One release's divergence at every order."""
        if q == 1:
            return self.orders / (2.0 * sigma**2)
        terms = (
            _LOG_CHOOSE
            + _COUNTS * math.log(q)
            + (_ORDERS[:, None] - _COUNTS) * math.log1p(-q)
            + (_COUNTS**2 - _COUNTS) / (2.0 * sigma**2)
        )
        return np.asarray(special.logsumexp(terms, axis=1)) / (_ORDERS - 1)

    def conversion(self, delta: float) -> Array:
        """What is added for delta at every order."""
        return -math.log(delta) / (self.orders - 1)

    def epsilon(self, *, sampling_prob: float, noise_multiplier: float, steps: float, delta: float) -> float:
        """The smallest over the orders."""
        each = self.divergences(sampling_prob, noise_multiplier)
        return float(np.min(steps * each + self.conversion(delta)))
