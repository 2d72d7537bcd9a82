r"""The cost of a search whose trials have different settings: a few runs that dominate all others.

**What dominates what.** A pair of laws that another turns into by post-processing costs no more, at every
epsilon, alone and in any composition. For T steps of ``PoissonSampled(q, Gaussian(sigma))``:

- fewer steps: leave the last ones out;
- more noise: add noise;
- a smaller q' < q: with probability ``1 - q' / q`` exchange the release for one without the example. With
  ``P = (1 - q) B + q A`` this gives ``(1 - q') B + q' A``, and B stays B; where one example is replaced by
  another, both sides alike.

So (q, sigma, T) dominates all (q', sigma', T') with q' <= q, sigma' >= sigma and T' <= T. In a fixed order
one number, ``T / sigma^2``, decides. Of many runs that do not dominate each other, groups are replaced by one
that dominates the group: the bound rises and stays a bound.

**Selection over several settings.** A trial's setting is drawn from a law that does not look at the data, so
a trial is a mixture over settings, setting shown; its profile is a mean of theirs, at most their maximum, and
so is its moment of every order. `clifftop.accounting.selection_bounds` asks for no more than such bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from operator import itemgetter
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop import accounting, events
from clifftop.accounting import Accountant, Bound, RenyiAccountant
from clifftop.accounting.engines.moments import log_kink
from clifftop.accounting.selection_bounds import SelectionLaw
from clifftop.accounting.selection_forms import OneRun, make_tuning
from clifftop.events import (
    DpEvent,
    NegativeBinomialTrials,
    NeighboringRelation,
    PoissonSampled,
    PoissonTrials,
    RepeatAndSelect,
    SelfComposed,
)
from clifftop.lab.spec import RunSpec
from clifftop.noise import Gaussian
from clifftop.sampling import FixedOrder, Poisson

MOST_COVERS = 16
"""Runs whose whole profiles are asked for, at most; more are joined in groups."""
MOST_ASKED = 100
"""Runs whose epsilons are asked for, at most."""
MOST_COMPARED = 400
"""Runs that are compared with each other, at most."""
MOST_GUESSES = 8
FIRST_WIDTH = 1e-3
"""The narrowest groups, in e-folds of q, sigma and T."""
WIDENING = 1.5
TILTS = np.geomspace(1e-2, 1e3, 26)
CEILING_SLACK = 1e-9
VAST_EPSILON = 1e3
"""Beyond it Renyi divergences alone are asked: they take no longer than for small ones."""
ROUNDING = 1e-12


@final
@dataclass(frozen=True, order=True)
class Setting:
    """What decides a run's privacy; in a fixed order q is 0 and the steps are an example's participations."""

    sampling_prob: float
    noise_multiplier: float
    steps: int

    @property
    def event(self) -> DpEvent:
        """What a run releases."""
        noise = events.Gaussian(self.noise_multiplier)
        if self.sampling_prob == 0:
            return events.FixedOrder(noise, self.steps)
        return SelfComposed(PoissonSampled(self.sampling_prob, noise), self.steps)

    def dominates(self, other: Setting) -> bool:
        """Whether the other costs no more, proven by the rules of the module."""
        if (self.sampling_prob == 0) != (other.sampling_prob == 0):
            return False
        if self.sampling_prob == 0:
            return _mu_sq(self) >= _mu_sq(other)
        return (
            self.sampling_prob >= other.sampling_prob
            and self.noise_multiplier <= other.noise_multiplier
            and self.steps >= other.steps
        )


def setting_of(spec: RunSpec, *, num_examples: int) -> Setting:
    """What decides the privacy of a private run.

    Raises:
        ValueError: its plan is none of those covered here.
    """
    plan = spec.plan
    plain = plan.is_private and plan.clipping.event() == events.NoOp()
    match plan.sampler, plan.noise:
        case Poisson(sampling_prob=q), Gaussian(noise_multiplier=sigma) if plain:
            return Setting(q, sigma, spec.steps)
        case FixedOrder() as order, Gaussian(noise_multiplier=sigma) if plain:
            return Setting(0.0, sigma, order.participations(steps=spec.steps, num_examples=num_examples))
    raise ValueError(
        "a search must be of runs with Gaussian noise, a finite clip norm and Poisson or fixed-order "
        f"batches, found {plan}; leave such runs out"
    )


def maximal(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Those that no other dominates, the largest q first.

    >>> maximal([Setting(0.1, 1.0, 100), Setting(0.1, 2.0, 100), Setting(0.1, 2.0, 50)])
    (Setting(sampling_prob=0.1, noise_multiplier=1.0, steps=100),)
    """
    distinct = set(settings)
    ordered = [setting for setting in distinct if setting.sampling_prob == 0]
    sampled = [setting for setting in distinct if setting.sampling_prob > 0]
    kept: list[Setting] = []
    sigmas, steps = np.empty(len(sampled)), np.empty(len(sampled))
    # What dominates a setting comes before it in this order.
    for setting in sorted(sampled, key=lambda s: (-s.sampling_prob, s.noise_multiplier, -s.steps)):
        n = len(kept)
        if not np.any((sigmas[:n] <= setting.noise_multiplier) & (steps[:n] >= setting.steps)):
            sigmas[n], steps[n] = setting.noise_multiplier, setting.steps
            kept.append(setting)
    return (*kept, *([max(ordered, key=_mu_sq)] if ordered else []))


def cover(settings: Iterable[Setting], *, most: int = MOST_COVERS) -> tuple[Setting, ...]:
    """At most ``most`` settings that dominate all others between them; some of these where that many do."""
    exact = maximal(settings)
    found, width = exact, FIRST_WIDTH
    while len(found) > MOST_COMPARED:
        found = maximal(rounded(setting, width) for setting in exact)
        width *= WIDENING
    return maximal(_merged(found, most))


def _merged(settings: Sequence[Setting], most: int) -> list[Setting]:
    """Neighbours by steps replaced by what dominates both, the cheapest such step first."""
    row = sorted(settings, key=lambda s: (s.steps, s.noise_multiplier, s.sampling_prob))
    row = [*(s for s in row if s.sampling_prob == 0), *(s for s in row if s.sampling_prob > 0)]
    while len(row) > most:
        pairs = [
            (_join(a, b), a, b) for a, b in pairwise(row) if (a.sampling_prob > 0) == (b.sampling_prob > 0)
        ]
        rises = [_log_cost(both) - max(_log_cost(a), _log_cost(b)) for both, a, b in pairs]
        best = int(np.argmin(rises))
        both, a, _ = pairs[best]
        place = row.index(a)
        row[place : place + 2] = [both]
    return row


def _join(a: Setting, b: Setting) -> Setting:
    """The cheapest setting that dominates both."""
    return Setting(
        max(a.sampling_prob, b.sampling_prob),
        min(a.noise_multiplier, b.noise_multiplier),
        max(a.steps, b.steps),
    )


def costliest(
    settings: Iterable[Setting], *, delta: float, neighboring_relation: NeighboringRelation
) -> Bound:
    """The epsilon of the run that costs most alone."""
    exact = set(settings)
    covering = cover(exact, most=MOST_ASKED)
    bound = _largest(covering, delta, neighboring_relation)
    if exact.issuperset(covering):
        return bound
    likely = sorted(exact, key=_log_cost)[-MOST_GUESSES:]
    lower = min(_largest(likely, delta, neighboring_relation).lower, bound.upper)
    method = f"{bound.method}, settings joined"
    return Bound(lower=lower, estimate=bound.upper, upper=bound.upper, method=method)


def selection_epsilons(
    runs: Sequence[DpEvent],
    laws: Sequence[SelectionLaw],
    *,
    delta: float,
    neighboring_relation: NeighboringRelation,
) -> list[Bound]:
    """The epsilon of showing the best of K trials, for each law of K.

    Each trial is any of ``runs``, drawn by a law that does not look at the data.
    ``lower`` is what one run costs: the costliest, if the law may draw it always.
    """
    alone = [
        accounting.epsilon(run, delta=delta, neighboring_relation=neighboring_relation).upper for run in runs
    ]
    vast = max(alone) > VAST_EPSILON
    if len(runs) == 1 and not vast:
        selections = [RepeatAndSelect(runs[0], law) for law in laws]
        return [
            accounting.epsilon(event, delta=delta, neighboring_relation=neighboring_relation)
            for event in selections
        ]
    accountant = RenyiAccountant(neighboring_relation) if vast else _Tightest(neighboring_relation)
    any_run = _any_of(runs, accountant)
    return [_selected(runs, any_run, law, delta, neighboring_relation) for law in laws]


def _selected(
    runs: Sequence[DpEvent],
    any_run: OneRun,
    trials: SelectionLaw,
    delta: float,
    neighboring_relation: NeighboringRelation,
) -> Bound:
    shown = 1.0
    if isinstance(trials, PoissonTrials):
        shown = -math.expm1(-trials.mean) * (1.0 - ROUNDING)
    lower, method = 0.0, f"selection over {len(runs)} settings"
    if delta < shown:
        lower = max(
            accounting.epsilon(run, delta=delta / shown, neighboring_relation=neighboring_relation).lower
            for run in runs
        )
    if trials.mean == 1 and isinstance(trials, NegativeBinomialTrials):
        upper = any_run.epsilon(delta)
    else:
        tuning = make_tuning(trials, any_run)
        upper = min(tuning.epsilon(delta), tuning.renyi_epsilon(delta))
    upper = max(lower, upper)
    return Bound(lower=lower, estimate=upper, upper=upper, method=method)


@final
@dataclass(frozen=True)
class _Tightest:
    """All accountants together."""

    neighboring_relation: NeighboringRelation

    def epsilon(self, event: DpEvent, *, delta: float) -> Bound:
        """See `clifftop.accounting.epsilon`."""
        return accounting.epsilon(event, delta=delta, neighboring_relation=self.neighboring_relation)

    def delta(self, event: DpEvent, *, epsilon: float) -> Bound:
        """See `clifftop.accounting.delta`."""
        return accounting.delta(event, epsilon=epsilon, neighboring_relation=self.neighboring_relation)


def _any_of(runs: Sequence[DpEvent], accountant: Accountant) -> OneRun:
    """The pointwise maximum of what is known of each."""
    renyi = RenyiAccountant(accountant.neighboring_relation)
    ceilings = [(_Ceiling.of(run, renyi), run) for run in runs]

    @cache
    def delta(epsilon: float) -> float:
        known = [(ceiling.delta(epsilon), run) for ceiling, run in ceilings]
        return _most(known, lambda run: accountant.delta(run, epsilon=epsilon).upper)

    @cache
    def epsilon(delta: float) -> float:
        known = [(ceiling.epsilon(delta), run) for ceiling, run in ceilings]
        return _most(known, lambda run: accountant.epsilon(run, delta=delta).upper)

    @cache
    def divergence(order: float) -> float:
        return max(renyi.divergence(run, order=order) for run in runs)

    return OneRun(delta=delta, epsilon=epsilon, divergence=divergence)


@final
@dataclass(frozen=True, eq=False)
class _Ceiling:
    """What Renyi divergences of a few orders say of one run: far from tight, and known at once.

    Attributes:
        log_bounds: ``c D(1 + c) + ln k(c)`` at each of `TILTS` (see `clifftop.accounting.engines.moments`).
    """

    log_bounds: NDArray[np.float64]

    @classmethod
    def of(cls, run: DpEvent, accountant: RenyiAccountant) -> _Ceiling:
        moments = [tilt * accountant.divergence(run, order=1.0 + tilt) for tilt in TILTS]
        kinks = np.array([log_kink(tilt) for tilt in TILTS])
        return cls(np.array(moments) * (1.0 + CEILING_SLACK) + kinks + CEILING_SLACK)

    def delta(self, epsilon: float) -> float:
        """At least the run's delta."""
        return math.exp(min(0.0, float((self.log_bounds - TILTS * epsilon).min())))

    def epsilon(self, delta: float) -> float:
        """At least the run's epsilon."""
        return max(0.0, float(((self.log_bounds - math.log(delta)) / TILTS).min()) * (1.0 + CEILING_SLACK))


def _most(ceilings: Sequence[tuple[float, DpEvent]], cost: Callable[[DpEvent], float]) -> float:
    """The largest cost; a run whose ceiling is below what was found is not asked about."""
    found = 0.0
    for ceiling, run in sorted(ceilings, key=itemgetter(0), reverse=True):
        if ceiling <= found:
            break
        found = max(found, min(ceiling, cost(run)))
    return found


def _largest(settings: Sequence[Setting], delta: float, neighboring_relation: NeighboringRelation) -> Bound:
    """The largest epsilon; a run that a Renyi bound already puts below another is not asked about again."""
    if len(settings) == 1:
        return accounting.epsilon(settings[0].event, delta=delta, neighboring_relation=neighboring_relation)
    renyi = RenyiAccountant(neighboring_relation)
    ceilings = {setting: renyi.epsilon(setting.event, delta=delta).upper for setting in settings}
    found = Bound(lower=0.0, estimate=0.0, upper=0.0, method="no run")
    for setting in sorted(settings, key=ceilings.__getitem__, reverse=True):
        if ceilings[setting] <= found.upper:
            break
        found = found.join(
            accounting.epsilon(setting.event, delta=delta, neighboring_relation=neighboring_relation)
        )
    return found


def rounded(setting: Setting, width: float) -> Setting:
    """A setting that dominates it, on a grid of ``width`` e-folds."""

    def up(value: float) -> float:
        return math.exp(math.ceil(math.log(value) / width - ROUNDING) * width) * (1.0 + ROUNDING)

    if setting.sampling_prob == 0:
        return setting
    rounded = Setting(
        max(setting.sampling_prob, min(1.0, up(setting.sampling_prob))),
        min(setting.noise_multiplier, 1.0 / up(1.0 / setting.noise_multiplier)),
        max(setting.steps, math.ceil(up(float(setting.steps)))),
    )
    assert rounded.dominates(setting)
    return rounded


def _mu_sq(setting: Setting) -> float:
    return setting.steps / setting.noise_multiplier**2


def _log_cost(setting: Setting) -> float:
    """Grows about as epsilon does, on a logarithmic scale; decides only where to look."""
    q, sigma = max(setting.sampling_prob, 1e-9), setting.noise_multiplier
    if setting.sampling_prob == 0:
        return math.log(_mu_sq(setting))
    # ln(e^x - 1) at x = sigma^-2, which overflows nowhere.
    x = sigma**-2
    return 2.0 * math.log(q) + math.log(setting.steps) + x + math.log(-math.expm1(-x))
