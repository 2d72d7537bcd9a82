"""The card of what `clifftop tune` released, from its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clifftop import __version__, accounting
from clifftop.codec import CodecError, decode, encode
from clifftop.events import NegativeBinomialTrials, PoissonTrials
from clifftop.lab.spec import Factory
from clifftop.lab.tuning import read_release
from clifftop.lab.tuning.laws import law_words
from clifftop.plan import PrivacyPlan
from clifftop.report.card.base import Card, CardError, NotStated, Row, Section, Verdict
from clifftop.report.card.common import delta_row, mechanism_section, strength_row, unit_section
from clifftop.report.card.guarantee import FALSE_POSITIVE_RATES
from clifftop.report.card.mechanism import Mechanism
from clifftop.report.card.rounding import percent_up, up
from clifftop.report.card.shared_words import (
    hazards_section,
    setting_section,
    sources_section,
    unknown_section,
)
from clifftop.report.card.strength import cautions

_ROUNDING = 1e-12
"""Relative: far more than an exponential errs by."""
_DESTROYED = "a tuning destroys its draws, its diagnostics and every other trial when it releases the best"


def tuned_card(folder: Path | str) -> Card:
    """The privacy card of a tuning's release.

    The price is the one that the release states; it must not be below what the winner alone costs.

    Raises:
        CardError: there is no release, it holds no model, or it has parts that this version does not know.
        TuneError: the release is damaged.
    """
    found = read_release(Path(folder))
    if found is None:
        raise CardError(f"a card needs what a tuning released, found none in {folder}; finish the tuning")
    document = found.document
    winner = document["winner"]
    if winner is None or winner["diverged"]:
        what = "no trial" if winner is None else "a winner that diverged"
        raise CardError(
            f"a card needs a model, found a release of {what} in {folder}; there is none to publish"
        )
    mechanism = _mechanism(document)
    price = _price(document, mechanism)
    sections = (
        setting_section(is_public=None),
        unit_section(mechanism, rows_from=winner["data"]["target"], epsilon=None),
        _released(document),
        _accesses(document, price),
        mechanism_section(mechanism),
        _guarantee(document, price),
        _randomness(),
        unknown_section(),
        hazards_section(),
        _made_with(document),
        sources_section(),
    )
    return Card(
        title=f"Privacy card: {document['sweep']}, tuned",
        subject={"kind": "tuning", "name": document["sweep"], "design": document["design"]},
        verdict=_verdict(price, mechanism),
        sections=sections,
        not_stated=tuple(_unsaid(price)),
    )


def _mechanism(document: Mapping[str, Any]) -> Mechanism:
    winner = document["winner"]
    try:
        plan = decode(winner["plan"], PrivacyPlan)
        model = decode(winner["model"], Factory)
    except CodecError as error:
        raise CardError(
            f"a card needs a release whose plan this version knows, found {error}; nothing is claimed of "
            "what is not known"
        ) from error
    options = "".join(f", {name} {value}" for name, value in winner["optimizer"]["options"].items())
    return Mechanism(
        plan=plan,
        steps=winner["steps"],
        delta=document["privacy"]["delta"],
        num_examples=winner["num_examples"],
        rng=_no_draws,
        optimizer=f"{winner['optimizer']['name']}, learning rate {winner['optimizer']['lr']:.10g}{options}; "
        f"model {model.target}",
    )


def _no_draws(step: int) -> Any:
    raise AssertionError(f"the draws of step {step} were destroyed")


def _price(document: Mapping[str, Any], mechanism: Mechanism) -> float | None:
    """The whole tuning's epsilon from above, or None where there is no finite one.

    Raises:
        CardError: it is below what the winner alone costs.
    """
    price = float(document["privacy"]["epsilon"])
    winner = accounting.epsilon(
        mechanism.event, delta=mechanism.delta, neighboring_relation=mechanism.plan.neighboring_relation
    )
    if price < winner.lower:
        raise CardError(
            f"a card needs a price that covers the winner, found epsilon={price:.6g} and a winner that costs "
            f"{winner.lower:.6g} alone; trust neither, and report it"
        )
    return price if math.isfinite(price) else None


def _verdict(price: float | None, mechanism: Mechanism) -> Verdict:
    if price is None:
        text = "No finite epsilon is proven for this tuning; the model must not leave the house."
        return Verdict(release="nothing", epsilon=None, text=text)
    return Verdict(
        release="the tuned model",
        epsilon=price,
        text=f"The model, its setting and its score, at epsilon = {up(price)}, the whole tuning counted. "
        "Nothing else: not the number of trials, nor anything of those that lost."
        + cautions(price, delta=mechanism.delta, num_examples=mechanism.num_examples),
    )


def _released(document: Mapping[str, Any]) -> Section:
    winner = document["winner"]
    setting = ", ".join(f"{name} = {value}" for name, value in winner["setting"].items())
    rows = (
        Row(name="covered", label="Released", text=f"one model, its setting ({setting}) and its score"),
        Row(
            name="score",
            label="The score",
            text=f"{winner['metric']} {winner['score_is']}: {winner['score']:.6g}",
            value=winner["score"],
        ),
        Row(
            name="not_covered",
            label="Not covered",
            text="how many trials there were, which the time and the use of the machine tell; and every "
            "other trial",
        ),
    )
    return Section(name="released", title="What is released", rows=rows)


def _accesses(document: Mapping[str, Any], price: float | None) -> Section:
    trials = _law(document)
    covered = price is not None
    said = f"covered: epsilon at most {up(price)}" if price is not None else "no finite epsilon is proven"
    rows = (
        Row(
            name="training",
            label="Training of all trials",
            text=said,
            value={"covered": covered},
        ),
        Row(
            name="tuning",
            label="Choice of settings (tuning)",
            text=f"covered by the same price: the best of a number of trials that is {law_words(trials)}, "
            "each with a setting drawn anew",
            value={"covered": covered, "number_of_trials": encode(trials)},
        ),
        Row(
            name="evaluation",
            label="Scores of trials",
            text=f"{document['winner']['score_is']}; covered where those rows are private rows of their own",
            value={"covered": covered},
        ),
        Row(
            name="preprocessing",
            label="Preprocessing",
            text="not known to Clifftop: rows were taken as the data factory gave them",
            value={"covered": None},
        ),
    )
    return Section(
        name="accesses", title="Accesses to the data", paragraphs=(document["statement"],), rows=rows
    )


def _law(document: Mapping[str, Any]) -> NegativeBinomialTrials | PoissonTrials:
    found = decode(document["privacy"]["number_of_trials"], object)
    if not isinstance(found, NegativeBinomialTrials | PoissonTrials):
        raise CardError(f"a card needs a law of trials with a proof, found {found!r}; trust no number of it")
    return found


def _guarantee(document: Mapping[str, Any], price: float | None) -> Section:
    privacy, winner = document["privacy"], document["winner"]
    rows = []
    if price is not None:
        rows.append(
            Row(
                name="epsilon",
                label="Epsilon of the whole tuning",
                text=f"at most {up(price)}",
                value={"epsilon_upper": price},
            )
        )
        rows.append(strength_row(price))
        alone = float(privacy["one_run_epsilon"])
        if math.isfinite(alone):
            rows.append(
                Row(
                    name="one_trial",
                    label="One trial alone",
                    text=f"at most {up(alone)}; this is not the price of the release",
                    value={"epsilon_upper": alone},
                )
            )
    rows.append(delta_row(privacy["delta"], winner["num_examples"]))
    if price is not None:
        rows += [_attack(rate, price, privacy["delta"]) for rate in FALSE_POSITIVE_RATES]
        rows.append(
            Row(name="accountant", label="Accountant", text=privacy["method"], value=privacy["method"])
        )
    return Section(name="guarantee", title="What is guaranteed", rows=tuple(rows))


def _attack(rate: float, epsilon: float, delta: float) -> Row:
    """From one (epsilon, delta) alone (Wasserman and Zhou 2010; Kairouz, Oh and Viswanath 2015)."""
    first = delta + math.exp(min(epsilon, 700.0)) * rate
    second = -math.expm1(-epsilon) + math.exp(-epsilon) * (delta + rate)
    share = min(1.0, first * (1.0 + _ROUNDING), second * (1.0 + _ROUNDING))
    return Row(
        name=f"true_positive_rate_at_{rate:.10g}",
        label=f"An attacker who accuses 1 in {round(1 / rate):,} falsely",
        text=f"finds at most {percent_up(share)} of the rows that were trained on, by this epsilon and delta "
        "alone",
        value={"false_positive_rate": rate, "true_positive_rate_upper": share},
    )


def _randomness() -> Section:
    rows = (
        Row(
            name="generator",
            label="Generator",
            text="AES-128 in counter mode, keyed by secrets of the operating system; one of its own for each "
            "trial",
        ),
        Row(name="who", label="Who can draw the noise again", text=f"nobody: {_DESTROYED}"),
        Row(
            name="distribution",
            label="Noise",
            text="Gaussian, continuous, in floating point; not a discrete distribution",
            value="gaussian, floating point",
        ),
    )
    return Section(name="randomness", title="Random numbers", rows=rows)


def _made_with(document: Mapping[str, Any]) -> Section:
    rows = (
        Row(name="card", label="This card", text=f"Clifftop {__version__}", value=__version__),
        Row(
            name="training",
            label="Tuning",
            text=f"Clifftop {document['clifftop']}",
            value={"clifftop": document["clifftop"]},
        ),
    )
    return Section(name="made_with", title="Made with", rows=rows)


def _unsaid(price: float | None) -> Iterator[NotStated]:
    if price is None:
        yield NotStated(
            what="epsilon and what attackers reach", why="no finite epsilon is proven for this tuning"
        )
    yield NotStated(what="the lower end of epsilon", why="a selection is bounded from above only")
    yield NotStated(
        what="mu of Gaussian differential privacy", why="a selection is bounded at its own delta only"
    )
    yield NotStated(what="how often rows took part, and the noise", why=_DESTROYED)
