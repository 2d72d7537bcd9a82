"""What a tuning will do, fixed before it looks at anything: settings, law, noise, score, and the price."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context, Decimal
from typing import TYPE_CHECKING, Any, final

from clifftop import accounting
from clifftop.accounting import Bound, Unreachable
from clifftop.codec import canonical_json, content_id
from clifftop.events import NeighboringRelation
from clifftop.lab.spec import RunSpec
from clifftop.lab.sweep.axes import Axis, Between
from clifftop.lab.tuning.covering import (
    SelectionLaw,
    Setting,
    costliest,
    cover,
    selection_epsilons,
    setting_of,
)
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.scores import (
    CountScore,
    PublicScore,
    ScoreRule,
    least_std,
    require_count,
    score_epsilon,
)
from clifftop.noise import Gaussian

if TYPE_CHECKING:
    from clifftop.lab.sweep import Point, Sweep

NOISE_AXES = ("noise_multiplier", "target_epsilon")
LENGTH_AXES = ("expected_batch_size", "epochs", "steps")
MOST_SETTINGS = 10_000
TOLERANCE = 2e-3
"""By how much the price may stay below the epsilon that noise is calibrated to, relative."""
MOST_GUESSES = 12
_ROUNDED_UP = Context(prec=6, rounding=ROUND_CEILING)

Length = tuple[float, int]
"""Sampling probability and steps of a `Setting`."""


@final
@dataclass(frozen=True, kw_only=True)
class Design:
    """A tuning, as a value.

    Attributes:
        sweep: the axes that settings are drawn from, model, data, and the goal.
        trials: the law of the number of trials.
        score: how trials are ranked.
        num_examples: N, the training rows.
        least_noise: the least noise multiplier of a trial with these sampling probability and steps; a
            trial whose setting would have less gets this.
        is_calibrated: whether ``least_noise`` is the noise of every trial, and what the sweep says is not.
        epsilon: the price of all that is released, at the sweep's delta.
        one_run: the epsilon of the costliest trial by itself.
    """

    sweep: Sweep
    trials: SelectionLaw
    score: ScoreRule
    num_examples: int
    least_noise: Mapping[Length, float]
    is_calibrated: bool
    epsilon: Bound = field(compare=False)
    one_run: Bound = field(compare=False)

    @property
    def neighboring_relation(self) -> NeighboringRelation:
        """What the price speaks of."""
        relation = self.sweep.neighboring_relation
        assert relation is not None
        return relation

    @property
    def id(self) -> str:
        """The same for the same tuning in any process."""
        noise = [[*length, sigma] for length, sigma in sorted(self.least_noise.items())]
        content = {"sweep": self.sweep.canonical, "noise": noise, "calibrated": self.is_calibrated}
        content |= {
            "trials": canonical_json(self.trials),
            "rows": self.num_examples,
            "score": repr(self.score),
        }
        return content_id(canonical_json(content))

    def spec(self, point: Point, *, seed: int) -> RunSpec:
        """The trial at a point, before its streams are made secret; judged once, at its end."""
        spec = _plain_spec(self.sweep, point, self.num_examples, seed)
        setting = setting_of(spec, num_examples=self.num_examples)
        least = self.least_noise[setting.sampling_prob, setting.steps]
        sigma = least if self.is_calibrated else max(least, setting.noise_multiplier)
        return replace(spec, plan=replace(spec.plan, noise=Gaussian(noise_multiplier=sigma)))


def design(
    sweep: Sweep,
    trials: SelectionLaw,
    *,
    num_examples: int,
    num_scored: int | None,
    target_epsilon: float | None = None,
) -> Design:
    """Fix a tuning and find its price.

    Args:
        sweep: its axes are the settings; seeds, sharing and search are not used.
        trials: the law of the number of trials.
        num_examples: N, the training rows.
        num_scored: M, the rows that trials are scored on if these are private; None if they are public.
        target_epsilon: the noise of every setting is calibrated so that the whole tuning costs no more;
            None takes the noise that the sweep says.

    Raises:
        TuneError: the sweep cannot be tuned like this; the line says why.
    """
    _require_fit(sweep, calibrated=target_epsilon is not None)
    delta, relation = sweep.delta, sweep.neighboring_relation
    assert relation is not None
    settings = {setting_of(spec, num_examples=num_examples) for spec in _extremes(sweep, num_examples)}

    def price(chosen: Iterable[Setting]) -> Bound:
        runs = [setting.event for setting in cover(chosen)]
        return selection_epsilons(runs, [trials], delta=delta, neighboring_relation=relation)[0]

    if target_epsilon is not None:
        settings = _calibrated(settings, price, target_epsilon, delta, relation)
    epsilon = price(settings)
    one_run = costliest(settings, delta=delta, neighboring_relation=relation)
    metric = next((m for m, name in _metrics(sweep) if name == sweep.goal.metric), None)
    score: ScoreRule = PublicScore(maximize=sweep.goal.maximize)
    if num_scored is not None:
        require_count(metric, sweep.goal.metric)
        limit = epsilon.upper if target_epsilon is None else target_epsilon
        std = least_std(trials, epsilon=limit, delta=delta, neighboring_relation=relation)
        score = CountScore(num_rows=num_scored, std=std, maximize=sweep.goal.maximize)
        scored = score_epsilon(std, trials, delta=delta, neighboring_relation=relation)
        epsilon = _at_least(epsilon, scored)
    return Design(
        sweep=sweep,
        trials=trials,
        score=score,
        num_examples=num_examples,
        least_noise=_least_noise(settings),
        is_calibrated=target_epsilon is not None,
        epsilon=epsilon,
        one_run=one_run,
    )


def _require_fit(sweep: Sweep, *, calibrated: bool) -> None:
    axes = sweep.axes_in_order
    if sweep.public:
        raise TuneError(
            "public must be false for a tuning, found public = true: such data cost no privacy; "
            "train the sweep with clifftop sweep, and choose freely"
        )
    for name, axis in axes.items():
        if name.startswith("data."):
            raise TuneError(
                f"all trials must train on one data set, found axes.{name}; remove it, or tune each alone"
            )
        if name in LENGTH_AXES and isinstance(axis, Between):
            raise TuneError(
                f"axes.{name} must be a list of values, found a range: every batch size and length is priced "
                "by itself; write a list"
            )
        if calibrated and name in NOISE_AXES:
            raise TuneError(
                f"axes.{name} must not be there with a target for the whole tuning, found it; remove it"
            )


def _extremes(sweep: Sweep, num_examples: int) -> Iterator[RunSpec]:
    """Trials of which one is at least as costly as any that can be drawn.

    Noise falls as a noise multiplier does and as a target epsilon rises, so a range is its two ends. All
    other axes decide no privacy and stay at one value.
    """
    axes = sweep.axes_in_order.without(("seed",))
    decisive = {name: _ends(axis) for name, axis in axes.items() if name in (*NOISE_AXES, *LENGTH_AXES)}
    count = math.prod(map(len, decisive.values()))
    if count > MOST_SETTINGS:
        raise TuneError(
            f"a tuning must have at most {MOST_SETTINGS:,} combinations of batch size, length and noise, "
            f"found {count:,}; give fewer values"
        )
    others = {name: axis.at(0.0) for name, axis in axes.items() if name not in decisive}
    for values in itertools.product(*decisive.values()):
        point = {**others, **dict(zip(decisive, values, strict=True))}
        spec = _plain_spec(sweep, {name: point[name] for name in axes}, num_examples, 0)
        if not spec.plan.is_private:
            raise TuneError(
                f"every trial must have noise and a finite clip norm, found neither at {dict(point)}; "
                "remove such values"
            )
        yield spec


def _ends(axis: Axis) -> tuple[Any, ...]:
    return (axis.low, axis.high) if isinstance(axis, Between) else axis.values()


def _plain_spec(sweep: Sweep, point: Point, num_examples: int, seed: int) -> RunSpec:
    spec = sweep.spec(point, num_examples=num_examples, seed=seed)
    return replace(spec, seed=seed, noise_seed=None, evaluate_every=spec.steps)


def _calibrated(
    settings: set[Setting],
    price: Callable[[Iterable[Setting]], Bound],
    target: float,
    delta: float,
    relation: NeighboringRelation,
) -> set[Setting]:
    """The same lengths with the noise at which one run of each has the same epsilon, and all the target."""

    def with_one_run(epsilon: float) -> set[Setting]:
        return {
            replace(setting, noise_multiplier=_noise_for(setting, epsilon, delta, relation))
            for setting in settings
        }

    low, high = 0.0, target  # a selection costs no less than one run
    guess, found = 0.6 * target, set[Setting]()
    try:
        for _ in range(MOST_GUESSES):
            chosen = with_one_run(guess)
            cost = price(chosen).upper
            if cost <= target:
                low, found = guess, chosen
                if cost >= (1.0 - TOLERANCE) * target:
                    break
            else:
                high = guess
            # About in proportion; a guess outside of what is known halves it.
            guess *= (1.0 - 0.5 * TOLERANCE) * target / cost
            if not low < guess < high:
                guess = 0.5 * (low + high)
    except Unreachable as error:
        raise TuneError(
            f"epsilon must be reachable for the whole tuning, found {target:g} ({error})"
        ) from error
    if not found:
        raise TuneError(
            f"epsilon must be reachable for the whole tuning, found {target:g}; raise it, or expect fewer "
            "trials"
        )
    return found


def _noise_for(setting: Setting, epsilon: float, delta: float, relation: NeighboringRelation) -> float:
    exact = accounting.calibrate_noise_multiplier(
        lambda sigma: replace(setting, noise_multiplier=sigma).event,
        target_epsilon=epsilon,
        target_delta=delta,
        neighboring_relation=relation,
        tolerance=0.1 * TOLERANCE,
    )
    return float(_ROUNDED_UP.create_decimal(Decimal(exact)))


def _least_noise(settings: Iterable[Setting]) -> dict[Length, float]:
    found: dict[Length, float] = {}
    for setting in settings:
        length = (setting.sampling_prob, setting.steps)
        found[length] = min(setting.noise_multiplier, found.get(length, math.inf))
    return found


def _metrics(sweep: Sweep) -> Iterator[tuple[Any, str]]:
    for metric in sweep.metrics:
        yield metric, metric.target.rpartition(":")[2].rpartition(".")[2]


def _at_least(bound: Bound, floor: float) -> Bound:
    """The bound on the larger of two prices, of the second of which only a ceiling is known."""
    if floor <= bound.upper:
        return bound
    return Bound(lower=bound.lower, estimate=floor, upper=floor, method=f"{bound.method}; score")
