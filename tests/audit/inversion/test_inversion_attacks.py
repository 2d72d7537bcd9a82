"""Attacks find the digit without noise, say so when they cannot, and are repeatable."""

import math

import pytest
import torch
from torch import nn

from clifftop.audit.inversion import (
    CannotInvert,
    ClosedForm,
    CosineMatching,
    Dlg,
    RankOne,
    aligned,
    cosine,
    inferred_labels,
    mean_squared_error,
    one_step_plan,
    peak_signal_to_noise,
    release,
    release_each,
    total_variation,
)

Y = torch.tensor([3])


def quiet(*, clip_norm=1.0, batch_size=1):
    return one_step_plan(clip_norm=clip_norm, noise_multiplier=0.0, batch_size=batch_size)


def psnr(found, truth):
    return float(peak_signal_to_noise(mean_squared_error(found, truth), data_range=1.0).min())


@pytest.mark.parametrize("attack", [ClosedForm(), RankOne(), ClosedForm(layer="1")], ids=str)
@pytest.mark.parametrize("clip_norm", [1e-3, math.inf])
@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU()])
def test_the_closed_form_is_exact_whatever_the_clip_norm(attacked, digit, attack, clip_norm, activation):
    model = attacked(nn.Flatten(), nn.Linear(64, 24), activation, nn.Linear(24, 10))
    found = attack.reconstruct(release(model, digit, Y, plan=quiet(clip_norm=clip_norm), seed=0), model)
    assert mean_squared_error(found.inputs, digit)[0] < 1e-27  # round-off of float64
    assert found.labels.tolist() == [3]
    assert found.matching_loss < 1e-25


def test_in_float32(digit):
    from clifftop.audit.inversion import AttackedModel
    from clifftop.criteria import cross_entropy

    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    model = AttackedModel(module=module, criterion=cross_entropy, input_shape=(1, 8, 8), num_classes=10)
    released = release(model, digit.float(), Y, plan=quiet(), seed=0)
    for attack in (ClosedForm(), RankOne()):
        assert mean_squared_error(attack.reconstruct(released, model).inputs, digit)[0] < 1e-12


def test_a_unit_that_no_example_reaches_shows_nothing(attacked, digit):
    model = attacked(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
    with torch.no_grad():
        model.module[1].bias.fill_(-1e3)
    found = ClosedForm().reconstruct(release(model, digit, Y, plan=quiet(), seed=0), model)
    assert not found.inputs.any()


def test_rank_one_is_the_better_one_under_noise(mlp, digit):
    plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.05)
    truth = digit.expand(20, 1, 8, 8)
    releases = release_each(mlp, truth, Y.expand(20), plan=plan, seed=0)
    likeness = {}
    for attack in (ClosedForm(), RankOne()):
        found = [attack.reconstruct(one, mlp, labels=Y).inputs for one in releases]
        likeness[attack.name] = cosine(torch.cat(found), truth).mean()
    # Each is a mean of 20 with a standard error below 0.02.
    assert likeness["rank one"] > likeness["closed form"] + 0.1
    assert likeness["closed form"] > 0.3


def test_the_closed_form_says_where_it_does_not_hold(attacked, convolution, digits):
    released = release(convolution, digits[:1], Y, plan=quiet(), seed=0)
    with pytest.raises(CannotInvert, match="takes all 64 numbers of an input, found none in Sequential"):
        ClosedForm().reconstruct(released, convolution)
    no_bias = attacked(nn.Flatten(), nn.Linear(64, 4, bias=False), nn.Tanh(), nn.Linear(4, 10))
    with pytest.raises(CannotInvert, match="with a bias"):
        RankOne().reconstruct(release(no_bias, digits[:1], Y, plan=quiet(), seed=0), no_bias)
    named = attacked(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(CannotInvert, match="named 'head'"):
        ClosedForm(layer="head").reconstruct(release(named, digits[:1], Y, plan=quiet(), seed=0), named)
    pair = release(named, digits[:2], Y.expand(2), plan=quiet(batch_size=2), seed=0)
    with pytest.raises(CannotInvert, match="size=2"):
        ClosedForm().reconstruct(pair, named)


@pytest.mark.parametrize("bias", [True, False])
def test_the_label_shows_exactly(attacked, digits, bias):
    model = attacked(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 5, bias=bias), num_classes=5)
    targets = torch.arange(12) % 5
    each = release_each(model, digits, targets, plan=quiet(clip_norm=0.1), seed=0)
    assert [int(inferred_labels(one, model)) for one in each] == targets.tolist()


def test_labels_of_a_batch(mlp, digits):
    targets = torch.tensor([7, 1, 7, 4])
    released = release(mlp, digits[:4], targets, plan=quiet(clip_norm=math.inf, batch_size=4), seed=0)
    assert inferred_labels(released, mlp).tolist() == [1, 4, 7, 7]


def test_labels_that_do_not_show(attacked, digits):
    pair = torch.tensor([0, 1])
    two = attacked(nn.Flatten(), nn.Linear(64, 2, bias=False), num_classes=2)
    with pytest.raises(CannotInvert, match="size=1 and num_classes=2"):
        inferred_labels(release(two, digits[:1], pair[:1], plan=quiet(), seed=0), two)
    three = attacked(nn.Flatten(), nn.Linear(64, 3, bias=False), num_classes=3)
    with pytest.raises(CannotInvert, match="size=2"):
        inferred_labels(release(three, digits[:2], pair, plan=quiet(), seed=0), three)
    unknown = attacked(nn.Flatten(), nn.Linear(64, 3), num_classes=None)
    released = release(unknown, digits[:1], pair[:1], plan=quiet(), seed=0)
    with pytest.raises(CannotInvert, match="num_classes=None"):
        inferred_labels(released, unknown)
    with pytest.raises(CannotInvert, match="joint labels need"):
        Dlg(joint_labels=True).reconstruct(released, unknown)


@pytest.mark.parametrize(
    ("attack", "decibels"),
    [
        (Dlg(max_iterations=120, restarts=1), 150),
        (Dlg(max_iterations=80, restarts=1, joint_labels=True), 40),
        (CosineMatching(max_iterations=80, total_variation=1e-4), 25),
    ],
    ids=["iDLG", "DLG", "cosine"],
)
def test_a_convolution_net_is_inverted(convolution, digit, attack, decibels):
    released = release(convolution, digit, Y, plan=quiet(), seed=0)
    found = attack.reconstruct(released, convolution)
    assert psnr(found.inputs, digit) > decibels
    assert found.labels.tolist() == [3]


def test_a_clipped_batch_is_inverted(mlp, digits):
    targets = torch.tensor([0, 3, 9])
    released = release(mlp, digits[:3], targets, plan=quiet(batch_size=3), seed=0)
    found = Dlg(max_iterations=150).reconstruct(released, mlp, labels=targets)
    order = aligned(found.inputs, digits[:3])
    assert psnr(found.inputs[order], digits[:3]) > 100


def test_a_regression_with_its_target_known(attacked, digit):
    from clifftop.criteria import squared_error

    model = attacked(
        nn.Flatten(),
        nn.Linear(64, 16),
        nn.Tanh(),
        nn.Linear(16, 1),
        num_classes=None,
        criterion=squared_error,
    )
    target = torch.tensor([0.5]).double()
    released = release(model, digit, target, plan=quiet(), seed=0)
    for attack in (ClosedForm(), Dlg(max_iterations=150)):
        assert psnr(attack.reconstruct(released, model, labels=target).inputs, digit) > 100


def test_noise_hides_it(mlp, digit):
    """The control: what is found above is not found at sigma 1."""
    released = release(mlp, digit, Y, plan=one_step_plan(clip_norm=1.0, noise_multiplier=1.0), seed=0)
    for attack in (
        ClosedForm(),
        RankOne(),
        Dlg(max_iterations=20, restarts=1),
        CosineMatching(max_iterations=20),
    ):
        assert psnr(attack.reconstruct(released, mlp, labels=Y).inputs, digit) < 10


@pytest.mark.parametrize(
    "attack", [Dlg(max_iterations=10, restarts=2), CosineMatching(max_iterations=12)], ids=["iDLG", "cosine"]
)
def test_repeatable_within_the_budget(convolution, digit, attack):
    released = release(convolution, digit, Y, plan=quiet(), seed=0)
    told = []
    first = attack.reconstruct(
        released, convolution, seed=5, progress=lambda at, loss: told.append((at, loss))
    )
    again, other = (attack.reconstruct(released, convolution, seed=seed) for seed in (5, 6))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert first.iterations == told[-1][0] <= 20
    assert [at for at, _ in told] == sorted({at for at, _ in told})
    assert all(math.isfinite(loss) for _, loss in told)


def test_pixels_stay_in_their_range(convolution, digit):
    released = release(convolution, digit, Y, plan=one_step_plan(clip_norm=1.0, noise_multiplier=0.3), seed=0)
    found = CosineMatching(max_iterations=5, bounds=(0.2, 0.7)).reconstruct(released, convolution).inputs
    assert found.min() >= 0.2
    assert found.max() <= 0.7
    free = CosineMatching(max_iterations=5, bounds=None).reconstruct(released, convolution).inputs
    assert free.min() < -0.5


def test_total_variation_of_single_rows():
    assert float(total_variation(torch.tensor([[0.0, 2.0, 0.0]]))) == 2.0
    assert float(total_variation(torch.zeros(4))) == 0.0


def test_refused_options(attacked, digits):
    with pytest.raises(ValueError, match="max_iterations must be at least 1, found max_iterations=0"):
        Dlg(max_iterations=0)
    with pytest.raises(ValueError, match="bounds must rise"):
        CosineMatching(bounds=(1.0, 1.0))
    flat = attacked(nn.Linear(64, 10), shape=(64,))
    released = release(flat, digits[:1].flatten(1), Y, plan=quiet(), seed=0)
    with pytest.raises(CannotInvert, match=r"needs images, found input_shape=\(64,\)"):
        CosineMatching().reconstruct(released, flat)
