"""The Trainer: what it trains, what it reports, how it resumes, what it refuses."""

import io
import math

import pytest
import torch
from torch import nn

from clifftop import accounting
from clifftop.capture import CapturedSumming
from clifftop.checks import NoChecks, NotPrivate
from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation, NoOp
from clifftop.gradients import LoopEngine, UnsupportedModule
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


def test_it_learns_when_the_noise_is_small(make):
    trainer = make(sigma=0.1)
    losses: list[float] = []
    trainer.fit(steps=120, on_step=lambda step, record: losses.append(record.loss.item()))
    assert len(losses) == 120
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])


def test_without_clipping_and_noise_it_is_the_ordinary_optimiser(make):
    """A fixed order, no clipping, no noise: plain SGD on the mean loss."""
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=60),
        clipping=Flat(clip_norm=math.inf),
        noise=Gaussian(noise_multiplier=0.0),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
    )
    torch.manual_seed(1)
    ours, theirs = nn.Linear(5, 3).double(), nn.Linear(5, 3).double()
    theirs.load_state_dict(ours.state_dict())
    data, targets = torch.randn(60, 5).double(), torch.randint(0, 3, (60,))
    trainer = make(
        module=ours, optimizer=torch.optim.SGD(ours.parameters(), lr=0.5, momentum=0.9), plan=plan,
        inputs=(data,), targets=(targets,),
    )  # fmt: skip
    trainer.fit(steps=5)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(data), targets).backward()
        optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, rtol=1e-12, atol=1e-14)
    assert trainer.epsilon(delta=1e-5).upper == math.inf


def test_epsilon_is_that_of_the_steps_taken(make):
    trainer = make()
    assert trainer.event() == NoOp()
    assert trainer.epsilon(delta=1e-5).upper == 0
    trainer.fit(steps=7)
    wanted = accounting.epsilon(
        trainer.plan.event(steps=7, num_examples=60), delta=1e-5, neighboring_relation=RELATION
    )
    assert trainer.epsilon(delta=1e-5) == wanted


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(make, flat):
    whole = make(seed=4)
    whole.fit(steps=20)
    first = make(seed=4)
    first.fit(steps=8)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = make(seed=4)
    second.load_state_dict(torch.load(saved, weights_only=True))
    second.fit(steps=12)
    assert torch.equal(flat(whole), flat(second))
    assert second.steps_done == 20


def test_the_seed_decides_the_run_and_the_global_generator_does_not(make, flat):
    results = []
    for seed, global_seed in ((1, 0), (1, 99), (2, 0)):
        trainer = make(seed=seed)
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        trainer.fit(steps=5)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(flat(trainer))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_engines_train_alike(make, flat):
    tape, loop = make(), make(engine=LoopEngine())
    tape.fit(steps=6)
    loop.fit(steps=6)
    assert torch.allclose(flat(tape), flat(loop), atol=2e-5)


def test_the_users_module_keeps_its_own_names_and_no_hooks(make):
    trainer = make()
    names = list(trainer.module.state_dict())
    trainer.fit(steps=2)
    assert list(trainer.module.state_dict()) == names
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trainer.module.modules())


def test_an_optimiser_over_other_parameters_is_refused(make):
    model, other = nn.Linear(5, 3), nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"found 2 of them missing \(weight, bias\) and 2 foreign"):
        make(module=model, optimizer=torch.optim.SGD(other.parameters(), lr=0.1))


def test_unequal_lengths_are_refused(make):
    with pytest.raises(ValueError, match=r"same number of rows, found lengths=\[59, 60\]"):
        make(targets=(torch.zeros(59, dtype=torch.long),))


def test_a_batch_larger_than_the_data_is_refused_before_training(make):
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=61),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=1.0),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
    )
    with pytest.raises(ValueError, match="batch_size=61 and num_examples=60"):
        make(plan=plan)


def test_a_trainer_that_took_steps_cannot_take_over_a_run(make):
    state = make(seed=1).state_dict()
    busy = make(seed=1)
    busy.step()
    with pytest.raises(ValueError, match="taken no step, found steps_done=1"):
        busy.load_state_dict(state)


def test_without_a_seed_the_noise_is_nobodys_to_guess(make, flat):
    """A default seed would be public, and with it the noise."""
    first, second = make(seed=None), make(seed=None)
    assert first.seed != second.seed
    assert first.seed.bit_length() > 64
    first.fit(steps=1)
    second.fit(steps=1)
    assert not torch.equal(flat(first), flat(second))


def test_a_run_without_a_given_seed_resumes_exactly(make, flat):
    whole = make(seed=None)
    whole.fit(steps=3)
    saved = io.BytesIO()
    torch.save(whole.state_dict(), saved)
    whole.fit(steps=4)
    saved.seek(0)
    second = make(seed=None)
    second.load_state_dict(torch.load(saved, weights_only=True))
    second.fit(steps=4)
    assert torch.equal(flat(whole), flat(second))


def test_batch_norm_is_refused_with_the_remedy_with_or_without_checks(make):
    for refusal, parts in ((NotPrivate, {}), (UnsupportedModule, {"checks": NoChecks()})):
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
        trainer = make(module=model, **parts)
        with pytest.raises(refusal, match=r"BatchNorm1d at '1'.*GroupNorm"):
            trainer.step()
        assert trainer.steps_done == 0


def test_a_bare_step_diagnoses_unless_told_not_to(make, flat):
    looked, quiet = make(), make()
    assert looked.step().loss.shape == (1,)
    assert quiet.step(diagnose=False) is None
    assert torch.equal(flat(looked), flat(quiet))


def test_gradients_are_views_of_the_noisy_mean_and_nothing_else(make):
    trainer = make(sigma=0.0)
    record = trainer.step()
    total = torch.cat([p.grad.flatten() for p in trainer.module.parameters()]).norm()
    assert 0 < total <= 60 * 1.0 / 18
    assert record.noise_norm.item() == 0


class Counting(nn.Module):
    """A model that reads a number that is not in its own attributes, and may change from call to call."""

    scale = 1.0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(x) * Counting.scale


def test_why_the_step_is_not_captured_by_default(make, flat):
    """A captured step keeps what it was traced with; the default does what the module says."""
    ends = {}
    for summing in (None, CapturedSumming()):
        for later in (1.0, 3.0):
            torch.manual_seed(0)
            trainer = make(module=Counting(), summing=summing, checks=NoChecks(), prob=1.0)
            Counting.scale = 1.0
            trainer.fit(steps=4)
            Counting.scale = later
            trainer.fit(steps=4)
            ends[summing is None, later] = flat(trainer)
    assert make().summing is None
    assert not torch.equal(ends[True, 1.0], ends[True, 3.0])
    assert torch.equal(ends[False, 1.0], ends[False, 3.0])  # why it is not the default


def test_another_way_to_the_sum_trains_alike(make, flat):
    ordinary, captured = make(), make(summing=CapturedSumming())
    ordinary.fit(steps=6)
    captured.fit(steps=6)
    assert torch.allclose(flat(ordinary), flat(captured), atol=1e-5)
