"""Clifftop's own `Trainer` under the checks of a whole training, and faults of a user's own around it.

All checks here are exact: a correct trainer fails none of them, whatever the seed.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from clifftop import FixedOrder, Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.accounting import EpsilonBudget, Ledger, epsilon
from clifftop.audit.trainings import (
    Data,
    HasAccountant,
    ReportsEpsilon,
    Runs,
    UnusableTraining,
    check_training,
    ours,
)
from clifftop.audit.trainings.findings import repeated
from clifftop.checks import Checks, FirstExamples, NoChecks
from clifftop.events import Gaussian as GaussianRelease
from clifftop.events import PoissonSampled, SelfComposed
from clifftop.parallel import Alone
from clifftop.tables import DeferredTables
from clifftop.training import Trainer

N = 64
RNG = torch.Generator().manual_seed(0)
X, Y = torch.randn(N, 4, generator=RNG), torch.randint(0, 3, (N,), generator=RNG)
PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.25),
    clipping=Flat(clip_norm=0.5),
    noise=Gaussian(noise_multiplier=1.0),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=8,
)
RUNS = ("post-processing", "charges", "noise-anew", "restart")


def adam(model):
    return torch.optim.Adam(model.parameters(), lr=0.05)


def maker(*, kind=Trainer, module=lambda rows: nn.Linear(4, 3), optimizer=adam, scheduler=None, **changes):
    """A ``make_trainer`` whose trainers have some parts of another kind."""

    def make_trainer(rows, seed):
        model = module(rows)
        stepping = optimizer(model)
        parts = {
            "module": model,
            "criterion": nn.CrossEntropyLoss(reduction="none"),
            "optimizer": stepping,
            "scheduler": scheduler and scheduler(stepping),
            "plan": PLAN,
            "seed": seed,
            "checks": NoChecks(),
        }
        data = {"inputs": (X[rows],), "targets": (Y[rows],)}
        if "dataset" in changes:
            data = {"dataset": Subset(changes["dataset"], rows)}
        return kind(**(parts | changes | data))

    return make_trainer


def audited(make_trainer, *, without=frozenset({HasAccountant}), **ways):
    return check_training(ours(make_trainer, num_examples=N, **ways), without=without)


def found(report):
    return {check.name: check.found for check in report.findings}


def test_a_trainer_passes_and_what_is_not_looked_at_is_said():
    report = audited(maker())
    assert report.ok, str(report)
    assert tuple(check.name for check in report.checks) == (*RUNS, "reported-epsilon")
    assert any("several workers" in what for what in report.not_checked)


def two_groups(model):
    rates = ({"params": [model[0].weight], "lr": 0.1}, {"params": [model[0].bias, *model[3].parameters()]})
    return torch.optim.SGD(rates, lr=0.05, momentum=0.9)


class Nested(torch.optim.SGD):
    """A step that ends in that of its base class: torch calls the hooks of both."""

    def step(self, closure=None):
        return super().step(closure)


def test_groups_a_scheduler_dropout_a_buffer_a_data_set_and_checks_pass():
    def module(rows):
        model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3))
        model.register_buffer("version", torch.tensor(3))
        return model

    def scheduler(stepping):
        return torch.optim.lr_scheduler.StepLR(stepping, 4)

    data = TensorDataset(X, Y)
    make = maker(
        module=module, optimizer=two_groups, scheduler=scheduler, dataset=data, checks=FirstExamples()
    )
    report = audited(make)
    assert report.ok, str(report)
    public = ours(make, num_examples=N).run(steps=6, seed=0).public
    assert public["version"] == 3
    np.testing.assert_allclose(public["lr of the optimiser's group 0"], [0.1] * 3 + [0.01] * 3)
    assert set(public["momentum of the optimiser's group 1"]) == {0.9}


class ChargesNothing(Trainer):
    """The ledger is never asked; the trainer counts all the same."""

    def _advance(self, *, diagnose, horizon):
        self._charges.charged = horizon
        return super()._advance(diagnose=diagnose, horizon=horizon)


def test_a_ledger_is_charged_a_copy_of_and_never_the_users_own(tmp_path):
    """The user's has a budget that no step would pass; the copy has none, and outlives a restart."""
    relation = PLAN.neighboring_relation
    budget = EpsilonBudget(target_epsilon=1e-6, target_delta=1e-9, neighboring_relation=relation)
    named = {"dataset": "mine", "neighboring_relation": relation, "delta": 1e-9}
    with Ledger.create(tmp_path / "mine.ledger", budget=budget, **named) as ledger:
        trace = ours(maker(ledger=ledger), num_examples=N).run(steps=4, seed=0, stop_and_resume_at=2)
        free = ours(maker(ledger=ledger, kind=ChargesNothing), num_examples=N).run(steps=2, seed=0)
        assert ledger.entries == ()
    assert trace.charged.tolist() == [1, 2, 3, 4]
    assert free.charged.tolist() == [0, 0]


def test_a_fixed_order_and_a_nested_step_pass():
    """The realised size is the divisor, epochs are paid ahead, an empty batch is one that is zeroed."""
    plan = replace(
        PLAN,
        sampler=FixedOrder(batch_size=5),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
        expected_batch_size=None,
    )
    training = ours(
        maker(plan=plan, optimizer=lambda model: Nested(model.parameters(), lr=0.1)), num_examples=N
    )
    report = check_training(training, without={HasAccountant})
    assert report.ok, str(report)
    given, silent = (training.run(steps=8, seed=1, data=data) for data in (Data.GIVEN, Data.NONE))
    assert [len(batch) for batch in given.batches] == [5] * 6 + [2, 5]
    assert set(silent.batches) == {()}
    np.testing.assert_array_equal(given.noise, silent.releases)


def forgets_the_optimizer(trainer, file):
    fresh = trainer.optimizer.state_dict()
    trainer.load(file)
    trainer.optimizer.load_state_dict(fresh)


def test_a_resume_of_ones_own_that_forgets_is_found():
    assert set(found(audited(maker(), load=forgets_the_optimizer))) == {"restart"}
    forgot_all = audited(
        maker(),
        save=lambda trainer, file: torch.save(trainer.module.state_dict(), file),
        load=lambda trainer, file: trainer.module.load_state_dict(torch.load(file)),
    )
    assert set(found(forgot_all)) >= {"charges", "noise-anew", "restart", "reported-epsilon"}


class AlwaysTheSame(Gaussian):
    """Noise from a generator that is seeded in every step."""

    def __call__(self, total, state, stream):
        class Anew:
            def add_normal(self, value, std):
                g = torch.Generator().manual_seed(7)
                return {k: v + std * torch.randn(v.shape, generator=g) for k, v in value.items()}

        return super().__call__(total, state, Anew())


class NobodyNoStep(Trainer):
    """Empty batches are skipped."""

    def step(self, *, diagnose=True):
        indices, _ = self._stepper.draw(self.steps_done, self._open_streams)
        if len(indices) == 0:
            return None
        return super().step(diagnose=diagnose)


class NobodyNoCharge(Trainer):
    """A step on an empty batch counts for nothing."""

    def _advance(self, *, diagnose, horizon):
        indices, _ = self._stepper.draw(self.steps_done, self._open_streams)
        record = super()._advance(diagnose=diagnose, horizon=horizon)
        self.steps_done -= len(indices) == 0
        return record


SAME_NOISE = replace(PLAN, noise=AlwaysTheSame(noise_multiplier=0.01))


class Median(Flat):
    """The clip norm of the next step is the median of this batch's norms, without noise."""

    def __call__(self, grads, mask, state):
        total, weights, _ = super().__call__(grads, mask, state)
        norms = grads.sq_norms().sum(-1).sqrt()[mask]
        return (
            total,
            weights,
            replace(state, clip_norm=norms.quantile(0.5)[None] if len(norms) else state.clip_norm),
        )


FOLLOWS = replace(PLAN, clipping=Median(clip_norm=0.5))


def centred(rows):
    model = nn.Linear(4, 3)
    model.register_buffer("mean", X[rows].mean(0))
    return model


def follows_the_loss(trainer):
    loss = float(trainer.step().loss)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.05 * min(1.0, loss) if np.isfinite(loss) else 0.05


@pytest.mark.parametrize(
    ("make", "step", "check", "words"),
    [
        (maker(plan=SAME_NOISE), None, "noise-anew", "step 1 repeats"),
        (maker(seed=3), None, "noise-anew", "another seed"),
        (maker(kind=NobodyNoStep), None, "charges", "made 0 releases with empty batches"),
        (maker(kind=NobodyNoCharge), None, "charges", "0 releases are charged after 1 were made with empty"),
        (maker(plan=FOLLOWS), None, "post-processing", "'clipping.clip_norm'"),
        (maker(module=centred), None, "post-processing", "another 'mean'"),
        (maker(), follows_the_loss, "post-processing", "made other parameters in step"),
    ],
    ids=["same noise", "same seed", "no step", "no charge", "clip norm", "buffer", "rate"],
)  # fmt: skip
def test_a_planted_fault_is_found(make, step, check, words):
    report = audited(make, step=step, without={HasAccountant, ReportsEpsilon})
    assert words in found(report)[check]


def test_a_report_that_forgets_a_restart_is_found():
    def load(trainer, file):
        trainer.load(file)
        trainer.steps_done = 0

    report = audited(maker(), load=load, without={HasAccountant, Runs})
    assert set(found(report)) == {"reported-epsilon"}


class Asked(Checks):
    """Notes how many examples the checks of a trainer are told of."""

    told = ()

    def __call__(self, *, num_examples, **parts):
        Asked.told += (num_examples,)


def test_a_report_is_that_of_all_rows_with_the_trainers_own_checks():
    training = ours(maker(checks=Asked()), num_examples=N)
    reported = training.reported()
    assert Asked.told == (N, N)  # before a restart and after it
    assert reported.event.count == 12
    training.run(steps=1, seed=0)
    assert len(Asked.told) == 2


def test_the_accountant_is_clifftops_own():
    event = SelfComposed(PoissonSampled(0.1, GaussianRelease(2.0)), 30)
    asked = {"sampling_prob": 0.1, "noise_multiplier": 2.0, "steps": 30, "delta": 1e-6}
    expected = epsilon(event, delta=1e-6, neighboring_relation=PLAN.neighboring_relation).upper
    assert ours(maker(), num_examples=N).epsilon_of(**asked) == expected


class ReleasesACount(Flat):
    def event(self):
        return GaussianRelease(5.0)


COUNTS = replace(PLAN, clipping=ReleasesACount(clip_norm=1.0))


def resumed(rows, seed):
    trainer = maker()(rows, seed)
    trainer.steps_done = 2
    return trainer


ONE_MODEL = nn.Linear(4, 3)


class TwoRanks(Alone):
    """Two, of which nothing is asked but their number."""

    @property
    def world_size(self):
        return 2


def with_tables(rows, seed):
    model = nn.Sequential(nn.Embedding(9, 3, sparse=True), nn.Flatten(), nn.Linear(12, 3))
    stepping = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(
        module=model,
        criterion=nn.CrossEntropyLoss(reduction="none"),
        optimizer=stepping,
        plan=PLAN,
        inputs=(X[rows].abs().long(),),
        targets=(Y[rows],),
        seed=seed,
        deferred=DeferredTables(model, stepping, seed=seed),
    )


def drifting():
    made = iter(range(100))

    def module(rows):
        model = nn.Linear(4, 3)
        nn.init.constant_(model.bias, next(made))
        return model

    return maker(module=module)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (3, "found int; pass the function itself"),
        (lambda: None, "must take (rows, seed)"),
        (lambda rows, seed: None, "found NoneType; return the trainer"),
        (lambda rows, seed: maker()(range(N), seed), "found the same examples for others"),
        (maker(module=lambda rows: ONE_MODEL), "found 2 parameters that two trainers share"),
        (maker(ranks=TwoRanks()), "must train in one process, found world_size=2"),
        (with_tables, "found deferred tables"),
        (drifting(), "found another first value of 'bias'"),
        (resumed, "found steps_done=2"),
        (maker(plan=replace(PLAN, noise=Gaussian(noise_multiplier=0.0))), "must claim something"),
        (
            maker(plan=replace(PLAN, clipping=ReleasesACount(clip_norm=1.0))),
            "ReleasesACount releases numbers",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(make, words):
    with pytest.raises(UnusableTraining) as refused:
        ours(make, num_examples=N)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_releases_in_one_step_and_wrong_numbers_of_rows_are_refused():
    def twice(trainer):
        trainer.step()
        trainer.step()

    with pytest.raises(UnusableTraining, match="found 2 releases; take one"):
        audited(maker(), step=twice)
    with pytest.raises(UnusableTraining, match="index 64 is out of bounds"):
        ours(maker(), num_examples=N + 2)
    with pytest.raises(UnusableTraining, match="whole number >= 4, found num_examples=3"):
        ours(maker(), num_examples=3)


def test_noise_is_found_to_the_last_digit():
    """Noise a thousand times smaller than the sum would leave four digits of it."""
    plan = replace(PLAN, noise=Gaussian(noise_multiplier=0.001))
    training = ours(maker(plan=plan), num_examples=N)
    given = training.run(steps=3, seed=1)
    silent = training.run(steps=3, seed=1, data=Data.NONE)
    np.testing.assert_array_equal(given.noise, silent.releases)
    assert not np.array_equal(given.releases, silent.releases)
    assert given.charged.tolist() == [1, 2, 3]
    assert all(set(batch) <= set(range(N // 2)) for batch in given.batches)
    # With a seed from the operating system, too: sums of this size are multiples of 2^-32, most of them.
    drawn = ours(maker(plan=plan, seed=None), num_examples=N).run(steps=3, seed=1)
    assert (drawn.noise * 2**32 % 1 != 0).mean() > 0.9
    assert ((drawn.releases - drawn.noise).astype(np.float32) * 2.0**32 % 1 != 0).mean() < 0.1


class OfItsOwn(Gaussian):
    """Noise from a generator that no seed of the trainer reaches."""

    generator = np.random.default_rng(5)

    def __call__(self, total, state, stream):
        class Fresh:
            def add_normal(self, value, std):
                draws = {k: OfItsOwn.generator.normal(size=v.shape) for k, v in value.items()}
                return {k: v + std * torch.from_numpy(draws[k]).to(v.dtype) for k, v in value.items()}

        return super().__call__(total, state, Fresh())


def test_noise_that_no_seed_reaches_is_what_was_added():
    """What is added to the same sums: the difference of two runs is that of their noise, up to rounding."""
    training = ours(maker(plan=replace(PLAN, noise=OfItsOwn(noise_multiplier=1.0))), num_examples=N)
    one, other = training.run(steps=1, seed=1), training.run(steps=1, seed=1)
    assert not np.allclose(one.noise, other.noise, atol=1e-4)
    np.testing.assert_allclose(one.releases - one.noise, other.releases - other.noise, atol=1e-6)


class OfTorchs(Gaussian):
    """Noise from torch's own generator."""

    def __call__(self, total, state, stream):
        class Global:
            def add_normal(self, value, std):
                return {k: v + std * torch.randn(v.shape) for k, v in value.items()}

        return super().__call__(total, state, Global())


def test_torchs_own_generator_is_another_in_every_run_and_comes_back():
    training = ours(maker(plan=replace(PLAN, noise=OfTorchs(noise_multiplier=1.0))), num_examples=N)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (training.run(steps=2, seed=seed, stop_and_resume_at=1).noise for seed in (0, 1))
    assert repeated(np.concatenate([first, second])) is None
    assert torch.equal(torch.get_rng_state(), before)
