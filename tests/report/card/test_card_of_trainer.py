"""The card of one training, from the trainer, from its checkpoint, and with a ledger."""

import json

import pytest
import torch
from torch import nn

from clifftop import accounting
from clifftop.accounting import Ledger
from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.report.card import CardError, checkpoint_card, trainer_card
from clifftop.sampling import FixedOrder
from clifftop.training import Trainer

RELATION = NeighboringRelation.ZERO_OUT


def trainer(**changes) -> Trainer:
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=16),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=4.0),
        neighboring_relation=RELATION,
        expected_batch_size=16,
    )
    module = nn.Linear(3, 2)
    settings = {
        "module": module,
        "criterion": nn.CrossEntropyLoss(reduction="none"),
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1),
        "plan": plan,
        "inputs": (torch.eye(3).repeat(16, 1),),
        "targets": (torch.zeros(48, dtype=torch.long),),
    }
    return Trainer(**settings | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A trainer after six steps, and its checkpoint."""
    path = tmp_path_factory.mktemp("trainer") / "run.pt"
    found = trainer()
    found.fit(steps=6, checkpoint=path)
    return found, path


def test_the_price_is_the_trainers_epsilon(done):
    card = trainer_card(done[0], delta=1e-3)
    assert card.verdict.release == "this run alone"
    assert card.verdict.epsilon == done[0].epsilon(delta=1e-3).upper
    rounds = {row.name: row for row in card.section("checks").rows}["participations"].value
    assert (rounds["least"], rounds["largest"], rounds["expected"]) == (2, 2, 2.0)
    assert "whether the noise had the scale that was accounted" in [one.what for one in card.not_stated]


def test_the_checkpoint_says_the_same_and_not_the_seed(done):
    one, other = trainer_card(done[0], delta=1e-3), checkpoint_card(done[1], delta=1e-3)
    assert one.sections == other.sections
    assert one.verdict == other.verdict
    assert str(done[0].seed) not in json.dumps(other.to_json()) + other.to_markdown()


def test_a_seed_that_can_be_guessed_releases_nothing():
    found = trainer(seed=7)
    found.fit(steps=1)
    card = trainer_card(found, delta=1e-3)
    assert card.verdict.release == "nothing"
    assert "fewer than 64 bits" in card.verdict.text


def test_no_step_no_card():
    with pytest.raises(CardError, match="found steps_done=0"):
        trainer_card(trainer(), delta=1e-3)


def test_the_ledger_is_the_price_of_all_that_was_charged(done, tmp_path):
    with Ledger.create(
        tmp_path / "rows.ledger", dataset="rows", neighboring_relation=RELATION, delta=1e-3
    ) as ledger:
        charged = trainer(ledger=ledger)
        charged.fit(steps=6)
        other = trainer(ledger=ledger)
        other.fit(steps=3)
        card = trainer_card(charged, delta=1e-3, ledger=ledger)
        assert card.verdict.epsilon == ledger.epsilon().upper
        assert card.verdict.epsilon > charged.epsilon(delta=1e-3).upper
        assert card.section("accesses").rows[-1].value["steps_charged"] == 6
        stranger = trainer_card(done[0], delta=1e-3, ledger=ledger)
        assert stranger.verdict.release == "nothing"
        assert "charged for 0 of 6 steps" in stranger.verdict.text


def test_a_ledger_without_a_finite_epsilon_releases_nothing(tmp_path):
    from clifftop.events import NonPrivate

    with Ledger.create(
        tmp_path / "rows.ledger", dataset="rows", neighboring_relation=RELATION, delta=1e-3
    ) as ledger:
        charged = trainer(ledger=ledger)
        charged.fit(steps=3)
        ledger.charge(NonPrivate(), note="a histogram in the clear")
        card = trainer_card(charged, delta=1e-3, ledger=ledger)
    assert card.verdict.release == "nothing"
    assert "has no finite epsilon" in card.verdict.text
    json.dumps(card.to_json(), allow_nan=False)


def test_a_ledger_of_another_relation_is_refused(done, tmp_path):
    relation = NeighboringRelation.REPLACE_ONE
    with (
        Ledger.create(tmp_path / "l", dataset="rows", neighboring_relation=relation, delta=1e-3) as ledger,
        pytest.raises(CardError, match="a ledger of the training's relation"),
    ):
        trainer_card(done[0], delta=1e-3, ledger=ledger)


def test_replacing_a_row_says_nothing_of_several(done):
    plan = PrivacyPlan(
        sampler=FixedOrder(batch_size=16),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=4.0),
        neighboring_relation=NeighboringRelation.REPLACE_ONE,
        expected_batch_size=16,
    )
    found = trainer(plan=plan)
    found.fit(steps=3)
    card = trainer_card(found, delta=1e-3)
    assert not any(row.name.startswith("epsilon_of") for row in card.section("unit").rows)
    bound = accounting.epsilon(
        found.event(), delta=1e-3, neighboring_relation=NeighboringRelation.REPLACE_ONE
    )
    assert card.verdict.epsilon == bound.upper
