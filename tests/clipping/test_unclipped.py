"""The rules of counterfactual runs: what they do to gradients, and that nothing can be claimed of them."""

import math

import pytest
import torch

from clifftop import accounting
from clifftop.batching import Examples, draw_batch
from clifftop.clipping import Automatic, Flat, PerLayer, Unclipped, WholeBatch
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation, NonPrivate
from clifftop.gradients import GraphEngine, PerExampleLoss
from clifftop.gradients.base import stack_runs, trainable_parameters
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.sampling import Poisson
from clifftop.training import Trainer

ADD = NeighboringRelation.ADD_OR_REMOVE_ONE


def plan(clipping, sigma=1.0) -> PrivacyPlan:
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.5),
        clipping=clipping,
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=ADD,
        expected_batch_size=8.0,
    )


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def rows(count=16):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, generator=rng)
    return x, (x[:, 0] > 0).long()


def one_step(clipping, *, sigma=1.0, step=3):
    """The private gradient of one step, and its record."""
    model, (x, y) = net(), rows()
    params = stack_runs([trainable_parameters(model)])
    streams, made = Keyed().open([7]), plan(clipping, sigma)
    examples = Examples(inputs=(x[None],), targets=(y[None],))
    noisy, _, record = private_gradient(
        plan=made,
        engine=GraphEngine(),
        loss=PerExampleLoss(module=model, criterion=cross_entropy),
        params=params,
        batch=draw_batch(made.sampler, examples, streams, step),
        state=initial_state([made], next(iter(params.values()))),
        streams=streams.at(step),
    )
    return noisy, record


@pytest.mark.parametrize(
    "rule",
    [Flat(clip_norm=0.3), Automatic(clip_norm=0.3), PerLayer(clip_norm=0.3)],
    ids=lambda r: type(r).__name__,
)
def test_the_noise_is_that_of_the_private_run_and_nothing_is_clipped(rule):
    private, unclipped = one_step(rule)[0], one_step(Unclipped(noise_scale=0.3))[0]
    clipped, plain = one_step(rule, sigma=0.0)[0], one_step(Flat(clip_norm=math.inf), sigma=0.0)[0]
    assert torch.equal(private.noise_std, unclipped.noise_std)
    for name, value in private.value.items():
        torch.testing.assert_close(
            unclipped.value[name] - value, plain.value[name] - clipped.value[name], rtol=0, atol=1e-6
        )
        assert (plain.value[name] - clipped.value[name]).abs().max() > 1e-3
        # Negative control: another noise would be seen.
        assert (unclipped.value[name] - plain.value[name]).abs().max() > 1e-2


def test_an_unclipped_step_removes_nothing_and_has_noise_in_proportion_to_its_scale():
    noisy, record = one_step(Unclipped(noise_scale=0.5), sigma=3.0)
    assert noisy.noise_std.item() == pytest.approx(0.5 * 3.0 / 8)
    assert (record.fraction_clipped.item(), record.clipping_bias.item()) == (0, 0)
    assert record.noise_norm.item() > 0


def test_weights_are_one_but_for_padding_and_what_is_not_finite():
    rule = Unclipped(noise_scale=2.0)
    squares = torch.tensor([[[4.0], [math.inf], [math.nan], [1e12], [1.0]]])
    state = rule.stack([rule.init(device_of=squares)])
    mask = torch.tensor([[True, True, True, True, False]])
    assert rule.weights(squares, mask, state).flatten().tolist() == [1, 0, 0, 1, 0]
    assert (rule.norm_bound(state).item(), rule.noise_scale_of(state).item()) == (math.inf, 2.0)
    assert rule.template() == Unclipped(noise_scale=1.0)


@pytest.mark.parametrize("made", [plan(Unclipped(noise_scale=1.0), 50.0), plan(WholeBatch(), 0.0)])
def test_nothing_can_be_claimed(made):
    assert not made.is_private
    event = made.event(steps=10, num_examples=16)
    assert event == NonPrivate()
    bound = accounting.epsilon(event, delta=1e-5, neighboring_relation=ADD)
    assert (bound.lower, bound.upper) == (math.inf, math.inf)


def test_a_trainer_claims_nothing_and_no_noise_is_enough():
    x, y = rows()
    model, made = net(), plan(Unclipped(noise_scale=0.1), 20.0)
    trainer = Trainer(
        module=model,
        criterion=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        plan=made,
        inputs=(x,),
        targets=(y,),
    )
    trainer.step()
    trainer.step()
    assert trainer.epsilon(delta=1e-5).upper == math.inf
    with pytest.raises(accounting.Unreachable):
        made.calibrate(
            lambda event: accounting.calibrate_noise_multiplier(
                event, target_epsilon=1e6, target_delta=1e-5, neighboring_relation=ADD
            ),
            steps=1,
            num_examples=16,
        )


def test_whole_batches_have_no_noise_and_no_private_step():
    with pytest.raises(ValueError, match=r"norm bound to be in proportion to, found WholeBatch\(\)"):
        plan(WholeBatch(), 1.0)
    with pytest.raises(ValueError, match="WholeBatch must train by ordinary backward passes"):
        one_step(WholeBatch(), sigma=0.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="noise_scale must be finite and > 0"):
        Unclipped(noise_scale=scale)
