"""One Poisson-subsampled Gaussian step as a pair of densities, and its loss under an exponential tilt.

One step releases ``sum + sigma * N(0, I)`` over a batch that holds each example with probability
``q``. By joint convexity of the hockey-stick divergence one may fix the rest of the batch, which is
then subtracted; what is left is one example's vector ``g`` of norm at most 1 (``g`` against ``g'``
when an example is replaced). In units of ``sigma``, with ``n`` the standard normal density and
``w(u) = 1 - q + q exp(u / sigma - 1 / (2 sigma^2))``, the dominating pairs (P, Q) are

======================  ===================  ===================
pair                    P                    Q
======================  ===================  ===================
`remove_one`            ``n(u) w(u)``        ``n(u)``
`add_one`               ``n(u)``             ``n(u) w(u)``
`replace_one`           ``n(u) w(u)``        ``n(u) w(-u)``
======================  ===================  ===================

*Zeroing out* replaces the example by one whose vector is 0, which leaves the very pairs of adding
and removing. Those are attained by ``|g| = 1``; a shorter g is the same after scaling and more noise.

*Replacing* has ``P = (1-q) N(0) + q N(g)`` and ``Q = (1-q) N(0) + q N(g')``, norms at most 1. For
``alpha >= 1``, ``H_alpha(P || Q) = q E_{N(g)}[(1 - r_1 - r_2)_+]``, where ``r_1 = alpha dN(g') / dN(g)``
and ``r_2 = (alpha - 1) (1 - q) / q dN(0) / dN(g)`` are log-normals of fixed means and of log standard
deviations ``|g - g'| / sigma <= 2 / sigma`` and ``|g| / sigma <= 1 / sigma``. For any split
``k_1 + k_2 = 1`` with k >= 0, ``(1 - r_1 - r_2)_+ <= (k_1 - r_1)_+ + (k_2 - r_2)_+``, whose mean depends
on the two marginals alone and grows with their deviations (a log-normal of fixed mean grows in convex
order). At ``g = -g' = e`` both deviations are largest, and both ratios fall together in ``<e, x>``: with
``k_i`` their values where their sum is 1, the inequality is an equality. So no other g and g' give more.
For ``alpha < 1`` swap P and Q, by ``H_alpha(P || Q) = 1 - alpha + alpha H_{1/alpha}(Q || P)``. Hence
the pair of the table dominates.

Dominating pairs compose, adaptively (Zhu, Dong and Wang 2022, "Optimal accounting of differential
privacy via characteristic function", arXiv 2106.08567).

The engines need ``E_P[exp(z L)]`` with ``L = ln dP/dQ`` along a vertical line ``z = c + iy``. It is
computed by the trapezoidal rule in ``u``, whose error is bounded for every ``y`` (`TiltedLoss`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UNIT_ROUNDOFF = 2.0**-53
TAIL_WIDTH = 9.5
"""Past a log-concave tail's start by this much, the integrand fell by exp(-9.5^2 / 2) < 3e-20."""
NEGLIGIBLE = 1e-26
"""Points whose weights sum to less than this part of the whole are left out, and counted as error."""
CELL = 0.25
"""Width of the cells in which the range is searched for points that matter."""
FEW_POINTS = 1000
"""Below this many points no search is worth its cost."""
SMALL_PROB = 0.5
"""Up to this q, ``1 + q (e^v - 1) >= 1/2``, so that log1p loses no digits to cancellation."""
MAX_POINTS = 1 << 19
"""Most quadrature points: 4 MiB an array. Finer meshes are given up (`TooFine`)."""
FULL_EXPONENT = 38.0
"""A quadrature error below ``exp(-38) = 3e-17`` is less than rounding."""


class TooFine(ArithmeticError):
    """The quadrature would need more than `MAX_POINTS` points; another bound must serve."""


@dataclass(frozen=True, kw_only=True)
class LossPair:
    """A dominating pair (P, Q) of one Poisson-subsampled Gaussian step; see `remove_one` and its like.

    Each of P and Q is ``n(u) w(shift u)``: a mixture whose part of weight q lies at ``shift / sigma``.

    Attributes:
        sampling_prob: q, in (0, 1).
        noise_multiplier: sigma > 0.
        p_shift: 1, or 0 where P does not hold the example.
        q_shift: 1, or 0 where Q does not hold the example, or -1 where Q holds the opposite one.
    """

    sampling_prob: float
    noise_multiplier: float
    p_shift: int
    q_shift: int

    def log_ratios(self, points: Array) -> tuple[Array, Array]:
        """``ln(P / n)`` and ``ln(Q / n)`` at ``points``; both are convex."""
        return self._log_ratio(points, self.p_shift), self._log_ratio(points, self.q_shift)

    def slopes(self, points: Array) -> tuple[Array, Array]:
        """The derivatives of `log_ratios`; neither ever falls, and each is at most ``1 / sigma`` in size."""
        return self._slope(points, self.p_shift), self._slope(points, self.q_shift)

    def slope_excess(self, tilt: float) -> tuple[float, float]:
        """``(left, right)``: the slope of ``ln n + ln(P/n) + tilt L`` is in [-u - left, -u + right].

        That slope is ``-u`` plus ``1 + tilt`` times the first minus ``tilt`` times the second of `slopes`.
        """
        left = tilt * (self.q_shift > 0)
        right = (1.0 + tilt) * (self.p_shift > 0) + tilt * (self.q_shift < 0)
        return left / self.noise_multiplier, right / self.noise_multiplier

    def strip_exponents(self, tilt: float) -> tuple[int, float]:
        """``(k, p)`` that bound the integrand in the strip ``|Im u| < pi sigma``.

        For ``|a| < pi sigma`` the modulus of ``exp((tilt + iy) L) P / n`` at ``u + ia`` is at most its value
        at ``(u, y = 0)`` times ``exp(k |y a| / sigma) cos(a / (2 sigma))^-p``: since ``w(u + ia) = A + B
        exp(i a / sigma)`` with A, B > 0, its argument is at most ``|a| / sigma``, its modulus is between
        ``cos(a / (2 sigma)) (A + B)`` and ``A + B``, and it is never 0, so its powers are analytic. Only Q
        is raised to a negative power, ``-tilt``.
        """
        return abs(self.p_shift) + abs(self.q_shift), tilt * abs(self.q_shift)

    def loss_errors(self, points: Array, log_p: Array, log_q: Array) -> Array:
        """A bound on the rounding error of each loss ``log_p - log_q``."""
        errors = UNIT_ROUNDOFF * (np.abs(log_p) + np.abs(log_q))
        for log_ratio, shift in ((log_p, self.p_shift), (log_q, self.q_shift)):
            if shift:
                errors = errors + self._log_mixture_error(shift * points, log_ratio)
        return errors

    def _log_ratio(self, points: Array, shift: int) -> Array:
        return self._log_mixture(shift * points) if shift else np.zeros_like(points)

    def _slope(self, points: Array, shift: int) -> Array:
        if not shift:
            return np.zeros_like(points)
        places = shift * points
        return shift * self._example_share(places, self._log_mixture(places)) / self.noise_multiplier

    def _exponent(self, points: Array) -> Array:
        """``v = u / sigma - 1 / (2 sigma^2)``."""
        return points / self.noise_multiplier - 0.5 / self.noise_multiplier**2

    def _log_mixture(self, points: Array) -> Array:
        """``ln w(u)``."""
        q, exponent = self.sampling_prob, self._exponent(points)
        large = np.logaddexp(math.log1p(-q), math.log(q) + exponent)
        if q > SMALL_PROB:
            return large
        return np.where(exponent > 30.0, large, np.log1p(q * np.expm1(np.minimum(exponent, 30.0))))

    def _example_share(self, points: Array, log_mixture: Array) -> Array:
        """``q e^v / w``, in [0, 1]: the derivative of ``ln w`` in v, which rises with u."""
        return np.exp(np.minimum(0.0, math.log(self.sampling_prob) + self._exponent(points) - log_mixture))

    def _log_mixture_error(self, points: Array, log_mixture: Array) -> Array:
        """A bound on the rounding error of `_log_mixture`, for elementary functions good to 4 ulp.

        The exponent ``v`` carries its terms' roundings and that of the point, felt through ``d ln w / dv =
        q e^v / w <= 1``. The logarithm's own error is relative, but for `logaddexp`, whose terms are
        O(1 + |v|); 24 roundings instead of 8 leave room for the sums and scalings that losses go through.
        """
        q, sigma = self.sampling_prob, self.noise_multiplier
        size = np.abs(points) / sigma + 0.5 / sigma**2
        felt = self._example_share(points, log_mixture)
        own = np.abs(log_mixture)
        if q > SMALL_PROB:
            own = own + size + abs(math.log1p(-q)) + 1.0
        return UNIT_ROUNDOFF * (6.0 * size * felt + 24.0 * own + 8.0 * felt)


def remove_one(sampling_prob: float, noise_multiplier: float) -> LossPair:
    """P holds the example, Q does not."""
    return LossPair(sampling_prob=sampling_prob, noise_multiplier=noise_multiplier, p_shift=1, q_shift=0)


def add_one(sampling_prob: float, noise_multiplier: float) -> LossPair:
    """Q holds the example, P does not."""
    return LossPair(sampling_prob=sampling_prob, noise_multiplier=noise_multiplier, p_shift=0, q_shift=1)


def replace_one(sampling_prob: float, noise_multiplier: float) -> LossPair:
    """P holds the example, Q its opposite in its place; the pair is its own mirror image."""
    return LossPair(sampling_prob=sampling_prob, noise_multiplier=noise_multiplier, p_shift=1, q_shift=-1)


@dataclass(frozen=True, kw_only=True)
class TiltedLoss:
    """The loss of one step under ``dP exp(tilt L) / E_P[exp(tilt L)]``, as weighted points.

    ``psi(y) = sum_j weights_j exp(i y losses_j)`` is within ``mass_error + y loss_error +
    quadrature_error(y)`` of ``E_P[exp((tilt + iy) L)] exp(-log_mgf)``. The number ``log_mgf`` is taken
    as it stands: that the true log moment differs from it is part of the error at ``y = 0``.
    """

    pair: LossPair
    tilt: float
    mesh: float
    log_mgf: float
    losses: Array
    weights: Array
    mass_error: float
    loss_error: float

    def quadrature_error(self, frequencies: Array) -> Array:
        """The trapezoidal rule's error at each ``y >= 0``: ``2 N / (exp(2 pi a / mesh) - 1)``.

        ``N`` bounds the integrand's L1 norm on every line of the strip ``|Im u| < a``, where the normal
        density adds ``exp(a^2 / 2)`` and the pair its `strip_exponents`. Every ``a`` gives a valid
        bound; the best of a grid is taken. (Trefethen and Weideman 2014, "The exponentially convergent
        trapezoidal rule", theorem 5.1.) The factor 2.05 holds while the bound is below 1%, since N is
        relative to the true moment, and that to the computed one.
        """
        half_widths, growth = _strip(self.pair, self.tilt)
        rate = self.pair.strip_exponents(self.tilt)[0] / self.pair.noise_multiplier
        gain = 2.0 * math.pi / self.mesh * half_widths - growth
        best = np.full(frequencies.shape, -np.inf)
        for width, exponent in zip(half_widths, gain, strict=True):
            np.maximum(best, exponent - rate * width * frequencies, out=best)
        return 2.05 * np.exp(-best)

    def error(self, frequencies: Array) -> Array:
        """The whole error of ``psi`` at each ``y >= 0``."""
        return self.mass_error + self.loss_error * frequencies + self.quadrature_error(frequencies)


def tilted_loss(
    pair: LossPair,
    tilt: float,
    *,
    max_frequency: float,
    exponent: float = FULL_EXPONENT,
    max_points: int = MAX_POINTS,
) -> TiltedLoss:
    """The tilted loss with a mesh whose quadrature error is below ``exp(-exponent)`` up to ``max_frequency``.

    Errors: `TooFine` when that needs more than ``max_points`` points.
    """
    mesh = _mesh(pair, tilt, max_frequency, exponent)
    points, skipped = _points(pair, tilt, mesh, max_points)
    log_p, log_q = pair.log_ratios(points)
    losses = log_p - log_q
    exponents = log_p + tilt * losses - 0.5 * points**2
    peak = float(exponents.max())
    weights = np.exp(exponents - peak)
    total = float(weights.sum())
    # Outside the outermost points the integrand falls at least at rate TAIL_WIDTH, by `slope_excess`.
    tails = float(weights[0] + weights[-1]) * (1.0 + 1.0 / (mesh * TAIL_WIDTH))
    kept = weights > NEGLIGIBLE * total / len(weights)
    points, log_p, log_q, losses = points[kept], log_p[kept], log_q[kept], losses[kept]
    weights = weights[kept] / total
    loss_errors = pair.loss_errors(points, log_p, log_q)
    # Each weight is exp of a sum of terms with these sizes, every one rounded a few times.
    sizes = 2.0 + np.abs(log_p) + tilt * np.abs(losses) + 0.5 * points**2 + abs(peak)
    weight_errors = 4.0 * UNIT_ROUNDOFF * sizes + (1.0 + tilt) * loss_errors
    left_out = (tails + math.exp(skipped - peak)) / total + NEGLIGIBLE
    return TiltedLoss(
        pair=pair,
        tilt=tilt,
        mesh=mesh,
        log_mgf=peak + math.log(total * mesh / math.sqrt(2.0 * math.pi)),
        losses=losses,
        weights=weights,
        mass_error=left_out + float(weights @ weight_errors) + 64.0 * UNIT_ROUNDOFF,
        loss_error=float(weights @ loss_errors),
    )


def _points(pair: LossPair, tilt: float, mesh: float, max_points: int) -> tuple[Array, float]:
    """The quadrature points that matter, and the log of a bound on the integrand's sum over the others.

    The range is first cut into cells. On a cell from x to x + d the log integrand is at most its value
    at x plus d times its largest slope there, which `LossPair.slopes` bounds since they never fall.
    Cells too low to matter are skipped, in which a large tilt leaves most of its range.
    """
    left, right = pair.slope_excess(tilt)
    low, high = -left - TAIL_WIDTH, right + TAIL_WIDTH
    if (high - low) / mesh < FEW_POINTS:
        return low + mesh * np.arange(math.ceil((high - low) / mesh) + 1, dtype=np.float64), -math.inf
    cells = math.ceil((high - low) / CELL) + 1
    if cells > max_points:
        raise TooFine(f"{cells} cells")
    per_cell = math.ceil(CELL / mesh)
    width = per_cell * mesh
    edges = low + width * np.arange(cells + 1, dtype=np.float64)
    log_p, log_q = pair.log_ratios(edges)
    slope_p, slope_q = pair.slopes(edges)
    heights = log_p + tilt * (log_p - log_q) - 0.5 * edges**2
    slopes = (1.0 + tilt) * slope_p[1:] - tilt * slope_q[:-1] - edges[:-1]
    bounds = heights[:-1] + width * np.maximum(0.0, slopes)
    kept = bounds > heights.max() + math.log(NEGLIGIBLE)
    kept[0] = kept[-1] = True
    if np.count_nonzero(kept) * per_cell > max_points:
        raise TooFine(f"{np.count_nonzero(kept) * per_cell} quadrature points")
    indices = (per_cell * np.flatnonzero(kept)[:, None] + np.arange(per_cell)).astype(np.float64)
    worst = float(bounds[~kept].max(initial=-math.inf))
    return low + mesh * indices.ravel(), worst + math.log(per_cell * cells)


def _strip(pair: LossPair, tilt: float) -> tuple[Array, Array]:
    """Half-widths ``a`` of strips, and the log growth ``a^2 / 2 - p ln cos(a / (2 sigma))`` in each."""
    sigma = pair.noise_multiplier
    power = pair.strip_exponents(tilt)[1]
    half_widths = min(math.pi * sigma, 12.0) * np.linspace(0.02, 0.98, 25)
    return half_widths, 0.5 * half_widths**2 - power * np.log(np.cos(half_widths / (2.0 * sigma)))


def _mesh(pair: LossPair, tilt: float, max_frequency: float, exponent: float) -> float:
    """The widest mesh for which some strip bounds the error by ``exp(-exponent)``."""
    half_widths, growth = _strip(pair, tilt)
    rate = pair.strip_exponents(tilt)[0] / pair.noise_multiplier
    meshes = 2.0 * math.pi * half_widths / (exponent + 1.0 + growth + rate * half_widths * max_frequency)
    return float(meshes.max())
