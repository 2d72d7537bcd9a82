"""Baselines stopped where they fit as private runs do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from clifftop.analysis.decomposition import CellLoss, decompose
from clifftop.analysis.evidence import Arm, Cell, Evidence


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    fit: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    fit: Mapping[str, float]
    baselines: Mapping[str, Way]
    metric: str = "accuracy"


def way(*pairs: tuple[float, float]) -> Way:
    fit, scores = np.array(pairs).T
    return Way(fit=fit, scores=scores)


def evidence(private: list[float], plain: list[float], *, lrs: tuple[float, ...] = (0.1,)) -> Evidence:
    """One cell and its baseline a learning rate, with run ids such as ``both-0.1-2``."""
    cells = [
        Cell(
            index=2 * i + j,
            arm=arm,
            setting={
                "noise_multiplier": 1.0 if arm is Arm.BOTH else 0.0,
                "clip_norm": 1.0 if arm is Arm.BOTH else math.inf,
                "lr": lr,
            },
            epsilon=None,
            seeds=np.arange(len(values)),
            scores={"accuracy": np.array(values)},
            diverged=np.zeros(len(values), dtype=np.bool_),
            compute=1.0,
            runs=tuple(f"{arm}-{lr}-{seed}" for seed in range(len(values))),
        )
        for i, lr in enumerate(lrs)
        for j, (arm, values) in enumerate(((Arm.BOTH, private), (Arm.NEITHER, plain)))
    ]
    return Evidence(name="test", metric="accuracy", maximize=True, cells=tuple(cells))


def only(found: Evidence, fits: Fits) -> CellLoss:
    (loss,) = decompose(found, curves=fits).fixed
    return loss


FALL = ((3.0, 0.25), (2.0, 0.5), (1.0, 0.75), (0.5, 1.0))


@pytest.mark.parametrize(
    ("fit", "stopped", "fits_better", "bounded"),
    [
        (2.0, 0.5, 0, 0),
        (1.5, 0.625, 0, 0),
        (0.5, 1.0, 0, 0),
        (0.4, 1.0, 1, 0),
        (3.5, 0.25, 0, 1),
        (3.0, 0.25, 0, 1),
    ],
    ids=["at-an-evaluation", "between", "at-the-end", "fits-better", "before-the-first", "at-the-first"],
)
def test_a_baseline_stops_where_it_first_fits_as_well(
    fit: float, stopped: float, fits_better: int, bounded: int
) -> None:
    loss = only(
        evidence([0.25], [1.0]), Fits(fit={"both-0.1-0": fit}, baselines={"neither-0.1-0": way(*FALL)})
    )
    assert loss.stopped is not None
    assert loss.stopped.tolist() == [stopped]
    assert (loss.fits_better, loss.bounded) == (fits_better, bounded)
    assert loss.undertraining is not None
    assert loss.at_equal_fit is not None
    assert (loss.undertraining.mean, loss.at_equal_fit.mean) == (1.0 - stopped, stopped - 0.25)


def test_a_fit_that_rises_again_stops_at_its_first_fall() -> None:
    rising = way((3.0, 0.2), (1.0, 0.6), (2.5, 0.4), (0.5, 0.9))
    loss = only(evidence([0.2], [0.9]), Fits(fit={"both-0.1-0": 1.0}, baselines={"neither-0.1-0": rising}))
    assert loss.stopped is not None
    assert loss.stopped.tolist() == [0.6]


def test_private_runs_like_their_baselines_are_not_undertrained() -> None:
    rng = np.random.default_rng(0)
    ends = (0.9 + 0.01 * rng.standard_normal(20)).tolist()
    ways = {
        f"neither-0.1-{seed}": way(*((2.0 / k, end - 0.1 / k) for k in range(1, 10)), (0.1, end))
        for seed, end in enumerate(ends)
    }
    fits = {f"both-0.1-{seed}": 0.1 for seed in range(20)}
    loss = only(evidence(ends, ends), Fits(fit=fits, baselines=ways))
    assert loss.undertraining is not None
    assert loss.undertraining.mean == 0.0
    assert loss.undertraining.ci95 == (0.0, 0.0)


def test_planted_undertraining_is_recovered_and_adds_up() -> None:
    """Private runs that stop early by a known step lose what the baseline gains after it, and 0.05 more."""
    rng = np.random.default_rng(1)
    seeds, evaluations = 30, 20
    time = np.arange(1, evaluations + 1)
    ways: dict[str, Way] = {}
    fits: dict[str, float] = {}
    private: list[float] = []
    plain: list[float] = []
    for seed in range(seeds):
        scores = 0.9 - 0.5 * np.exp(-time / 5) + 0.002 * rng.standard_normal()
        ways[f"neither-0.1-{seed}"] = Way(fit=2 * np.exp(-time / 8), scores=scores)
        stop = int(rng.integers(4, 8))
        fits[f"both-0.1-{seed}"] = float(2 * np.exp(-time[stop] / 8))
        private.append(float(scores[stop]) - 0.05 + 0.002 * float(rng.standard_normal()))
        plain.append(float(scores[-1]))
    loss = only(evidence(private, plain), Fits(fit=fits, baselines=ways))
    assert loss.total is not None
    assert loss.undertraining is not None
    assert loss.at_equal_fit is not None
    assert loss.at_equal_fit.mean == pytest.approx(0.05, abs=0.002)  # five standard errors
    assert loss.undertraining.mean > 0.1
    assert loss.undertraining.mean + loss.at_equal_fit.mean == loss.total.mean


def test_seeds_without_a_fit_are_left_out_of_the_reading_only() -> None:
    fits = Fits(
        fit={"both-0.1-0": 2.0, "both-0.1-1": math.nan},
        baselines={"neither-0.1-0": way(*FALL), "neither-0.1-1": way(*FALL)},
    )
    loss = only(evidence([0.25, 0.25, 0.25], [1.0, 1.0, 1.0]), fits)
    assert loss.total is not None
    assert loss.undertraining is not None
    assert (loss.total.n, loss.undertraining.n) == (3, 1)
    assert loss.stopped is not None
    assert np.isnan(loss.stopped).tolist() == [False, True, True]


def test_at_the_best_learning_rate_the_runs_of_that_rate_are_compared() -> None:
    found = evidence([0.25, 0.25], [1.0, 1.0], lrs=(0.1, 1.0))
    found.cells[2].scores["accuracy"][:] = 0.5
    found.cells[1].scores["accuracy"][:] = 0.8
    fits = Fits(
        fit={f"both-{lr}-{seed}": fit for lr, fit in ((0.1, 3.0), (1.0, 1.0)) for seed in (0, 1)},
        baselines={f"neither-{lr}-{seed}": way(*FALL) for lr in (0.1, 1.0) for seed in (0, 1)},
    )
    (loss,) = decompose(found, curves=fits).tuned
    assert loss.undertraining is not None
    assert loss.undertraining.mean == 0.25
    assert loss.at_equal_fit is not None
    assert loss.at_equal_fit.mean == 0.25


def test_without_curves_nothing_is_read_and_other_metrics_are_refused() -> None:
    found = evidence([0.25], [1.0])
    (loss,) = decompose(found).fixed
    assert loss.undertraining is None
    assert loss.stopped is None
    with pytest.raises(ValueError, match="found 'loss' for 'accuracy'"):
        decompose(found, curves=Fits(fit={}, baselines={}, metric="loss"))
