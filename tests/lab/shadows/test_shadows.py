"""Shadow models: halves by seed, models that share nothing, memberships that are true."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.audit.attacks import LossThreshold
from clifftop.lab import Factory, OptimizerSpec, RunSpec
from clifftop.lab.shadows import members, pool_of, shadow_spec, train_shadows
from clifftop.lab.spec import SpecError
from clifftop.noise import Keyed

PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.25),
    clipping=Flat(clip_norm=1.0),
    noise=Gaussian(noise_multiplier=0.0),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=10.0,
)
SPEC = RunSpec(
    model=Factory(target="clifftop.studies.no_cliff.model:mlp"),
    data=Factory(
        target="clifftop.datasets:gaussian_clusters",
        options={"per_class": 12, "num_train": 40, "spread": 0.5, "normalise": False},
    ),
    plan=PLAN,
    optimizer=OptimizerSpec(lr=1.0),
    steps=60,
    evaluate_every=60,
    seed=1,
    streams=Keyed(),
)


REGRESSION = """
import numpy as np
from torch import nn

from clifftop.datasets import Rows, RowsDataset


def no_classes():
    rows = Rows(inputs=(np.ones((20, 10), np.float32),), targets=(np.ones(20, np.float32),))
    return RowsDataset(train=rows, test=rows)


def first(output, target):
    return (output[:, 0] - target) ** 2


def model():
    return nn.Sequential(nn.Linear(10, 1), nn.Flatten(0))


def squared(output, target):
    return (output - target) ** 2
"""


@pytest.fixture(scope="module")
def shadows():
    return train_shadows(SPEC, models=10, seed=3)


def test_a_half_is_drawn_by_its_seed_alone():
    halves = [members(seed, 40) for seed in range(200)]
    assert all(len(set(half.tolist())) == 20 for half in halves)
    assert np.array_equal(halves[7], members(7, 40))
    joined = np.bincount(np.concatenate(halves), minlength=40)
    assert stats.chisquare(joined).pvalue > 1e-6  # false alarm once in a million


def test_a_shadow_keeps_what_is_accounted_and_scales_its_divisor():
    shadow = shadow_spec(SPEC, seed=9)
    assert shadow.plan.event(steps=60, num_examples=30) == SPEC.plan.event(steps=60, num_examples=40)
    assert shadow.plan.expected_batch_size == pytest.approx(10.0 * 30 / 40)
    assert (shadow.seed, shadow.noise_seed) == (9, None)


def test_flags_are_those_of_the_records_that_were_trained_on(shadows):
    """An overfit model knows its own half; with the flags of another model there is nothing to find."""
    seen = shadows.observations
    assert seen.member.shape == (10, pool_of(SPEC).size) == (10, 60)
    assert shadows.train_accuracy.mean() > shadows.test_accuracy.mean() + 0.1

    def area(member):
        scores = LossThreshold().scores(seen)
        pairs = member.sum() * (~member).sum()
        return stats.mannwhitneyu(scores[member], scores[~member]).statistic / pairs

    assert area(seen.member) > 0.6
    assert (
        abs(area(np.roll(seen.member, 1, axis=0)) - 0.5) < 0.1
    )  # 300 members, 300 others: 4 standard errors


def test_models_share_nothing_and_are_alike_in_any_company(shadows):
    again = train_shadows(SPEC, models=8, seed=3).observations  # the first eight of the same ten
    assert np.allclose(again.confidences, shadows.observations.confidences[:8], atol=1e-4)
    assert len({row.tobytes() for row in shadows.observations.member}) == 10


@pytest.mark.parametrize(
    ("changes", "models", "words"),
    [
        ({}, 7, "models must be at least 8"),
        ({"optimizer": OptimizerSpec(lr=1e30)}, 8, "must train without diverging, found 0 of 8"),
        (
            {
                "data": Factory(target="shadowed_regression:no_classes"),
                "criterion": Factory(target="shadowed_regression:first"),
                "metrics": (),
            },
            8,
            "one target of class numbers a record",
        ),
        (
            {
                "model": Factory(target="shadowed_regression:model"),
                "criterion": Factory(target="shadowed_regression:squared"),
                "metrics": (),
            },
            8,
            r"a classifier with outputs \(N, K\)",
        ),
    ],
)
def test_what_cannot_be_attacked_is_refused(changes, models, words, tmp_path, monkeypatch):
    (tmp_path / "shadowed_regression.py").write_text(REGRESSION)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError, match=words):
        train_shadows(replace(SPEC, **changes, steps=2, evaluate_every=2), models=models)
