r"""One sampled step with its privacy loss on a lattice: one law above it, one below it.

A law here is a measure on losses ``l_j = anchor + j h``: P-masses, Q-masses being ``e^{-l_j}`` times those.
Both laws start from cells of losses, for each of which p and r, its masses under P and Q, are known to a
small relative error; no difference of nearly equal numbers is taken.

**Above (dominating).** A cell whose losses lie in [x, y] is dominated by the two points x and y with the
same p and r: ``b = (p - r e^x) / (1 - e^{x - y})`` of p go to y. (Every hockey-stick integrand is convex in
``e^{-l}``, so moving mass to the ends of a chord raises it: "connect the dots", Doroshenko, Ghazi, Kamath,
Kumar and Manurangsi 2022, arXiv 2207.04380.) Moving P-mass to a larger loss raises every delta as well,
so b is increased by all that rounding may have taken off it; and since an edge's own loss is known to
``drift``, all losses are declared ``drift`` larger than they stand. Losses below the lattice go to its first
point, those beyond its last to infinity.

**Below (dominated).** To merge outcomes, and to relabel each by a coin of its own, is post-processing, which
cannot raise delta. Losses are merged into cells, each meant for one lattice point; edges lie where cells have
``p = r e^{l_j}`` about, which for a density that goes like ``e^{g l}`` in a cell moves each by ``-(h/2)
(coth(k) - 1/k)``, ``k = (g - 1/2) h / 2`` (the mean of an exponential density on an interval, the half from
``1 - e^{-x} = x - x^2 / 2``). What is then missing of ``p - r e^{l_j} = 0`` is mended by relabelling parts of
the neighbours: a part x of the cell above raises it by about ``x (1 - e^{-h})``, one of the cell below lowers
it. A cell with a surplus left loses the P-mass of it, and one that is short takes the next smaller loss:
neither raises delta.

Compositions of laws above (below) are above (below) those of the steps, for measures of any total mass:
each delta is a sum over the others' outcomes of non-negative multiples of the one's hockey-stick curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clifftop.accounting.losses import UNIT_ROUNDOFF, Array, LossPair

UNRESOLVED = 0.2
"""A cell that holds more is not resolved."""
RELABELLINGS = 4
AIM_HIGH, AIM_LOW = 1.02, 0.98
"""A cell that is short is given a little too much, one with a surplus a little too little."""
MOST_GIVEN = 0.45
TINY = 1e-290
"""P-mass given to infinity for what underflow took off."""
NODES = (-0.906179845938664, -0.5384693101056831, 0.0, 0.5384693101056831, 0.906179845938664)
WEIGHTS = (0.2369268850561891, 0.4786286704993665, 0.5688888888888889, 0.4786286704993665, 0.2369268850561891)
"""Gauss and Legendre's rule of five points on [-1, 1] (Abramowitz and Stegun 1964, table 25.4)."""
NARROW = 0.25
"""Cells with ``d (|c| + d + 2)`` below this, c the middle and d half the width, are integrated by that rule.

It errs by ``d^11 2^11 (5!)^4 / (11 (10!)^3) < 8.1e-10 d^11`` times the tenth derivative, which is ``n(x)``
times a Hermite polynomial, ``E[(x + iZ)^10]``, at most ``(|x| + 945^{1/10})^10 < (|x| + 2)^10``. The cell's
mass is at least ``2 d n(x) e^{-2 d (|c| + d)}`` for any x in it: relative to it the error is below ``4.1e-10
e^{0.5} 0.25^10 < 1e-15``."""


@dataclass(frozen=True, kw_only=True)
class LatticeLaw:
    """Losses ``anchor + j mesh`` with P-masses, and what P holds at an infinite loss.

    ``drift`` is how much larger than they stand the losses must be taken, 0 for a law below.
    """

    anchor: float
    mesh: float
    masses: Array
    beyond: float
    drift: float


def dominating_law(pair: LossPair, *, mesh: float, first: float, count: int) -> LatticeLaw:
    """A law above the step's, on ``count`` lattice points, ``first`` the least."""
    losses = first + mesh * np.arange(count, dtype=np.float64)
    points = _thresholds(pair, losses)
    p, r = _cell_masses(pair, points[:-1], points[1:])
    inside = np.isfinite(points)
    log_p, log_q = pair.log_ratios(points[inside])
    errors = np.abs(log_p - log_q - losses[inside]) + pair.loss_errors(points[inside], log_p, log_q)
    drift = float(errors.max(initial=0.0)) + 4.0 * UNIT_ROUNDOFF * float(np.abs(losses).max())
    excess = p - r * np.exp(np.minimum(losses[:-1], 700.0))
    # What rounding took off: of p, of r, of e^x by x's error, of the ends by the drift.
    error = mass_error(pair)
    slack = (4.0 * error + 2.0 * drift + 4.0 * UNIT_ROUNDOFF * np.abs(losses[:-1])) * p
    up = np.clip((excess + slack) / -math.expm1(-mesh), 0.0, p)
    masses = np.zeros(count)
    masses[:-1] += p - up
    masses[1:] += up
    worst = math.inf if pair.p_shift or pair.q_shift < 0 else -math.inf
    ends = np.array([-worst, points[0]]), np.array([points[-1], worst])
    below, beyond = (float(_cell_masses(pair, end[:1], end[1:])[0][0]) for end in ends)
    masses[0] += below
    return LatticeLaw(
        anchor=first,
        mesh=mesh,
        masses=masses * (1.0 + error),
        beyond=beyond * (1.0 + error) + TINY,
        drift=drift,
    )


def dominated_law(pair: LossPair, *, mesh: float, first: float, count: int) -> LatticeLaw:
    """A law below the step's, on ``count`` lattice points, ``first`` about the least."""
    anchor, (p, r) = first, _merged(pair, mesh, first, count)
    heaviest = int(np.argmax(p))
    if p[heaviest] > UNRESOLVED and r[heaviest] > 0:
        # Put a lattice point where the bulk's cell has its loss, less what rounding may have done to it.
        bulk = math.log(p[heaviest] / r[heaviest])
        anchor += (
            bulk - (first + mesh * heaviest) - 40.0 * mass_error(pair) - 80.0 * UNIT_ROUNDOFF * abs(bulk)
        )
        p, r = _merged(pair, mesh, anchor, count)
    losses = anchor + mesh * np.arange(count, dtype=np.float64)
    error = 2.0 * mass_error(pair) + 8.0 * UNIT_ROUNDOFF * float(np.abs(losses).max())
    weights = np.exp(np.minimum(losses, 700.0))
    for _ in range(RELABELLINGS):
        p, r = _relabelled(p, r, weights, 4.0 * error)
    balanced = r * weights * (1.0 + error) <= p * (1.0 - error)
    short = ~balanced & (r * weights * math.exp(-mesh) * (1.0 + error) <= p * (1.0 - error))
    masses = np.where(balanced, r * weights, 0.0)
    masses[:-1] += np.where(short, r * weights * math.exp(-mesh), 0.0)[1:]
    return LatticeLaw(anchor=anchor, mesh=mesh, masses=masses * (1.0 - error), beyond=0.0, drift=0.0)


def _relabelled(p: Array, r: Array, weights: Array, margin: float) -> tuple[Array, Array]:
    """Cells after each gave parts to its neighbours, so that ``p - r weights`` is nearer ``margin p``."""
    surplus = (1.0 - margin) * p - r * weights
    given = np.zeros_like(p), np.zeros_like(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        given[0][1:] = AIM_HIGH * np.maximum(-surplus[:-1], 0.0) / (p[1:] - r[1:] * weights[:-1])
        given[1][:-1] = AIM_LOW * np.maximum(surplus[1:], 0.0) / (r[:-1] * weights[1:] - p[:-1])
    down, up = (np.clip(np.nan_to_num(share, nan=0.0), 0.0, MOST_GIVEN) for share in given)
    moved = []
    for masses in (p, r):
        new = (1.0 - down - up) * masses
        new[:-1] += (down * masses)[1:]
        new[1:] += (up * masses)[:-1]
        moved.append(new)
    return moved[0], moved[1]


def mass_error(pair: LossPair) -> float:
    """A bound on the relative error of `_cell_masses`, within 20 deviations of either mean.

    The exponential of ``c^2 / 2 <= 200`` is good to ``200 u`` and c, of size 20 + 1 / sigma, to a rounding
    that is felt 20 times; five nodes and a few products take no more than what is left.
    """
    return UNIT_ROUNDOFF * (1000.0 + 100.0 / pair.noise_multiplier)


def _merged(pair: LossPair, mesh: float, first: float, count: int) -> tuple[Array, Array]:
    """P- and Q-masses of ``count`` cells of all losses, each around one lattice point."""
    middles = first + mesh * (np.arange(1, count, dtype=np.float64) - 0.5)
    points = _thresholds(pair, middles)
    inside = np.isfinite(points)
    slope_p, slope_q = pair.slopes(points[inside])
    slope = slope_p - slope_q
    share_p, share_q = np.abs(slope_p) * pair.noise_multiplier, np.abs(slope_q) * pair.noise_multiplier
    bend = (share_p * (1.0 - share_p) - share_q * (1.0 - share_q)) / pair.noise_multiplier**2
    safe = np.where(np.abs(slope) > 1e-200, slope, 1e-200)
    growth = np.clip((slope_p - points[inside] - bend / safe) / safe, -1e150, 1e150) - 0.5
    k = 0.5 * mesh * growth
    far = np.where(np.abs(k) > 1e-2, k, 1.0)
    langevin = np.where(np.abs(k) > 1e-2, 1.0 / np.tanh(far) - 1.0 / far, k / 3.0)
    middles[inside] -= 0.49 * mesh * np.clip(langevin, -1.0, 1.0)
    edge = math.inf if pair.p_shift or pair.q_shift < 0 else -math.inf
    points = np.concatenate([[-edge], _thresholds(pair, np.maximum.accumulate(middles)), [edge]])
    return _cell_masses(pair, points[:-1], points[1:])


def _thresholds(pair: LossPair, losses: Array) -> Array:
    """Where the loss passes each of ``losses``, to rounding; infinite where it is always on one side."""
    q, sigma = pair.sampling_prob, pair.noise_multiplier
    if pair.q_shift < 0:
        return np.sign(losses) * sigma * _replace_log_root(q, sigma, np.abs(losses))
    log_w = losses if pair.p_shift else -losses
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = np.log1p(np.expm1(np.minimum(log_w, 31.0)) / q)
        large = log_w - math.log(q) + np.log1p(-(1.0 - q) * np.exp(-np.maximum(log_w, 30.0)))
    share = np.where(log_w > 30.0, large, share)
    share = np.where(np.isnan(share), -np.inf, share)
    return sigma * share + 0.5 / sigma


def _replace_log_root(q: float, sigma: float, losses: Array) -> Array:
    """``ln x`` for the larger root of ``a x^2 - b x - alpha a``, see `one_step`."""
    with np.errstate(divide="ignore"):
        log_alpha_1 = losses + np.log(-np.expm1(-losses))
    ahead = log_alpha_1 + math.log1p(-q) - math.log(q) + 0.5 / sigma**2 - math.log(2.0)
    return np.logaddexp(ahead, 0.5 * np.logaddexp(2.0 * ahead, losses))


def _cell_masses(pair: LossPair, starts: Array, ends: Array) -> tuple[Array, Array]:
    """P- and Q-masses between pairs of points, in either order, to a relative `mass_error`."""
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    q, mean = pair.sampling_prob, 1.0 / pair.noise_multiplier
    without = _normal_mass(low, high, 0.0)

    def mixture(shift: int) -> Array:
        return (1.0 - q) * without + q * _normal_mass(low, high, shift * mean) if shift else without

    return mixture(pair.p_shift), mixture(pair.q_shift)


def _normal_mass(low: Array, high: Array, mean: float) -> Array:
    """The mass of ``N(mean, 1)`` in ``[low, high]``, to a relative error of 1e-13 but for that of ``mean``.

    Where the cell is not `NARROW`, the mass is at least a twentieth of the larger distribution value.
    """
    from scipy import special  # takes longer to import than all else here

    left, right = low - mean, high - mean
    flip = left > 0
    mass = special.ndtr(np.where(flip, -left, right)) - special.ndtr(np.where(flip, -right, left))
    with np.errstate(invalid="ignore"):
        half, centre = 0.5 * (high - low), 0.5 * (high + low) - mean
        narrow = half * (np.abs(centre) + half + 2.0) < NARROW
    if np.any(narrow):
        c, d = centre[narrow], half[narrow]
        total = np.zeros_like(c)
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            total += weight * np.exp(-d * node * (c + 0.5 * d * node))
        mass[narrow] = d * total * np.exp(-0.5 * c * c) / math.sqrt(2.0 * math.pi)
    return mass
