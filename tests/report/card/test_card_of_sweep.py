"""The card of a run of a sweep: numbers of the accountant, words that fit, and every refusal."""

import json
import math
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from clifftop import accounting
from clifftop.accounting.views import TradeOff, gaussian_mu, profile
from clifftop.lab.contract import StoreError
from clifftop.lab.store import Store
from clifftop.report.card import SCHEMA_VERSION, CardError, privacy_card
from clifftop.sampling import Poisson

GOLDEN = Path(__file__).parent
SECRET = {"secret_seeds": True}


def fact(card, section, name):
    return {row.name: row for row in card.section(section).rows}[name]


def only_spec(folder):
    with Store.read(folder) as store:
        (spec,) = store.specs().values()
    return spec


def masked(text: str) -> str:
    """Without versions, times, and the recorded noise, whose last digits are the machine's."""
    text = re.sub(r"(?m)^\| (This card|Training|Trained) \| (?!DP-SGD).*$", r"| \1 | ... |", text)
    return re.sub(r"have [\d.]+ times(.*)\(p = [\d.e-]+\)", r"have ... times\1(p = ...)", text)


@pytest.fixture(scope="module")
def poisson(trained):
    return trained(sampler="poisson")


@pytest.fixture(scope="module")
def poisson_card(poisson):
    return privacy_card(poisson)


def test_the_markdown_is_as_it_was(poisson_card):
    """To renew after a change of words: write ``masked(card.to_markdown())`` to the file, and read it."""
    assert masked(poisson_card.to_markdown()) == (GOLDEN / "card.md").read_text()


def test_the_json_has_the_names_it_had(poisson_card):
    document = json.loads(json.dumps(poisson_card.to_json(), allow_nan=False))
    assert (document["schema"], document["schema_version"]) == ("clifftop privacy card", SCHEMA_VERSION)
    names = {name: list(section["facts"]) for name, section in document["sections"].items()}
    assert names == json.loads((GOLDEN / "names.json").read_text())
    assert list(document["verdict"]) == ["release", "epsilon", "text"]


def test_the_numbers_are_the_accountants(poisson, poisson_card):
    spec = only_spec(poisson)
    event = spec.plan.event(steps=13, num_examples=400)
    relation = spec.plan.neighboring_relation
    bound = accounting.epsilon(event, delta=1e-5, neighboring_relation=relation)
    found = fact(poisson_card, "guarantee", "epsilon").value
    assert found == {"epsilon_lower": bound.lower, "epsilon_upper": bound.upper}
    curve = profile(event, neighboring_relation=relation)
    for rate in (0.01, 0.001):
        row = fact(poisson_card, "guarantee", f"true_positive_rate_at_{rate}")
        power = TradeOff(curve).true_positive_rate(rate)
        assert row.value["true_positive_rate_upper"] == power.upper
        stated = float(re.search(r"at most ([\d.]+)%", row.text)[1])
        assert power.upper <= stated / 100 <= power.upper * 1.01
    mu = fact(poisson_card, "guarantee", "gaussian_mu")
    assert mu.value["mu_upper"] == gaussian_mu(curve).upper
    assert float(re.search(r"mu at most ([\d.]+)", mu.text)[1]) >= mu.value["mu_upper"]
    stated = float(re.search(r"at most ([\d.]+)", fact(poisson_card, "guarantee", "epsilon").text)[1])
    assert bound.upper <= stated < bound.upper * 1.00001
    assert fact(poisson_card, "mechanism", "event").value == repr(event)
    assert poisson_card.verdict.epsilon is None  # the seeds are known


def test_the_epsilon_of_several_rows_is_more_than_that_of_one(poisson_card):
    epsilons = [fact(poisson_card, "guarantee", "epsilon").value["epsilon_upper"]]
    epsilons += [fact(poisson_card, "unit", f"epsilon_of_{k}_rows").value["epsilon_upper"] for k in (2, 10)]
    assert epsilons == sorted(epsilons)
    assert epsilons[1] > 1.5 * epsilons[0]


def test_what_was_seen_is_what_the_run_drew(poisson, poisson_card):
    spec = only_spec(poisson)
    streams = spec.streams.open([spec.seed])
    sizes = [
        len(spec.plan.sampler.batch(t, num_examples=400, rng=lambda step: streams.sampling(spec.seed, step)))
        for t in range(13)
    ]
    value = fact(poisson_card, "checks", "batch_sizes").value
    assert (value["least"], value["largest"], value["expected"]) == (min(sizes), max(sizes), 64.0)
    assert value["mean"] == pytest.approx(np.mean(sizes))
    assert fact(poisson_card, "checks", "noise_scale").value["relative_scale"] == pytest.approx(1.0, abs=0.03)


def test_known_seeds_release_nothing(poisson_card):
    assert poisson_card.verdict.release == "nothing"
    assert "draw the noise again" in poisson_card.verdict.text


def test_one_run_with_a_secret_is_released_at_its_own_price(trained):
    card = privacy_card(trained(**SECRET))
    epsilon = fact(card, "guarantee", "epsilon").value["epsilon_upper"]
    assert (card.verdict.release, card.verdict.epsilon) == ("this run alone", epsilon)
    assert card.not_stated == ()
    assert fact(card, "randomness", "seeds").value == "secret"
    assert fact(card, "checks", "sampling_holds").value == {"holds": True, "level": None, "p_values": {}}


def test_no_secret_is_on_a_card(trained):
    folder = trained(**SECRET)
    card = privacy_card(folder)
    with Store.read(folder) as store:
        secret = int.from_bytes(store.artifact("secret"), "big")
    text = json.dumps(card.to_json()) + card.to_markdown()
    assert str(secret) not in text
    assert f"{secret:x}" not in text


def test_the_best_of_runs_with_noise_of_their_own_costs_what_all_cost(trained):
    axes = {"lr": [0.1, 0.5]}
    folder = trained(**SECRET, sharing="order", release="best", axes=axes, baselines=True)
    card = privacy_card(folder)
    with Store.read(folder) as store:
        cost = json.loads(store.artifact("cost.json"))
    assert card.verdict.release == "all private runs"
    assert card.verdict.epsilon == cost["composition"]["epsilon_upper"]
    assert card.verdict.epsilon > fact(card, "guarantee", "epsilon").value["epsilon_upper"]
    assert "2 runs without privacy are not covered" in card.verdict.text
    assert fact(card, "accesses", "without_privacy").value == {"covered": False, "runs": 2}
    assert fact(card, "accesses", "tuning").value["covered"] is False
    assert [one.what for one in card.not_stated] == ["mu and what attackers reach, of all runs together"]


def test_shared_noise_releases_the_run_that_was_fixed_beforehand_and_never_the_best(trained):
    folder = trained(**SECRET, axes={"lr": [0.1, 0.5]})
    best = privacy_card(folder)
    assert best.verdict.release == "nothing"
    assert "shares its noise with 1 run" in best.verdict.text
    named = privacy_card(folder, run=best.subject["run"][:6])
    assert named.verdict.release == "this run alone"
    assert "if it was fixed before any run was trained" in named.verdict.text
    assert "a second release would undo the first" in named.verdict.text


def test_public_data_need_no_protection(trained):
    card = privacy_card(trained(public=True))
    assert (card.verdict.release, card.verdict.epsilon) == ("anything", None)


def test_a_large_delta_and_a_large_epsilon_are_warned_of(trained):
    card = privacy_card(trained(**SECRET, noise_multiplier=0.05, delta=0.01))
    assert "an epsilon above 10" in card.verdict.text
    assert "delta is not below 1 over the 400 rows" in card.verdict.text
    assert fact(card, "guarantee", "delta").value == {"delta": 0.01, "times_rows": 4.0}
    assert [one.what for one in card.not_stated] == ["mu and what attackers reach"]


def test_another_delta(trained):
    card = privacy_card(trained(**SECRET), delta=1e-3)
    event = only_spec(trained(**SECRET)).plan.event(steps=14, num_examples=400)
    relation = only_spec(trained(**SECRET)).plan.neighboring_relation
    bound = accounting.epsilon(event, delta=1e-3, neighboring_relation=relation)
    assert card.verdict.epsilon == bound.upper


def refused(card, *, why):
    """Nothing may be released, no number is stated, and the reason is."""
    assert card.verdict.release == "nothing"
    assert card.verdict.epsilon is None
    names = {row.name for row in card.section("guarantee").rows}
    assert not names & {"epsilon", "gaussian_mu", "advantage", "accountant"}
    assert any(why in str(one) for one in card.not_stated), card.not_stated
    json.dumps(card.to_json(), allow_nan=False)


def test_batches_that_are_no_poisson_samples_are_found(trained, monkeypatch):
    folder = trained(**SECRET, sampler="poisson")

    def epochs(self, step, *, num_examples, rng):
        del self
        part, order = step % 6, np.random.default_rng(step // 6).permutation(num_examples)
        assert rng(step) is not None
        return order[part * 64 : (part + 1) * 64]

    monkeypatch.setattr(Poisson, "batch", epochs)
    card = privacy_card(folder)
    refused(card, why="batches are not what was accounted: spread of")
    assert fact(card, "checks", "sampling_holds").text.startswith("NO: ")


def test_noise_of_another_scale_is_found(damaged):
    noise = np.full(14, 0.5 * 4.0 * math.sqrt(1029) / 64, dtype="<f4").tobytes().hex()
    card = privacy_card(
        damaged(f"UPDATE trace SET vals = x'{noise}' WHERE name = 'noise_norm'", **SECRET),
    )
    refused(card, why="noise is not what was accounted: its scale is 0.5 times")


def test_an_epsilon_that_the_folder_understates_is_found(damaged):
    folder = damaged("UPDATE setting SET epsilon_lower = 0.1, epsilon_upper = 0.2", **SECRET)
    refused(privacy_card(folder), why="the folder recorded epsilon between 0.1 and 0.2")


def test_without_the_number_of_rows_a_fixed_order_has_no_epsilon(damaged):
    card = privacy_card(damaged("DELETE FROM artifact WHERE name = 'facts.json'", **SECRET))
    refused(card, why="the number of training rows is not known")
    unsaid = [one.what for one in card.not_stated]
    assert unsaid[1:] == [
        "delta against the number of rows",
        "how often rows took part",
        "whether the noise had the scale that was accounted",
        "versions and times of training",
    ]


def test_without_the_number_of_rows_poisson_sampling_has_an_epsilon_and_no_check(damaged):
    folder = damaged("DELETE FROM artifact WHERE name = 'facts.json'", **SECRET, sampler="poisson")
    card = privacy_card(folder)
    assert card.verdict.release == "this run alone"
    assert "delta against the number of rows" in [one.what for one in card.not_stated]
    assert card.section("checks").rows == ()


def test_a_cost_of_other_runs_is_no_price(damaged):
    axes = {"lr": [0.1, 0.5]}
    fewer = "replace(CAST(content AS TEXT), '\"runs\": 2', '\"runs\": 1')"
    change = f"UPDATE artifact SET content = CAST({fewer} AS BLOB) WHERE name = 'cost.json'"
    card = privacy_card(damaged(change, **SECRET, sharing="order", release="best", axes=axes))
    assert card.verdict.release == "nothing"
    assert "other runs than those whose cost it states" in card.verdict.text


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE run SET status = 'diverged'", "diverged: its parameters are not finite"),
        ("UPDATE run SET status = 'pending'", "found run {run} pending"),
        ("UPDATE run SET status = 'failed'", "found run {run} failed"),
        (
            "UPDATE run SET spec = replace(spec, 'clipping.flat:Flat', 'clipping.other:Odd')",
            "clipping.other:Odd",
        ),
        ("UPDATE run SET noise_multiplier = 0", "it has no noise"),
        ("UPDATE run SET noise_multiplier = 0, clip_norm = 9e999", "neither clipping nor noise"),
        ("DELETE FROM setting", "a card needs a delta"),
    ],
)
def test_a_run_without_a_card(damaged, statement, words):
    folder = damaged(statement, **SECRET)
    with sqlite3.connect(folder / "store.sqlite") as db:
        ((run,),) = db.execute("SELECT id FROM run").fetchall()
    db.close()
    with pytest.raises(CardError) as caught:
        privacy_card(folder, run=run[:5])
    assert words.format(run=run) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_counterfactual_runs_have_no_card(trained):
    folder = trained(**SECRET, counterfactuals=True)
    assert privacy_card(folder).section("accesses").rows[2].value == {"covered": False, "runs": 3}
    with Store.read(folder) as store:
        plain = [run_id for run_id, spec in store.specs().items() if not spec.plan.is_private]
    assert len(plain) == 3
    for run_id in plain:
        with pytest.raises(CardError, match="a card needs a private run"):
            privacy_card(folder, run=run_id)


def test_a_folder_without_a_private_run_that_is_done(damaged):
    with pytest.raises(CardError, match="a card needs a private run that is done, found none of 1 runs"):
        privacy_card(damaged("UPDATE run SET status = 'pending'", **SECRET))


def test_no_such_run_and_no_store(trained, tmp_path):
    with pytest.raises(CardError, match="found 0 runs with 'zz'"):
        privacy_card(trained(**SECRET), run="zz")
    with pytest.raises(StoreError, match=r"store\.sqlite"):
        privacy_card(tmp_path)
