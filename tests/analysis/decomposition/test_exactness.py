"""Parts add up to the total to the last bit, whatever the numbers are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.analysis.decomposition import CellLoss, decompose
from clifftop.analysis.evidence import Arm, Cell, Evidence

SETTINGS: Mapping[Arm, Mapping[str, float | str]] = {
    Arm.BOTH: {"noise_multiplier": 2.0, "clip_norm": 0.5, "model": "new"},
    Arm.NEITHER: {"noise_multiplier": 0.0, "clip_norm": np.inf, "model": "new"},
    Arm.CLIPPING: {"noise_multiplier": 0.0, "clip_norm": 0.5, "model": "new"},
    Arm.NOISE: {"noise_multiplier": 2.0, "clip_norm": 0.5, "model": "new"},
    Arm.ORIGINAL: {"noise_multiplier": 0.0, "clip_norm": np.inf, "model": "old"},
}
scores = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(0, 1),
    st.sampled_from([0.1, 0.2, 0.3, 1e-12, 1e12, 0.0]),
)


def cell(
    index: int,
    arm: Arm,
    values: Sequence[float],
    *,
    lr: float = 0.1,
    seeds: Sequence[int] | None = None,
    **setting: float | str,
) -> Cell:
    own = np.arange(len(values)) if seeds is None else np.array(seeds)
    return Cell(
        index=index,
        arm=arm,
        setting={**SETTINGS[arm], "lr": lr, **setting},
        epsilon=None,
        seeds=own.astype(np.int64),
        scores={"accuracy": np.array(values, dtype=np.float64)},
        diverged=np.zeros(len(values), dtype=np.bool_),
        compute=1.0,
        runs=tuple(f"{index}-{seed}" for seed in own),
    )


def evidence(cells: Sequence[Cell], *, maximize: bool = True, paired: bool = True) -> Evidence:
    return Evidence(
        name="test", metric="accuracy", maximize=maximize, cells=tuple(cells), num_test=100, paired=paired
    )


@st.composite
def sweeps(draw: st.DrawFn) -> Evidence:
    """Private cells at one or two learning rates, beside any set of arms."""
    n, lrs = draw(st.integers(1, 6)), draw(st.sampled_from([(0.1,), (0.1, 1.0)]))
    arms = [Arm.BOTH, *draw(st.lists(st.sampled_from(list(Arm)[1:]), min_size=1, unique=True))]
    pairs = list(itertools.product(arms, lrs))
    table = draw(st.lists(st.lists(scores, min_size=n, max_size=n), min_size=len(pairs), max_size=len(pairs)))
    return evidence(
        [cell(i, arm, values, lr=lr) for i, ((arm, lr), values) in enumerate(zip(pairs, table, strict=True))],
        maximize=draw(st.booleans()),
    )


def losses(found: Evidence) -> list[CellLoss]:
    split = decompose(found)
    return [*split.fixed, *split.tuned]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(sweeps())
def test_parts_sum_to_the_total_to_the_last_bit_in_any_order(found: Evidence) -> None:
    for loss in losses(found):
        for parts in (loss.addends, loss.shapley_addends):
            if not parts:
                continue
            assert loss.total is not None
            for order in itertools.permutations(parts):
                assert sum(parts[name].mean for name in order) == loss.total.mean
                by_seed = [loss.by_seed(name) for name in order]
                assert np.array_equal(sum(by_seed[1:], by_seed[0]), loss.by_seed("total"))


def test_a_difference_to_nothing_has_the_interval_of_the_part() -> None:
    """Clipping changes nothing here, so that noise is more than clipping by all that noise costs."""
    rng = np.random.default_rng(4)
    noised, plain = rng.random((2, 2, 12))
    rows = [(Arm.BOTH, noised), (Arm.NEITHER, plain), (Arm.CLIPPING, plain), (Arm.NOISE, noised)]
    found = evidence(
        [
            cell(2 * i + j, arm, t[j].tolist(), lr=lr)
            for i, (arm, t) in enumerate(rows)
            for j, lr in enumerate((1.0, 2.0))
        ]
    )
    for loss in losses(found):
        apart = loss.difference("noise", "clipping")
        assert apart is not None
        assert loss.noise is not None
        assert (apart.mean, apart.std) == pytest.approx((loss.noise.mean, loss.noise.std))
        assert apart.ci95 == pytest.approx(loss.noise.ci95)
        assert loss.difference("noise", "architecture") is None


@settings(max_examples=50, deadline=None, derandomize=True)
@given(sweeps())
def test_rounding_to_units_is_far_below_what_is_compared(found: Evidence) -> None:
    """Against exact rational arithmetic on the scores as they are."""
    for loss in decompose(found).fixed:
        private = found.cells[loss.cell]
        sign = 1 if found.maximize else -1
        exact = {
            arm: [sign * Fraction(float(v)) for v in counterpart.scores["accuracy"]]
            for arm in loss.utilities
            if (counterpart := found.counterpart(private, arm)) is not None
        }
        largest = max(abs(v) for values in exact.values() for v in values)
        if loss.clipping is None:
            continue
        differences = [a - b for a, b in zip(exact[Arm.NEITHER], exact[Arm.CLIPPING], strict=True)]
        for value, true in zip(loss.by_seed("clipping"), differences, strict=True):
            assert abs(Fraction(float(value)) - true) <= largest * Fraction(1, 2**44)
        mean = sum(differences) / len(differences)
        assert abs(Fraction(loss.clipping.mean) - mean) <= largest * Fraction(1, 2**43)


def test_sums_of_plain_float_differences_would_not_be_exact() -> None:
    """The negative control of the first test: without units the last bit is lost on numbers like these."""
    rng = np.random.default_rng(0)
    both, neither, clipped, noised, original = rng.random((5, 1000))
    plain = (original - neither) + (neither - clipped) + (neither - noised)
    plain = plain + (clipped + noised - neither - both)
    assert np.mean(plain != original - both) > 0.1


def test_every_part_is_the_difference_that_it_says() -> None:
    found = evidence(
        [
            cell(0, Arm.BOTH, [0.50]),
            cell(1, Arm.NEITHER, [0.90]),
            cell(2, Arm.CLIPPING, [0.80]),
            cell(3, Arm.NOISE, [0.75]),
            cell(4, Arm.ORIGINAL, [0.95]),
        ]
    )
    (loss,) = decompose(found).fixed
    means = {name: part.mean for name in _names() if (part := getattr(loss, name)) is not None}
    assert means == pytest.approx(
        {
            "total": 0.45,
            "architecture": 0.05,
            "clipping": 0.10,
            "noise": 0.15,
            "interaction": 0.15,
            "noise_given_clipping": 0.30,
            "clipping_given_noise": 0.25,
            "shapley_clipping": 0.175,
            "shapley_noise": 0.225,
        }
    )
    assert loss.reference is Arm.ORIGINAL
    assert list(loss.addends) == ["architecture", "clipping", "noise", "interaction"]
    assert list(loss.shapley_addends) == ["architecture", "shapley_clipping", "shapley_noise"]


def _names() -> tuple[str, ...]:
    return (
        "total",
        "architecture",
        "clipping",
        "noise",
        "interaction",
        "noise_given_clipping",
        "clipping_given_noise",
        "shapley_clipping",
        "shapley_noise",
    )


def test_a_loss_to_be_minimised_gives_the_same_parts() -> None:
    up = [cell(i, arm, [0.1 * i, 0.3, 0.2 * i]) for i, arm in enumerate(Arm)]
    down = [cell(i, arm, [-0.1 * i, -0.3, -0.2 * i]) for i, arm in enumerate(Arm)]
    (first,), (second,) = decompose(evidence(up)).fixed, decompose(evidence(down, maximize=False)).fixed
    for name in _names():
        assert getattr(first, name) == getattr(second, name)
