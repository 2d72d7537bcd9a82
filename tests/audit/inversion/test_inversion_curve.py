"""Reconstruction against noise: exact without, at chance with enough, never above what is permitted."""

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from clifftop.audit.document import AuditDocument, AuditKind, Verdict
from clifftop.audit.inversion import (
    Attack,
    AttackedModel,
    ClosedForm,
    RankOne,
    Reconstruction,
    one_step_plan,
    reconstruction_bound,
    reconstruction_curve,
    release,
)
from clifftop.codec import canonical_json, decode
from clifftop.criteria import cross_entropy
from clifftop.events import Gaussian, NeighboringRelation

TARGETS = torch.arange(12) % 10


CLOSED_FORM = (ClosedForm(),)


def curve_of(model, digits, attacks=CLOSED_FORM, **options):
    settings = {"noise_multipliers": (0.0, 0.03, 1.0), "trials": 25, "candidates": 12} | options
    return reconstruction_curve(model, attacks, digits, TARGETS, **settings)


@dataclass(frozen=True)
class OneHot(Attack):
    """The release itself, where gradients are inputs."""

    name: str = "release"

    def reconstruct(self, release, model, *, labels=None, seed=0, progress=None):
        inputs = release.gradient["weight"].clone()
        return Reconstruction(inputs=inputs, labels=labels, matching_loss=math.nan, iterations=1)


@pytest.fixture(scope="module")
def worst_case():
    """Thirty orthogonal gradients of the clip norm, at sigma 0.5; the release is its best estimate."""
    model = AttackedModel(
        module=nn.Linear(30, 1, bias=False), criterion=lambda out, _: out[:, 0], input_shape=(30,)
    )
    return reconstruction_curve(
        model, [OneHot()], torch.eye(30), torch.zeros(30), noise_multipliers=(0.5,),
        trials=400, candidates=30, labels_known=True,
    )  # fmt: skip


def test_exact_without_noise_and_nothing_at_one(mlp, digits):
    told = []
    curve = curve_of(mlp, digits, (ClosedForm(), RankOne()), progress=lambda *at: told.append(at))
    clean, rank_clean, _, rank_some, much, _ = curve.rows
    assert [row.noise_multiplier for row in curve.rows] == [0, 0, 0.03, 0.03, 1, 1]
    assert clean.mean_squared_error < 1e-27
    assert rank_clean.residual_cosine == pytest.approx(1, abs=1e-12)
    assert clean.identified.rate == clean.matched.rate == clean.labels == clean.permitted == 1
    assert clean.epsilon == math.inf
    assert 0.3 < rank_some.cosine < 0.999
    # False alarm of "at chance": 5%, at a fixed seed.
    assert much.fails
    assert not clean.fails
    assert not rank_some.fails
    assert much.epsilon == pytest.approx(4.3772, abs=1e-3)
    assert all(not row.identified.exceeds(row.permitted, tail=1e-4) for row in curve.rows)
    assert told[-1] == (6, 6)


def test_the_list_of_candidates_needs_no_inversion(mlp, digits):
    row = curve_of(mlp, digits, noise_multipliers=(0.2,)).rows[0]
    low, _ = row.matched.interval
    assert low > row.identified.interval[1] > row.identified.chance


def test_the_clip_norm_hides_nothing_without_noise(mlp, digits):
    curve = curve_of(mlp, digits, noise_multipliers=(0.0, 0.03), clip_norms=(0.01, 100.0), trials=10)
    small, small_noisy, large, large_noisy = curve.rows
    assert small.mean_squared_error < 1e-27
    assert large.mean_squared_error < 1e-27
    # At C = 100 nothing is clipped and the same sigma is noise of 3: it drowns what is shorter than C.
    assert large_noisy.cosine < small_noisy.cosine - 0.3


def test_the_worst_case_comes_near_the_bound(worst_case):
    row = worst_case.rows[0]
    assert row.identified == row.matched
    assert 0.7 * row.permitted < row.matched.rate < 1.05 * row.permitted
    assert worst_case.document("worst").verdict is Verdict.NOT_REFUTED


def test_a_step_with_half_its_noise_is_refuted(worst_case):
    """The control: sigma 1 is claimed of the releases at 0.5."""
    claimed = reconstruction_bound(
        Gaussian(1.0), hit_probability=1 / 30, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    false = replace(worst_case, rows=(replace(worst_case.rows[0], permitted=claimed, epsilon=4.377),))
    document = false.document("worst")
    assert document.verdict is Verdict.REFUTED
    assert "identified by image: release, C=1, sigma=0.5" in document.reason
    assert [check.passed for check in document.checks] == [False, False]


def test_the_bound_on_epsilon_is_below_the_truth(worst_case):
    shown = worst_case.document("worst").bounds[0]
    assert 1.0 < shown.bound.epsilon < worst_case.rows[0].epsilon
    assert shown.bound.epsilon <= shown.bound.detection_limit <= math.log(30)
    assert not shown.heuristic


def test_as_a_document(mlp, digits):
    document = curve_of(mlp, digits, trials=5, noise_multipliers=(0.0, 1.0)).document("digits:mlp")
    assert document.kind is AuditKind.MODEL
    assert len(document.checks) == 4
    assert [bound.name[:15] for bound in document.bounds] == ["likeliest of 12"]
    assert "failing to invert says nothing about epsilon" in document.notes[1]
    assert decode(json.loads(canonical_json(document)), AuditDocument) == document


def test_a_known_label_tells_no_candidates_apart(mlp, digits):
    pairs = torch.arange(12) % 6
    settings = {"noise_multipliers": (1e3,), "trials": 60, "candidates": 2, "labels_known": True}
    row = reconstruction_curve(mlp, CLOSED_FORM, digits, pairs, **settings).rows[0]
    assert math.isnan(row.labels)
    # 60 fair coins: beyond these numbers with a chance of 1e-4 each side.
    assert 15 < row.matched.successes < 45
    with pytest.raises(ValueError, match="the 2 rows to draw from"):
        reconstruction_curve(mlp, CLOSED_FORM, digits, pairs, **settings | {"candidates": 3})


def test_repeatable(mlp, digits):
    one, two, other = (
        curve_of(mlp, digits, trials=5, seed=seed, noise_multipliers=(1.0,)).rows for seed in (1, 1, 2)
    )
    assert one == two != other


def test_refusals(mlp, digits):
    with pytest.raises(ValueError, match="found trials=5 candidates=13"):
        curve_of(mlp, digits, trials=5, candidates=13)
    with pytest.raises(ValueError, match="noise_multiplier=-1"):
        curve_of(mlp, digits, trials=1, noise_multipliers=(-1,))


@pytest.mark.data
def test_fashion_images_without_noise_and_with():
    from clifftop.datasets.fashion_mnist import fashion_mnist
    from clifftop.datasets.idx import IdxError

    try:
        data = fashion_mnist(num_train=1, num_test=40)
    except IdxError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)).double()
    model = AttackedModel(module=module, criterion=cross_entropy, input_shape=(1, 28, 28), num_classes=10)
    images, classes = torch.from_numpy(data.test_inputs).double(), torch.from_numpy(data.test_targets)
    plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.0)
    found = ClosedForm().reconstruct(release(model, images[:1], classes[:1], plan=plan, seed=0), model)
    torch.testing.assert_close(found.inputs, images[:1], rtol=0, atol=1e-12)
    assert found.labels.tolist() == classes[:1].tolist()
    curve = reconstruction_curve(
        model, [RankOne()], images, classes, noise_multipliers=(1.0,), trials=25, candidates=40
    )
    assert curve.rows[0].fails
