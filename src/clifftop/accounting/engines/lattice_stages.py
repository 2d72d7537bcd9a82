r"""Many releases whose usual loss is far below the lattice's mesh: composed in stages, from fine to coarse.

On a lattice of mesh h each of n releases adds up to ``h^2 / 4`` to the variance of the sum, or takes it off,
though one rounding of the sum would do. So losses are parted into the *bulk* B, those in a range around 0,
and the *rare* R. The bulk is composed on a finer mesh (by stages of its own, if need be), the sum rounded
once to the mesh, and put together with the rare ones. Let ``p_B, q_B`` be the bulk's P- and Q-mass and
``lambda = ln(p_B / q_B)``. As measures, n releases are ``(B + R)^n = sum_k C(n, k) R^k B^{n-k}``.

**Above.** ``B / p_B`` with all losses lowered by lambda is above the certain loss 0, into which it can be
merged. So R is below R with ``B / p_B`` lowered by lambda put to it, and

    (B + R)^n  <=  B^n (1 + R_{-lambda} / p_B)^n,

1 the certain loss 0, ``R_x`` being R with losses raised by x. Where at least K losses are rare but for a
small probability, which is put at infinity, ``p_B^K B^{n-K}`` raised by ``K lambda`` may stand for ``B^n``:
for ``k >= K``, ``B^{n-K} = B^{n-k} B^{k-K}``, and the last, lowered by ``(k - K) lambda``, is above
``p_B^{k-K}`` times the certain loss 0. (That a binomial of mean m is at most x < m has a probability of at
most ``exp(-(m - x)^2 / (2 m))``.)

**Below.** ``B^j`` is above its merging, ``p_B^j`` at ``j lambda``. For ``k <= K``, with ``B^{n-k} = B^{n-K}
B^{K-k}``,

    (B + R)^n  >=  p_B^K B^{n-K}, raised by K lambda, times sum_{k <= K} C(n, k) (R_{-lambda} / p_B)^k,

and the sum is that over all k less terms whose P-mass in all is the probability that ``Bin(n, rho)`` exceeds
K, rho being R's P-mass: at most ``e^{-n rho} (e n rho / (K+1))^{K+1}``, which is taken off every delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from clifftop.accounting.engines.lattice_cells import LARGEST_EXPONENT, HalfCells
from clifftop.accounting.engines.lattice_laws import (
    LatticeLaw,
    coarse_law_above,
    coarse_law_below,
    dominated_law,
    dominated_law_with_zero,
    dominating_law,
)
from clifftop.accounting.engines.lattice_sum import sum_of, window_law
from clifftop.accounting.pairs.base import UNIT_ROUNDOFF, Array, Pair

MOST_STAGES = 5
STAGE_SIZE = 1 << 14
"""FFT points of a stage."""
STAGE_MARGIN = 42.0
"""A stage's window is planned to hold all but ``exp(-42)`` of the tilted mass."""
FEWEST = 8
"""Fewer releases are not worth a stage."""
PLANNED_EXCESS = 40.0
WIDEST = 0.3
"""Wider meshes are far above any loss that is usual."""
MOST_RARE = 10_000
WORTHWHILE = 0.3
LEAST_FOLD = 2
REACH = 0.3
MOST_FOLDS = 10
"""A stage's mesh is at most 2^10 times as fine as that of the one before."""
SPREAD_FACTORS = (0.3, 0.6, 1.0, 1.6, 2.5)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A release's loss, roughly: losses, their P-masses, and these tilted and made to sum to 1."""

    losses: Array
    weights: Array
    tilted: Array

    @staticmethod
    def of(losses: Array, weights: Array, tilt: float) -> Profile:
        """The profile at a tilt."""
        exponents = tilt * (losses - losses.max())
        tilted = np.exp(exponents) * weights
        return Profile(losses=losses, weights=weights, tilted=tilted / tilted.sum())


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A lattice of ``mesh`` from ``low`` to ``high``, in meshes, ``offset`` added.

    Losses in ``inner`` are a bulk, which the next stage composes in ``groups`` equal parts; ``inner`` is None
    where all is resolved. The offset is 0 where there is a bulk.
    """

    mesh: float
    low: int
    high: int
    offset: float = 0.0
    inner: tuple[int, int] | None = None
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A pair's half cells in every stage, and the bulks' masses."""

    stages: tuple[Stage, ...]
    cells: tuple[HalfCells, ...]
    bulks: tuple[tuple[float, float], ...]
    tilt: float
    log_excess: float

    def laws(self, count: int, *, up: bool, stage: int = 0) -> list[tuple[LatticeLaw, int]]:
        """Laws on the mesh of ``stage`` whose composition is above or below ``count`` releases.

        Empty where nothing is known, from below, or masses would underflow.
        """
        here, cells = self.stages[stage], self.cells[stage]
        if here.inner is None:
            return [(dominating_law(cells) if up else dominated_law(cells), count)]
        p, q = self.bulks[stage]
        shift = math.log(p / q)
        error = 4.0 * cells.error + 64.0 * UNIT_ROUNDOFF * (1.0 + abs(shift))
        rho = float(cells.p.sum()) + cells.outside[0][0] + cells.outside[1][0]
        if up:
            rare_ones, dropped = _fewest_rare(count, rho * (1.0 - error), self.log_excess)
            rare = self._rare_above(stage, p * (1.0 - error), error - shift)
        else:
            rare_ones, dropped = _most_rare(count, rho * (1.0 + error), self.log_excess)
            rare = self._rare_below(stage, p * (1.0 + error), error + shift)
        inner = max(1, (count - rare_ones) // here.groups)
        groups, left = divmod(count - rare_ones, inner)
        bulks = [
            (self._bulk(n, stage, up=up), copies) for n, copies in ((inner, groups), (left, 1)) if n * copies
        ]
        sign = 1.0 if up else -1.0
        log_mass = rare_ones * math.log(p) + sign * rare_ones * error
        if abs(log_mass) > LARGEST_EXPONENT:
            return []
        atom = LatticeLaw(
            anchor=rare_ones * shift + sign * rare_ones * error,
            mesh=here.mesh,
            masses=np.array([math.exp(log_mass + sign * 1e-15 * (1.0 + abs(log_mass)))]),
            beyond=0.0,
        )
        known = [(law, copies) for law, copies in bulks if law is not None]
        # A certain loss of 0 that carries what is put elsewhere.
        note = LatticeLaw(anchor=0.0, mesh=here.mesh, masses=np.ones(1), beyond=dropped)
        return [*known, (rare, count), (atom, 1), (note, 1)] if len(known) == len(bulks) else []

    def _bulk(self, count: int, stage: int, *, up: bool) -> LatticeLaw | None:
        """A law above or below ``count`` releases' losses in the bulk of ``stage``, from the next stage."""
        laws = self.laws(count, up=up, stage=stage + 1)
        if not laws or not all(law.masses.any() for law, _ in laws):
            return None
        fine = window_law(sum_of(laws, tilt=self.tilt, size=STAGE_SIZE, up=up), up=up)
        ratio = round(self.stages[stage].mesh / fine.mesh)
        return coarse_law_above(fine, ratio) if up else coarse_law_below(fine, ratio)

    def _rare_above(self, stage: int, bulk: float, raised_by: float) -> LatticeLaw:
        cells = self.cells[stage]
        law = dominating_law(cells)
        # All of it, the anchor's drift as well, goes into the masses, so that the certain loss 0 stays put.
        raised_by += law.anchor - cells.first
        steps = math.floor(raised_by / law.mesh)
        part = math.expm1(-(raised_by - steps * law.mesh)) / math.expm1(-law.mesh)
        part = min(1.0, part * (1.0 + 8.0 * UNIT_ROUNDOFF) + 4.0 * UNIT_ROUNDOFF)
        first = cells.first + law.mesh * min(steps, 0)
        zero = -self.stages[stage].low - min(steps, 0)
        masses = np.zeros(len(law.masses) + 1 + abs(steps))
        for place, share in ((max(steps, 0), 1.0 - part), (max(steps, 0) + 1, part)):
            masses[place : place + len(law.masses)] += law.masses * share
        masses *= (1.0 + 8.0 * UNIT_ROUNDOFF) / bulk
        masses[zero] += 1.0
        return LatticeLaw(
            anchor=first, mesh=law.mesh, masses=masses, beyond=law.beyond / bulk * (1.0 + 8.0 * UNIT_ROUNDOFF)
        )

    def _rare_below(self, stage: int, bulk: float, lowered_by: float) -> LatticeLaw:
        return dominated_law_with_zero(
            self.cells[stage],
            zero=-self.stages[stage].low,
            scale=(1.0 - 8.0 * UNIT_ROUNDOFF) / bulk,
            lowered_by=lowered_by,
        )


def _fewest_rare(count: int, mass: float, log_probability: float) -> tuple[int, float]:
    """A number K of rare losses, and a bound on the probability of fewer."""
    mean = count * mass * (1.0 - 1e-12)
    fewest = max(0, math.floor(mean - math.sqrt(-2.0 * mean * log_probability)))
    # exp(-mean (1 - x)^2 / 2) bounds the probability of at most x times the mean.
    return fewest, math.exp(-0.5 * (mean - fewest) ** 2 / mean) * 1.001 if fewest else 0.0


def _most_rare(count: int, mass: float, log_probability: float) -> tuple[int, float]:
    """A number K of rare losses, and a bound on the probability of more."""
    mean = count * mass
    step, most = 1, math.ceil(mean)
    while True:
        more = most + 1
        log_bound = more - mean + more * math.log(max(mean, 1e-300) / more)
        if log_bound <= log_probability or most >= count:
            return min(most, count), math.exp(log_bound) * 1.001 if most < count else 0.0
        most += step
        step = max(1, most // 16)


def stage_pair(pair: Pair, stages: tuple[Stage, ...], *, tilt: float, log_excess: float) -> Staged:
    """The half cells of all stages, from one partition of all losses."""
    outer = [stage for stage in stages if stage.inner is not None]
    last = stages[-1]
    lefts = [0.5 * s.mesh * np.arange(2 * s.low, 2 * s.inner[0], dtype=np.float64) for s in outer if s.inner]
    rights = [
        0.5 * s.mesh * np.arange(2 * s.inner[1] + 1, 2 * s.high + 1, dtype=np.float64)
        for s in outer
        if s.inner
    ]
    middle = last.offset + 0.5 * last.mesh * np.arange(2 * last.low, 2 * last.high + 1, dtype=np.float64)
    edges = np.concatenate([[-math.inf], *lefts, middle, *rights[::-1], [math.inf]])
    masses = pair.masses(edges)
    cells: list[HalfCells] = []
    bulks: list[tuple[float, float]] = []
    left, right = 1, len(masses.p) - 1
    for number, stage in enumerate(stages):
        inner = stage.inner
        if inner is None:
            parts = [masses.p[left:right], masses.q[left:right]]
        else:
            a, b = left + 2 * (inner[0] - stage.low), right - 2 * (stage.high - inner[1])
            hole = np.zeros(2 * (inner[1] - inner[0]))
            parts = [np.concatenate([part[left:a], hole, part[b:right]]) for part in (masses.p, masses.q)]
            bulks.append((float(masses.p[a:b].sum()), float(masses.q[a:b].sum())))
            left, right = a, b
        outside = ((0.0, 0.0), (0.0, 0.0))
        if number == 0:
            outside = ((float(masses.p[0]), float(masses.q[0])), (float(masses.p[-1]), float(masses.q[-1])))
        cells.append(
            HalfCells(
                first=stage.offset + stage.mesh * stage.low,
                mesh=stage.mesh,
                p=parts[0],
                q=parts[1],
                outside=outside,
                error=pair.mass_error,
                drift=masses.drift,
            )
        )
    return Staged(stages=stages, cells=tuple(cells), bulks=tuple(bulks), tilt=tilt, log_excess=log_excess)


def plan_stages(
    profile: Profile, count: int, here: Stage, *, tilt: float, tolerance: float, log_delta: float
) -> tuple[Stage, ...]:
    """Stages for ``count`` releases on the lattice ``here``, each costing about ``tolerance`` of ln delta."""
    stages: list[Stage] = []
    parts = 1
    size = np.abs(profile.losses)
    while len(stages) < MOST_STAGES:
        cost = 0.125 * tilt * (1.0 + tilt) * here.mesh**2
        groups = max(1, min(int(tolerance / (cost * parts)), count // (2 * parts * FEWEST)))
        if count * cost <= tolerance or here.low > -1 or here.high < 1 or here.mesh > WIDEST:
            break
        fold = 0
        while fold < LEAST_FOLD and 2 * groups * parts * FEWEST <= count:
            reach = _reach(profile, here.mesh, count, count // (parts * groups), tolerance / cost)
            bulk = size <= reach * here.mesh
            if float(profile.tilted[bulk].sum()) < 0.5:
                break
            spread = _spread(profile.losses[bulk], profile.tilted[bulk], count // (parts * groups), log_delta)
            fold = math.floor(min(math.log2(STAGE_SIZE * here.mesh) - math.log2(spread), MOST_FOLDS))
            groups = groups if fold >= LEAST_FOLD else 2 * groups
        if fold < LEAST_FOLD:
            break
        # As many of a stage's releases as may be rare at most are lost to the law below.
        rare = _most_rare(count // parts, float(profile.weights[~bulk].sum()), log_delta - PLANNED_EXCESS)[0]
        variance = float(profile.tilted[bulk] @ profile.losses[bulk] ** 2)
        lost = 0.5 * tilt * (1.0 + tilt) * variance * rare * parts
        if lost > WORTHWHILE * count * cost or rare > MOST_RARE:
            break
        tolerance = max(tolerance, WORTHWHILE * lost)
        edge = max(here.low, -reach), min(here.high, reach)
        stages.append(replace(here, inner=edge, groups=groups))
        here = Stage(mesh=here.mesh * 0.5**fold, low=edge[0] << fold, high=edge[1] << fold)
        parts *= groups
    return (*stages, here)


def _reach(profile: Profile, mesh: float, count: int, inner: int, most: float) -> int:
    """How many meshes the bulk reaches, a power of 2.

    So far that at most ``most`` rare losses are rounded to the mesh, and farther while that is below the
    deviation of the sum of ``inner``.
    """
    size = np.abs(profile.losses)
    reach = 1
    while mesh * reach < size.max() and (
        count * float(profile.tilted[size > reach * mesh].sum()) > most
        or _fits(profile, 2.0 * reach * mesh, inner)
    ):
        reach *= 2
    return reach


def _fits(profile: Profile, reach: float, count: int) -> bool:
    """Whether losses up to ``reach`` are still of the size of the deviation of the sum of so many."""
    bulk = np.abs(profile.losses) <= reach
    return REACH**2 * reach**2 <= count * float(profile.tilted[bulk] @ profile.losses[bulk] ** 2)


def _spread(losses: Array, weights: Array, count: int, log_delta: float) -> float:
    """About the width of a window that holds the sum of ``count`` losses, under the tilt and under P."""
    heavy = weights > 0  # a loss of weight 0 may lie so far out that all others vanish beside it
    losses, weights = losses[heavy], weights[heavy] / weights[heavy].sum()
    mean = float(weights @ losses)
    deviation = math.sqrt(count * float(weights @ (losses - mean) ** 2)) + 1e-300
    far = STAGE_MARGIN + max(0.0, -log_delta - 22.0)
    ends = [math.inf, math.inf]
    for factor in SPREAD_FACTORS:
        at = factor * math.sqrt(2.0 * far) / deviation
        for place, sign in enumerate((1.0, -1.0)):
            exponents = sign * at * (losses - mean)
            peak = float(exponents.max())
            log_moment = count * (peak + math.log(float(weights @ np.exp(exponents - peak))))
            ends[place] = min(ends[place], (log_moment + far) / at)
    return 1.1 * sum(ends) + 1e-300
