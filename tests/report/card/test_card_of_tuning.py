"""The card of a tuning's release, made of its document alone."""

import json

import pytest

from clifftop import accounting
from clifftop.clipping import Flat
from clifftop.codec import encode
from clifftop.events import NegativeBinomialTrials, NeighboringRelation, RepeatAndSelect
from clifftop.lab.spec import Factory
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.report.card import CardError, tuned_card
from clifftop.sampling import FixedOrder

RELATION = NeighboringRelation.ZERO_OUT
PLAN = PrivacyPlan(
    sampler=FixedOrder(batch_size=50),
    clipping=Flat(clip_norm=1.0),
    noise=Gaussian(noise_multiplier=6.0),
    neighboring_relation=RELATION,
    expected_batch_size=50.0,
)
TRIALS = NegativeBinomialTrials(mean=3.0)


def document(**changes):
    run = PLAN.event(steps=8, num_examples=400)
    one = accounting.epsilon(run, delta=1e-5, neighboring_relation=RELATION)
    selection = RepeatAndSelect(run, TRIALS)
    whole = accounting.SelectionAccountant(RELATION).epsilon(selection, delta=1e-5)
    winner = {
        "setting": {"lr": 0.5},
        "diverged": False,
        "metric": "accuracy",
        "score": 0.75,
        "score_is": "on rows that are public",
        "model": encode(Factory(target="nowhere:net")),
        "data": encode(Factory(target="nowhere:rows")),
        "plan": encode(PLAN),
        "optimizer": {"name": "sgd", "lr": 0.5, "options": {}},
        "steps": 8,
        "num_examples": 400,
    }
    privacy = {
        "epsilon": whole.upper,
        "delta": 1e-5,
        "neighboring_relation": RELATION.value,
        "number_of_trials": encode(TRIALS),
        "one_run_epsilon": one.upper,
        "method": whole.method,
    }
    found = {"format": 1, "clifftop": "0.1.0", "sweep": "small", "design": "0" * 16, "winner": winner}
    return (
        found | {"privacy": privacy | changes.pop("privacy", {}), "statement": "The best of some."} | changes
    )


@pytest.fixture
def card_of(tmp_path):
    def card(**changes):
        (tmp_path / "tuned.json").write_text(json.dumps(document(**changes)))
        return tuned_card(tmp_path)

    return card


def test_the_price_is_that_of_the_whole_tuning(card_of):
    card = card_of()
    price = document()["privacy"]
    assert (card.verdict.release, card.verdict.epsilon) == ("the tuned model", price["epsilon"])
    facts = {row.name: row for row in card.section("guarantee").rows}
    assert facts["one_trial"].value["epsilon_upper"] == price["one_run_epsilon"] < price["epsilon"]
    assert "how often rows took part, and the noise" in [one.what for one in card.not_stated]
    json.dumps(card.to_json(), allow_nan=False)


def test_one_epsilon_limits_attacks_less_than_the_curve(card_of):
    """Against the Gaussian mechanism whose curve it is: the line of one point lies above it."""
    from clifftop.accounting.views import TradeOff, profile

    curve = profile(PLAN.event(steps=8, num_examples=400), neighboring_relation=RELATION)
    facts = {row.name: row for row in card_of().section("guarantee").rows}
    for rate in (0.01, 0.001):
        reached = facts[f"true_positive_rate_at_{rate}"].value["true_positive_rate_upper"]
        assert TradeOff(curve).true_positive_rate(rate).upper < reached < 1


def test_no_finite_price(card_of):
    card = card_of(privacy={"epsilon": "inf", "one_run_epsilon": "inf"})
    assert (card.verdict.release, card.verdict.epsilon) == ("nothing", None)
    json.dumps(card.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"winner": None}, "a release of no trial"),
        ({"winner": {"diverged": True}}, "a winner that diverged"),
        ({"privacy": {"epsilon": 0.01}}, "a price that covers the winner"),
        (
            {"privacy": {"number_of_trials": {"$kind": "clifftop.events:FixedTrials", "count": 3}}},
            "a law of trials",
        ),
    ],
)
def test_what_has_no_card(card_of, changes, words):
    with pytest.raises(CardError, match=words):
        card_of(**changes)


def test_a_plan_of_another_version(card_of):
    winner = document()["winner"]
    with pytest.raises(CardError, match="whose plan this version knows"):
        card_of(winner=winner | {"plan": winner["plan"] | {"$kind": "clifftop.plan:Later"}})


def test_no_release(tmp_path):
    with pytest.raises(CardError, match="found none"):
        tuned_card(tmp_path)
