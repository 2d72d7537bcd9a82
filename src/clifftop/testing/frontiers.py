"""Evidence with planted effects: frontiers, arms and noise of known size, drawn in milliseconds.

For tests of the analysis: what was planted is what must be found, and where nothing was planted nothing
may be claimed. The scores are draws from a stated model, not trainings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.analysis.evidence import Arm, Cell, Epsilon, Evidence
from clifftop.analysis.evidence.cells import NOISE_SETTINGS, Scalar

Setting = Mapping[str, Scalar]
Shape = Callable[[float], float]

EPSILONS = tuple(2.0**power for power in range(-3, 6))
"""Nine levels, each twice the one before: 0.125 to 32."""
_FIXED: Setting = {
    "lr": 0.1,
    "clip_norm": 1.0,
    "expected_batch_size": 64.0,
    "steps": 140,
    "clipping": "flat",
    "optimizer": "sgd",
    "model": "mlp",
}


class TestRows(Enum):
    """Which test rows a run is scored on."""

    __test__ = False  # pytest: no test, despite its name

    OWN = auto()
    """Each run on rows of its own: binomial errors independent of each other."""
    REDRAWN = auto()
    """Each seed draws rows, which its runs share: a row that a poor model gets right no better one fails."""
    FIXED = auto()
    """One set of rows for all runs: their error is in every mean and in no spread over seeds."""


@final
@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the original model reaches, and what is lost on the way to the private one; shares in [0, 1].

    The arms' utilities follow: ``neither = original - architecture``, ``clipping = neither - clipping``,
    ``noise = neither - noise``, ``both = neither - clipping - noise - interaction``.

    >>> planted = Parts(original=0.9, clipping=0.1, noise=0.2, interaction=0.05)
    >>> round(planted.utility(Arm.BOTH), 9), planted.utility(Arm.NEITHER)
    (0.55, 0.9)
    """

    original: float = 0.95
    architecture: float = 0.0
    clipping: float = 0.0
    noise: float = 0.0
    interaction: float = 0.0

    def utility(self, arm: Arm) -> float:
        """The planted mean of an arm."""
        neither = self.original - self.architecture
        both = neither - self.clipping - self.noise - self.interaction
        return {
            Arm.ORIGINAL: self.original,
            Arm.NEITHER: neither,
            Arm.CLIPPING: neither - self.clipping,
            Arm.NOISE: neither - self.noise,
            Arm.BOTH: both,
        }[arm]


def logistic(*, low: float = 0.2, high: float = 0.9, middle: float = 2.0, scale: float = 1.5) -> Shape:
    """A smooth frontier, logistic in log2 of epsilon; nine tenths of it lie within 5.9 ``scale`` doublings.

    >>> smooth = logistic(low=0.2, high=0.8, middle=2.0)
    >>> round(smooth(2.0), 9), smooth(math.inf)
    (0.5, 0.8)
    """
    return lambda epsilon: low + (high - low) / (1 + math.exp(-math.log2(epsilon / middle) / scale))


def step(*, low: float = 0.2, high: float = 0.9, at: float = 1.5) -> Shape:
    """A cliff: ``low`` below epsilon ``at``, ``high`` from there on."""
    return lambda epsilon: high if epsilon >= at else low


def level(value: float = 0.9) -> Shape:
    """A frontier on which epsilon makes no difference."""
    return lambda _: value


def crossed(axes: Mapping[str, Sequence[Scalar]]) -> tuple[Setting, ...]:
    """Every combination of the axes' values.

    >>> crossed({"lr": (0.1, 1.0), "clip_norm": (1.0,)})
    ({'lr': 0.1, 'clip_norm': 1.0}, {'lr': 1.0, 'clip_norm': 1.0})
    """
    return tuple(dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def simulated_evidence(
    *,
    rng: np.random.Generator,
    frontier: Shape | None = None,
    epsilons: Sequence[float] = EPSILONS,
    cells: Sequence[Setting] = ({},),
    parts: Callable[[Setting, float], Parts] | None = None,
    arms: Sequence[Arm] = (Arm.BOTH, Arm.NEITHER),
    seeds: int = 10,
    seed_sd: float = 0.02,
    own_sd: float = 0.01,
    num_test: int | None = 1000,
    test_rows: TestRows = TestRows.OWN,
    paired: bool = True,
    maximize: bool = True,
    missing: float = 0.0,
) -> Evidence:
    """Evidence whose cells have planted means.

    The score of a run is ``utility + seed effect + its own effect``, both effects normal with mean 0; where
    there are test rows it is cut to [0, 1], and the share of right answers among ``num_test`` rows is drawn.
    A mean within two standard deviations of 0 or 1 is therefore pulled inwards.

    Args:
        rng: where all draws come from.
        frontier: from epsilon to the mean of private cells; what is lost is noise's. By default `logistic`.
        epsilons: levels of privacy; each is a noise multiplier of its own.
        cells: settings that every level is crossed with, as `crossed` makes them; what they leave open is
            as in the published study.
        parts: instead of ``frontier``: what is lost, from a private cell's setting and epsilon. Cells with
            one counterpart in an arm must agree on what that arm loses.
        arms: which arms there are; `Arm.BOTH` must be one.
        seeds: runs a cell; they are numbered from 1.
        seed_sd: standard deviation of what the runs of one seed have in common.
        own_sd: that of each run's own.
        num_test: test rows; None for scores without the error of finitely many.
        test_rows: who shares these rows.
        paired: whether runs of one seed share the seed's effect; else each run draws one.
        maximize: False makes the metric ``error`` and less of it better.
        missing: the share of runs without a score.

    Raises:
        ValueError: cells that share a counterpart disagree on it, or ``Arm.BOTH`` is missing.

    >>> planted = simulated_evidence(rng=np.random.default_rng(0), epsilons=(1.0, 8.0), seeds=3)
    >>> [cell.epsilon.upper for cell in planted.private], planted.num_seeds
    ([1.0, 8.0], 3)
    """
    if Arm.BOTH not in arms:
        raise ValueError(f"simulated evidence needs private cells, found arms={arms}; add Arm.BOTH")
    planned = _plan(parts or _noise_alone(frontier or logistic()), epsilons, cells, arms)
    means = np.array([mean for *_, mean in planned])
    scores = _scores(rng, means, seeds, seed_sd, own_sd, num_test, test_rows, paired=paired)
    if missing:
        scores[rng.random(scores.shape) < missing] = np.nan
    made = tuple(_cell(i, *planned[i][:3], scores[i]) for i in range(len(planned)))
    private = [cell.setting for cell in made if cell.arm is Arm.BOTH]
    return Evidence(
        name="simulated",
        metric="accuracy" if maximize else "error",
        maximize=maximize,
        cells=made,
        delta=1e-5,
        neighboring_relation="add_or_remove_one",
        num_test=num_test,
        paired=paired,
        axes=tuple(name for name in private[0] if len({setting[name] for setting in private}) > 1),
    )


def _noise_alone(frontier: Shape) -> Callable[[Setting, float], Parts]:
    original = frontier(math.inf)
    return lambda _, epsilon: Parts(original=original, noise=original - frontier(epsilon))


_Planned = tuple[Arm, Setting, float | None, float]


def _plan(
    parts: Callable[[Setting, float], Parts],
    epsilons: Sequence[float],
    cells: Sequence[Setting],
    arms: Sequence[Arm],
) -> list[_Planned]:
    """Arm, setting, epsilon and mean of every cell: the private ones, then each counterpart once."""
    private: list[tuple[Setting, float, Parts]] = []
    for cell, epsilon in itertools.product(cells, sorted(map(float, epsilons))):
        setting = {"noise_multiplier": round(5 / epsilon, 6), **_FIXED, **cell}
        private.append((setting, epsilon, parts(setting, epsilon)))
    planned: list[_Planned] = [(Arm.BOTH, s, epsilon, p.utility(Arm.BOTH)) for s, epsilon, p in private]
    for arm in (arm for arm in Arm if arm in arms and arm is not Arm.BOTH):
        planned += _counterparts(arm, private)
    return planned


def _counterparts(arm: Arm, private: Sequence[tuple[Setting, float, Parts]]) -> Iterator[_Planned]:
    found: dict[tuple[tuple[str, Scalar], ...], float] = {}
    for setting, epsilon, planted in private:
        own = _counterpart_setting(arm, setting)
        mean = planted.utility(arm)
        first = found.setdefault(tuple(own.items()), mean)
        if not math.isclose(first, mean, abs_tol=1e-12):
            raise ValueError(
                f"private cells with one counterpart must agree on its mean, found {first:g} and {mean:g} "
                f"for arm={arm} at epsilon={epsilon:g}; plant what the arm leaves out in no other part"
            )
    return ((arm, dict(key), None, mean) for key, mean in found.items())


def _counterpart_setting(arm: Arm, setting: Setting) -> Setting:
    own = dict(setting)
    if arm is not Arm.NOISE:
        own |= dict.fromkeys(NOISE_SETTINGS & own.keys(), 0.0)
    if arm in (Arm.NEITHER, Arm.ORIGINAL):
        own |= {"clip_norm": math.inf, "clipping": "flat"}
    if arm is Arm.NOISE:
        own["clipping"] = "unclipped"
    if arm is Arm.ORIGINAL:
        own["model"] = f"{own['model']}-original"
    return own


def _scores(
    rng: np.random.Generator,
    means: NDArray[np.float64],
    seeds: int,
    seed_sd: float,
    own_sd: float,
    num_test: int | None,
    test_rows: TestRows,
    *,
    paired: bool,
) -> NDArray[np.float64]:
    """``(cells, seeds)``."""
    shape = (means.size, seeds)
    common = seed_sd * rng.standard_normal((1, seeds) if paired else shape)
    exact = means[:, None] + common + own_sd * rng.standard_normal(shape)
    if num_test is None:
        return exact
    exact = exact.clip(0, 1)
    if test_rows is TestRows.OWN:
        return rng.binomial(num_test, exact) / num_test
    difficulty = np.sort(rng.random((1 if test_rows is TestRows.FIXED else seeds, num_test)), axis=1)
    columns = [
        np.searchsorted(difficulty[s % difficulty.shape[0]], exact[:, s], side="left") for s in range(seeds)
    ]
    return np.stack(columns, axis=1) / num_test


def _cell(index: int, arm: Arm, setting: Setting, epsilon: float | None, scores: NDArray[np.float64]) -> Cell:
    size, steps = setting["expected_batch_size"], setting["steps"]
    assert isinstance(size, float)
    assert isinstance(steps, int)
    return Cell(
        index=index,
        arm=arm,
        setting=setting,
        epsilon=None if epsilon is None else Epsilon(lower=epsilon, upper=epsilon),
        seeds=np.arange(1, scores.size + 1),
        scores={"accuracy": scores, "error": 1 - scores},
        diverged=np.zeros(scores.size, dtype=np.bool_),
        compute=steps * size,
        runs=tuple(f"{index:05d}-{seed}" for seed in range(1, scores.size + 1)),
    )
