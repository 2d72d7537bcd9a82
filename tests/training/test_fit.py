"""How long a run takes, what is called on the way, and where it stops."""

import io
import itertools

import pytest
import torch

from clifftop import accounting
from clifftop.accounting import DeltaTarget, EpsilonTarget
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import BatchSampler, FixedOrder, Poisson
from clifftop.training import Progress, TerminalProgress
from clifftop.training.duration import affordable_steps, steps_in_epochs

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


def target(epsilon: float, relation: NeighboringRelation = RELATION) -> EpsilonTarget:
    return EpsilonTarget(epsilon=epsilon, delta=1e-5, neighboring_relation=relation)


@pytest.mark.parametrize("epsilon", [4.0, 9.0])
def test_it_stops_exactly_before_the_budget_is_passed(make, epsilon):
    trainer = make()
    trainer.fit(until=target(epsilon))
    assert trainer.epsilon(delta=1e-5).upper <= epsilon
    more = trainer.plan.event(steps=trainer.steps_done + 1, num_examples=60)
    assert accounting.epsilon(more, delta=1e-5, neighboring_relation=RELATION).upper > epsilon


def test_steps_may_end_it_sooner_and_other_targets_do(make):
    trainer = make()
    trainer.fit(steps=2, until=target(9.0))
    assert trainer.steps_done == 2
    trainer.fit(until=DeltaTarget(delta=1e-5, epsilon=5.0, neighboring_relation=RELATION))
    assert trainer.steps_done == affordable_steps(trainer.plan, target(5.0), num_examples=60) > 2


def test_a_run_that_goes_on_counts_what_it_has_taken(make):
    trainer = make()
    wanted = affordable_steps(trainer.plan, target(6.0), num_examples=60)
    for _ in range(3):
        trainer.fit(steps=wanted // 2, until=target(6.0))
    assert trainer.steps_done == wanted
    trainer.fit(until=target(5.0))
    assert trainer.steps_done == wanted


def test_a_target_that_affords_no_step_is_refused(make):
    trainer = make(sigma=0.1)
    with pytest.raises(
        ValueError, match=r"must afford at least one step, found epsilon > 0.5 after one step"
    ):
        trainer.fit(until=target(0.5))
    assert trainer.steps_done == 0


def test_a_target_of_another_relation_is_refused(make):
    with pytest.raises(ValueError, match="plan's neighboring_relation=ADD_OR_REMOVE_ONE, found ZERO_OUT"):
        make().fit(until=target(5.0, NeighboringRelation.ZERO_OUT))


@pytest.mark.parametrize("ends", [{}, {"steps": 1, "epochs": 1.0}])
def test_one_end_must_be_named(make, ends):
    with pytest.raises(ValueError, match="fit must be told when to end, once"):
        make().fit(**ends)


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_steps_must_be_counted(make, steps):
    with pytest.raises(ValueError, match="steps must be a whole number >= 0"):
        make().fit(steps=steps)


def test_epochs_are_steps(make):
    trainer = make()
    assert trainer.steps_in(epochs=2) == 7  # 2 / 0.3, rounded up
    trainer.fit(epochs=2)
    assert trainer.steps_done == 7


@pytest.mark.parametrize("n", [50, 93, 107, 1000, 60_000])
def test_an_epoch_of_single_examples_has_n_steps(n):
    """``1 / (1 / 93)`` is not 93 in floats."""
    for batch in (1, 7):
        plan = PrivacyPlan(
            sampler=Poisson(sampling_prob=batch / n),
            clipping=make_flat(),
            noise=Gaussian(noise_multiplier=1.0),
            neighboring_relation=RELATION,
            expected_batch_size=batch,
        )
        assert steps_in_epochs(plan, epochs=1, num_examples=n) == -(-n // batch)
        assert steps_in_epochs(plan, epochs=0, num_examples=n) == 0


def make_flat():
    from clifftop.clipping import Flat

    return Flat(clip_norm=1.0)


def test_an_epoch_of_a_fixed_order_is_one_pass():
    order = PrivacyPlan(
        sampler=FixedOrder(batch_size=7),
        clipping=make_flat(),
        noise=Gaussian(noise_multiplier=1.0),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
    )
    assert steps_in_epochs(order, epochs=3, num_examples=20) == 9


def test_a_sampler_without_epochs_needs_steps():
    class Strange(BatchSampler):
        def batch(self, step, *, num_examples, rng):
            raise NotImplementedError

    plan = PrivacyPlan(
        sampler=Strange(),
        clipping=make_flat(),
        noise=Gaussian(noise_multiplier=1.0),
        neighboring_relation=RELATION,
        expected_batch_size=4,
    )
    with pytest.raises(ValueError, match="found sampler=Strange; pass steps"):
        steps_in_epochs(plan, epochs=1, num_examples=9)


def test_evaluation_is_in_eval_mode_at_every_multiple_and_at_the_end(make):
    trainer = make()
    trainer.module[0].eval()
    seen = []

    def evaluate(step, module):
        assert module is trainer.module
        assert not any(layer.training for layer in module.modules())
        assert not module(torch.zeros(1, 5)).requires_grad
        seen.append(step)

    trainer.fit(steps=4, evaluate=evaluate, evaluate_every=3)
    trainer.fit(steps=4, evaluate=evaluate, evaluate_every=3)
    assert seen == [3, 4, 6, 8]
    assert [layer.training for layer in trainer.module] == [False, True, True, True]


def test_modes_come_back_even_if_the_evaluation_fails(make):
    trainer = make()

    def fails(step, module):
        raise KeyError(step)

    with pytest.raises(KeyError):
        trainer.fit(steps=1, evaluate=fails)
    assert trainer.module.training


def test_looking_changes_nothing(make, flat):
    quiet, watched = make(), make()
    quiet.fit(steps=6)
    watched.fit(
        steps=6,
        on_step=lambda step, record: torch.rand(3),
        evaluate=lambda step, module: torch.rand(3),
        evaluate_every=1,
        progress=lambda progress: torch.rand(3),
    )
    assert torch.equal(flat(quiet), flat(watched))


@pytest.mark.parametrize("name", ["evaluate_every", "checkpoint_every"])
def test_a_period_must_be_counted(make, name):
    with pytest.raises(ValueError, match=rf"{name} must be None or a whole number >= 1, found {name}=0"):
        make().fit(steps=1, **{name: 0})


def test_progress_is_told_after_each_step(make):
    told = []
    make().fit(steps=3, progress=told.append)
    assert [(p.steps_done, p.steps) for p in told] == [(1, 3), (2, 3), (3, 3)]
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(told))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, seconds):
    progress = TerminalProgress(stream=stream)
    for i, second in enumerate(seconds):
        progress(Progress(steps_done=i + 1, steps=len(seconds), seconds=second))
    return stream.getvalue()


def test_a_terminal_shows_a_line_after_two_seconds():
    text = shown(Terminal(), [0.5, 1.9, 2.1, 2.2, 3.0])
    assert text.count("\r") == 2  # the step at 2.2 s comes too soon after the one at 2.1 s
    assert "step 3 of 5, 1.43 a second, 1 s left" in text
    assert "step 5 of 5" in text
    assert text.endswith("\n")


def test_a_short_run_and_a_file_show_nothing():
    assert shown(Terminal(), [0.5, 1.0]) == ""
    assert shown(io.StringIO(), [5.0, 9.0]) == ""
