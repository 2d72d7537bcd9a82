"""Which seeds count, what missing arms leave, and which learning rate a tuned arm has."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm, Cell, Evidence
from clifftop.analysis.inference.held_out import cross_fitted, fitted_estimate

FIXED = {
    Arm.BOTH: {"noise_multiplier": 2.0, "clip_norm": 0.5},
    Arm.NEITHER: {"noise_multiplier": 0.0, "clip_norm": math.inf},
    Arm.CLIPPING: {"noise_multiplier": 0.0, "clip_norm": 0.5},
    Arm.NOISE: {"noise_multiplier": 2.0, "clip_norm": 0.5},
}


def evidence(*rows: tuple[Arm, float, dict[int, float]], paired: bool = True) -> Evidence:
    """Cells from arm, learning rate and score by seed."""
    cells = tuple(
        Cell(
            index=index,
            arm=arm,
            setting={**FIXED[arm], "lr": lr},
            epsilon=None,
            seeds=np.array(list(scores), dtype=np.int64),
            scores={"accuracy": np.array(list(scores.values()))},
            diverged=np.zeros(len(scores), dtype=np.bool_),
            compute=1.0,
        )
        for index, (arm, lr, scores) in enumerate(rows)
    )
    return Evidence(name="test", metric="accuracy", maximize=True, cells=cells, paired=paired)


def test_only_seeds_that_all_arms_have_count() -> None:
    found = evidence(
        (Arm.BOTH, 0.1, {1: 0.5, 2: 0.5, 3: 0.5, 4: math.nan}),
        (Arm.NEITHER, 0.1, {2: 0.75, 3: 1.0, 4: 1.0, 9: 1.0}),
        (Arm.CLIPPING, 0.1, {1: 1.0, 2: 0.5, 3: 0.75, 4: 0.75}),
    )
    (loss,) = decompose(found).fixed
    assert loss.seeds.tolist() == [2, 3]
    assert loss.dropped == 2
    assert loss.by_seed("total").tolist() == [0.25, 0.5]
    assert loss.by_seed("noise_given_clipping").tolist() == [0.0, 0.25]
    assert loss.total is not None
    assert (loss.total.n, loss.total.mean) == (2, 0.375)


def test_an_arm_without_a_common_seed_does_not_join() -> None:
    found = evidence(
        (Arm.BOTH, 0.1, {1: 0.5, 2: 0.5}),
        (Arm.NEITHER, 0.1, {1: 0.75, 2: 0.75}),
        (Arm.CLIPPING, 0.1, {7: 0.75}),
    )
    (loss,) = decompose(found).fixed
    assert loss.clipping is None
    assert loss.total is not None
    assert loss.total.n == 2


def test_runs_of_one_seed_stay_together_where_the_evidence_is_not_paired() -> None:
    """Where every private run has a seed and counterfactuals of its own."""
    rows = [
        (Arm.BOTH, 0.1, {1: 0.5, 2: 0.25}),
        (Arm.BOTH, 1.0, {3: 0.5, 4: 0.25}),
        (Arm.NEITHER, 0.1, {1: 1.0, 2: 0.75, 8: 0.0, 9: 0.0}),
        (Arm.NEITHER, 1.0, {3: 0.75, 4: 0.5, 7: 0.0}),
    ]
    split = decompose(evidence(*rows, paired=False))
    assert [loss.by_seed("total").tolist() for loss in split.fixed] == [[0.5, 0.5], [0.25, 0.25]]
    assert split.fixed[1].seeds.tolist() == [3, 4]
    (tuned,) = split.tuned
    assert tuned.seeds.tolist() == [0, 1]
    assert tuned.by_seed("total").tolist() == [0.5, 0.5]


def test_without_pairing_seeds_need_not_agree() -> None:
    rows = ((Arm.BOTH, 0.1, {1: 0.5, 3: 0.25}), (Arm.NEITHER, 0.1, {2: 1.0, 4: 0.75, 6: 0.0}))
    assert decompose(evidence(*rows)).fixed == ()
    (loss,) = decompose(evidence(*rows, paired=False)).fixed
    assert loss.by_seed("total").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("beside", "given", "addends"),
    [
        ([], [], []),
        ([Arm.NEITHER], ["total"], []),
        (
            [Arm.NEITHER, Arm.CLIPPING],
            ["total", "clipping", "noise_given_clipping"],
            ["clipping", "noise_given_clipping"],
        ),
        (
            [Arm.NEITHER, Arm.NOISE],
            ["total", "noise", "clipping_given_noise"],
            ["noise", "clipping_given_noise"],
        ),
        ([Arm.CLIPPING], ["noise_given_clipping"], []),
    ],
    ids=["nothing", "baseline", "no-noise-arm", "no-clipping-arm", "no-baseline"],
)
def test_missing_arms_leave_the_parts_that_need_none_of_them(
    beside: list[Arm], given: list[str], addends: list[str]
) -> None:
    found = evidence((Arm.BOTH, 0.1, {1: 0.5}), *((arm, 0.1, {1: 0.75}) for arm in beside))
    fixed = decompose(found).fixed
    if not beside:
        assert fixed == ()
        return
    (loss,) = fixed
    names = ("total", "clipping", "noise", "interaction", "noise_given_clipping", "clipping_given_noise")
    assert [name for name in names if getattr(loss, name) is not None] == given
    assert list(loss.addends) == addends
    assert loss.shapley_clipping is None
    assert loss.architecture is None


def test_little_noise_is_no_substitute_for_the_clipping_arm() -> None:
    found = evidence((Arm.BOTH, 0.1, {1: 0.5}), (Arm.NEITHER, 0.1, {1: 0.75}))
    setting = {**found.cells[0].setting, "noise_multiplier": 1e-9}
    near = replace(found.cells[0], index=2, setting=setting)
    split = decompose(Evidence(name="", metric="accuracy", maximize=True, cells=(*found.cells, near)))
    assert [loss.clipping for loss in split.fixed] == [None, None]


def test_each_arm_is_tuned_by_itself_and_judged_where_it_was_not_chosen() -> None:
    rng = np.random.default_rng(3)
    table = {
        (arm, lr): dict(enumerate(0.9 - loss + 0.01 * rng.standard_normal(8)))
        for (arm, lr), loss in {
            (Arm.BOTH, 0.1): 0.5,
            (Arm.BOTH, 1.0): 0.3,
            (Arm.NEITHER, 0.1): 0.0,
            (Arm.NEITHER, 1.0): 0.1,
            (Arm.CLIPPING, 0.1): 0.105,
            (Arm.CLIPPING, 1.0): 0.1,
        }.items()
    }
    found = evidence(*((arm, lr, scores) for (arm, lr), scores in table.items()))
    split = decompose(found)
    (loss,) = split.tuned
    assert split.why_not_tuned is None
    assert loss.cells == (0, 1)
    assert split.tuned_for(0) is split.tuned_for(1) is loss
    assert dict(loss.lrs) == {Arm.BOTH: 1.0, Arm.NEITHER: 0.1, Arm.CLIPPING: 1.0}
    assert loss.setting["lr"] == 1.0
    both, neither, clipped = (
        cross_fitted(np.array([list(table[arm, lr].values()) for lr in (0.1, 1.0)]))
        for arm in (Arm.BOTH, Arm.NEITHER, Arm.CLIPPING)
    )
    for part, expected in (
        (loss.total, neither - both),
        (loss.clipping, neither - clipped),
        (loss.noise_given_clipping, clipped - both),
    ):
        assert part is not None
        other = fitted_estimate(expected)
        assert (part.mean, part.std, part.n) == pytest.approx((other.mean, other.std, other.n))
        assert part.ci95 == pytest.approx(other.ci95)


def test_a_learning_rate_that_diverges_is_not_chosen() -> None:
    found = evidence(
        (Arm.BOTH, 0.1, {1: 0.5, 2: 0.5}),
        (Arm.BOTH, 1.0, {1: 0.9, 2: math.nan}),
        (Arm.NEITHER, 0.1, {1: 1.0, 2: 1.0}),
        (Arm.NEITHER, 1.0, {1: 1.0, 2: 1.0}),
    )
    (loss,) = decompose(found).tuned
    assert loss.lrs[Arm.BOTH] == 0.1
    assert loss.by_seed("total").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(Arm.BOTH, 0.1, {1: 0.5, 2: 0.5}), (Arm.NEITHER, 0.1, {1: 1.0, 2: 1.0})], "one learning rate only"),
        (
            [(arm, lr, {1: 0.5}) for arm in (Arm.BOTH, Arm.NEITHER) for lr in (0.1, 1.0)],
            "needs two seeds",
        ),
        (
            [(Arm.BOTH, lr, {1: 0.5, 2: 0.5}) for lr in (0.1, 1.0)] + [(Arm.NEITHER, 0.1, {1: 1.0, 2: 1.0})],
            "a counterpart at every learning rate",
        ),
    ],
    ids=["one-lr", "one-seed", "baseline-at-one-lr"],
)
def test_what_cannot_be_tuned_says_why(rows: list[tuple[Arm, float, dict[int, float]]], why: str) -> None:
    split = decompose(evidence(*rows))
    assert split.tuned == ()
    assert split.fixed
    assert why in (split.why_not_tuned or "")


def test_seeds_in_another_order_change_no_fixed_part() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.random(40) for _ in range(4)]
    order = rng.permutation(40)

    def of(relabelled: np.ndarray) -> Evidence:
        return evidence(
            *(
                (arm, 0.1, dict(sorted(zip(relabelled.tolist(), table.tolist(), strict=True))))
                for arm, table in zip(FIXED, tables, strict=True)
            )
        )

    (first,), (second,) = decompose(of(np.arange(40))).fixed, decompose(of(order)).fixed
    for name in ("total", "clipping", "noise", "interaction", "shapley_noise"):
        one, other = getattr(first, name), getattr(second, name)
        assert one.mean == other.mean
        assert (one.std, *one.ci95) == pytest.approx((other.std, *other.ci95), rel=1e-12)
