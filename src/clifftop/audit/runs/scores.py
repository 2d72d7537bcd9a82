r"""One number for each canary and run: how much its releases speak for its presence.

Along a canary's direction, step t of a Poisson-sampled Gaussian mechanism releases x_t: noise of standard
deviation sigma, plus 1 if the canary is present and drawn. The likelihood ratio of "present" against "absent"
is the product over steps of ``1 - q + q exp((2 x_t - 1) / (2 sigma^2))``, and by Neyman and Pearson no test
of the releases is better than one that compares it with a threshold, in either order of the two. The pair is
the one that dominates the mechanism (Zhu, Dong and Wang 2022), so that what this score shows of a training
which does as it says comes as near to the accountant's curve as the number of runs allows.

For a training that does something else the score is as valid, only not the best.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clifftop.audit.runs.claim import TrainingClaim
from clifftop.audit.runs.protocol import Releases

Scores: TypeAlias = NDArray[np.float64]

FAR = 80.0
"""Exponents are cut here, below where exp overflows in float32; beyond, the logarithm is linear."""


def log_likelihood_ratios(releases: Releases, claim: TrainingClaim) -> Scores:
    """``(R, k)`` from releases ``(R, T, k)``: log likelihood of present over absent, under the claim.

    >>> claim = TrainingClaim(sampling_prob=1.0, noise_multiplier=2.0, steps=3, delta=1e-5)
    >>> log_likelihood_ratios(np.ones((1, 3, 1), dtype=np.float32), claim).item()
    0.375
    """
    scores = np.empty((releases.shape[0], releases.shape[2]))
    for row, run in zip(scores, releases, strict=True):
        row[:] = _increments(run, claim).sum(axis=0, dtype=np.float64)
    return scores


def _increments(run: Releases, claim: TrainingClaim) -> Releases:
    """What each step adds, ``(T, k)``, float32."""
    precision = 1.0 / claim.noise_multiplier**2
    exponents = run * np.float32(precision)
    exponents -= np.float32(0.5 * precision)
    q = claim.sampling_prob
    if q == 1:
        return exponents
    near = np.minimum(exponents, np.float32(FAR))
    exponents -= near  # what lies beyond
    np.exp(near, out=near)
    near *= np.float32(q)
    near += np.float32(1.0 - q)
    np.log(near, out=near)
    near += exponents
    return near
