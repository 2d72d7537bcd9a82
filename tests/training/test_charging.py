"""The ledger: charged before a step is taken, in blocks, once for steps that are repeated."""

import pytest
import torch

from clifftop.accounting import BudgetExceeded, EpsilonBudget, Ledger, epsilon
from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


@pytest.fixture
def ledger(tmp_path):
    with Ledger.create(tmp_path / "l", dataset="d", neighboring_relation=RELATION, delta=1e-5) as made:
        yield made


def notes(ledger):
    return [entry.note.split(": ")[1] for entry in ledger.entries]


def test_steps_are_charged_before_they_are_taken(make, ledger):
    trainer = make(ledger=ledger, charge_steps=4)
    seen = []
    trainer.fit(steps=10, on_step=lambda step, record: seen.append(len(ledger.entries)))
    assert seen == [1] * 4 + [2] * 4 + [3] * 2
    assert notes(ledger) == ["steps 1 to 4", "steps 5 to 8", "steps 9 to 10"]
    assert ledger.epsilon() == trainer.epsilon(delta=1e-5)


def test_a_bare_step_charges_itself(make, ledger):
    trainer = make(ledger=ledger)
    trainer.step()
    trainer.step(diagnose=False)
    assert notes(ledger) == ["steps 1 to 1", "steps 2 to 2"]


def test_a_step_that_the_budget_forbids_is_not_taken(make, flat, tmp_path):
    budget = EpsilonBudget(target_epsilon=6.0, target_delta=1e-5, neighboring_relation=RELATION)
    path = tmp_path / "b"
    with Ledger.create(path, dataset="d", neighboring_relation=RELATION, delta=1e-5, budget=budget) as ledger:
        trainer = make(ledger=ledger, charge_steps=1)
        with pytest.raises(BudgetExceeded, match="epsilon at delta=1e-05 must stay <= 6"):
            trainer.fit(steps=10_000)
        before = flat(trainer)
        with pytest.raises(BudgetExceeded):
            trainer.step()
        assert torch.equal(before, flat(trainer))
        assert ledger.entries[-1].number == trainer.steps_done
        more = trainer.plan.event(steps=trainer.steps_done + 1, num_examples=60)
        assert trainer.epsilon(delta=1e-5).upper <= 6.0
        assert epsilon(more, delta=1e-5, neighboring_relation=RELATION).upper > 6.0


def test_a_step_that_fails_is_charged_all_the_same(make, ledger):
    """Negative control of 'before': whoever charged afterwards would have charged nothing."""

    def fails(*args):
        raise KeyError("no gradient")

    from clifftop.checks import NoChecks
    from clifftop.training import Whole

    trainer = make(ledger=ledger, engine=fails, checks=NoChecks(), microbatches=Whole())
    with pytest.raises(KeyError):
        trainer.step()
    assert notes(ledger) == ["steps 1 to 1"]
    assert trainer.steps_done == 0


def test_a_resumed_run_charges_its_repeated_steps_once(make, ledger, tmp_path):
    path = tmp_path / "run.pt"
    first = make(ledger=ledger, charge_steps=5)
    first.fit(steps=3, checkpoint=path)
    first.fit(steps=6)  # steps 4 to 9, lost with the process
    second = make(ledger=ledger, charge_steps=5)
    second.load(path)
    second.fit(steps=9)
    assert notes(ledger) == ["steps 1 to 3", "steps 4 to 8", "steps 9 to 9", "steps 10 to 12"]


def test_another_run_is_charged_for_itself(make, ledger):
    for _ in range(2):
        make(ledger=ledger).fit(steps=2)
    assert notes(ledger) == ["steps 1 to 2"] * 2
    assert len({entry.note for entry in ledger.entries}) == 2


def test_a_ledger_that_comes_late_is_charged_for_everything(make, ledger, tmp_path):
    path = tmp_path / "run.pt"
    make().fit(steps=7, checkpoint=path)
    trainer = make(ledger=ledger)
    trainer.load(path)
    trainer.step()
    assert notes(ledger) == ["steps 1 to 8"]


def test_a_fixed_order_is_charged_by_the_epoch(make, tmp_path):
    """One release an epoch, whichever steps of it come: three steps an epoch here."""
    relation = NeighboringRelation.ZERO_OUT
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=20),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=2.0),
        neighboring_relation=relation,
    )
    with Ledger.create(tmp_path / "f", dataset="d", neighboring_relation=relation, delta=1e-5) as ledger:
        trainer = make(plan=plan, ledger=ledger, charge_steps=4)
        trainer.fit(steps=8)
        assert notes(ledger) == ["steps 1 to 6", "steps 7 to 9"]
        assert [entry.event.participations for entry in ledger.entries] == [2, 1]
        assert ledger.epsilon().upper == pytest.approx(trainer.epsilon(delta=1e-5).upper, rel=1e-6)


def test_a_ledger_of_another_relation_is_refused(make, tmp_path):
    relation = NeighboringRelation.ZERO_OUT
    with (
        Ledger.create(tmp_path / "z", dataset="d", neighboring_relation=relation, delta=1e-5) as ledger,
        pytest.raises(ValueError, match="plan's neighboring_relation=ADD_OR_REMOVE_ONE, found ZERO_OUT"),
    ):
        make(ledger=ledger)


def test_blocks_must_be_counted(make):
    with pytest.raises(ValueError, match="charge_steps must be a whole number >= 1, found charge_steps=0"):
        make(charge_steps=0)
