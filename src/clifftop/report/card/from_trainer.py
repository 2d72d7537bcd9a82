"""The card of one training by the `Trainer`, from the trainer or from its checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clifftop import __version__
from clifftop.codec import CodecError, decode
from clifftop.noise import Keyed, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.report.card.base import Card, CardError, NotStated, Row, Section, Verdict
from clifftop.report.card.common import (
    checks_section,
    guarantee_section,
    mechanism_section,
    unit_section,
)
from clifftop.report.card.mechanism import Examined, Mechanism, examine
from clifftop.report.card.participation import drawn_by
from clifftop.report.card.rounding import up
from clifftop.report.card.shared_words import (
    hazards_section,
    setting_section,
    sources_section,
    unknown_section,
)
from clifftop.report.card.strength import cautions

if TYPE_CHECKING:
    from clifftop.accounting import Bound, Ledger
    from clifftop.training import Trainer

GUESSABLE_BITS = 64
"""A seed with fewer bits was not drawn as the Trainer draws them, and can be found by trying."""


def trainer_card(trainer: Trainer, *, delta: float, ledger: Ledger | None = None) -> Card:
    """The privacy card of what a trainer has done so far; deferred noise is settled first.

    Args:
        trainer: has taken at least one step.
        delta: at which epsilon is stated.
        ledger: of the data set, where it was charged; then its total is the price.

    Raises:
        CardError: no step was taken, or the ledger is of another relation.
    """
    return _card(trainer.state_dict(), delta=delta, ledger=ledger, title="a training")


def checkpoint_card(path: Path | str, *, delta: float, ledger: Ledger | None = None) -> Card:
    """The privacy card of a training, from a checkpoint of its trainer; see `trainer_card`.

    Raises:
        CheckpointError: there is no such file, or it is no whole checkpoint.
        CardError: as `trainer_card`, or the plan has parts that this version does not know.
    """
    from clifftop.training.checkpoint import read

    return _card(read(Path(path)), delta=delta, ledger=ledger, title=f"the training in {Path(path).name}")


def _card(state: Mapping[str, Any], *, delta: float, ledger: Ledger | None, title: str) -> Card:
    if not state["steps_done"]:
        raise CardError("a card needs a training that has taken a step, found steps_done=0; train first")
    plan, streams = _part(state, "plan", PrivacyPlan), _part(state, "streams", StreamKind)
    seed = int(state["seed"])
    trained = state["claims"]["trained"]
    mechanism = Mechanism(
        plan=plan,
        steps=state["steps_done"],
        delta=delta,
        num_examples=state["claims"]["num_examples"],
        rng=drawn_by(streams.open([seed]), seed),
        optimizer=state["claims"]["optimizer"],
        num_parameters=sum(state["module"][name].numel() for name in trained if name in state["module"]),
    )
    examined = examine(mechanism)
    total = None if ledger is None else _total(ledger, plan, delta)
    charged = None if ledger is None else _charged(ledger, state["run"])
    sections = (
        setting_section(is_public=None),
        unit_section(mechanism, rows_from=None, epsilon=examined.epsilon),
        _released(),
        _accesses(examined, total, charged),
        mechanism_section(mechanism),
        guarantee_section(examined),
        checks_section(examined),
        _randomness(streams, seed),
        unknown_section(),
        hazards_section(),
        _made_with(state),
        sources_section(),
    )
    return Card(
        title=f"Privacy card: {title}",
        subject={"kind": "training", "run": state["run"], "steps": state["steps_done"]},
        verdict=_verdict(examined, seed, total, charged),
        sections=sections,
        not_stated=(*examined.not_stated, *_unsaid(ledger)),
    )


def _part(state: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    try:
        return decode(state["claims"][name], kind)
    except CodecError as error:
        raise CardError(
            f"a card needs a training whose {name} this version knows, found {error}; nothing is claimed of "
            "what is not known"
        ) from error


def _total(ledger: Ledger, plan: PrivacyPlan, delta: float) -> Bound:
    if ledger.neighboring_relation is not plan.neighboring_relation:
        raise CardError(
            f"a card needs a ledger of the training's relation, {plan.neighboring_relation.name}, found "
            f"{ledger.neighboring_relation.name}; give the ledger that was charged"
        )
    return ledger.epsilon(delta)


def _charged(ledger: Ledger, run: str) -> int:
    """Up to which step the ledger was charged for the run."""
    pattern = re.compile(rf"training run {re.escape(run)}: steps \d+ to (\d+)")
    notes = (pattern.fullmatch(entry.note) for entry in ledger.entries)
    return max((int(found[1]) for found in notes if found), default=0)


def _verdict(examined: Examined, seed: int, total: Bound | None, charged: int | None) -> Verdict:
    reasons: list[str] = []
    if seed.bit_length() < GUESSABLE_BITS:
        reasons.append(
            f"The seed has fewer than {GUESSABLE_BITS} bits: it was given and not drawn by the operating "
            "system, and whoever knows or guesses it can draw the noise again and take it off. Leave seed "
            "out and train anew."
        )
    if examined.epsilon is None:
        reasons.append("No epsilon is stated for this training; the reasons stand under what is not stated.")
    if total is not None and not math.isfinite(total.upper):
        reasons.append("All that the ledger of the data set holds has no finite epsilon.")
    if charged is not None and charged < examined.mechanism.steps:
        reasons.append(
            f"The ledger was charged for {charged:,} of {examined.mechanism.steps:,} steps; what it adds up "
            "to leaves the others out. Give the ledger that this training was charged to."
        )
    if reasons:
        return Verdict(release="nothing", epsilon=None, text=" ".join(reasons))
    assert examined.epsilon is not None
    price, alone = examined.epsilon.upper, "if nothing else was ever released from these rows"
    if total is not None:
        price, alone = total.upper, "which is what everything in the ledger of the data set adds up to"
    text = (
        f"Everything of this training but its diagnostics, at epsilon = {up(price)}, {alone}. "
        "This presumes that nobody else has the seed, and that no other training was looked at to choose "
        "this one, unless the ledger was charged for it."
    )
    mechanism = examined.mechanism
    text += cautions(price, delta=mechanism.delta, num_examples=mechanism.num_examples)
    return Verdict(release="this run alone", epsilon=price, text=text)


def _released() -> Section:
    rows = (
        Row(
            name="covered",
            label="Covered by the guarantee",
            text="the parameters after every step, and whatever is computed from them without the rows",
        ),
        Row(
            name="not_covered",
            label="Not covered",
            text="diagnostics of steps, scores on test rows, and checkpoints, which hold the seed",
        ),
    )
    return Section(name="released", title="What is released", rows=rows)


def _accesses(examined: Examined, total: Bound | None, charged: int | None) -> Section:
    epsilon = examined.epsilon
    price = "no epsilon is stated" if epsilon is None else f"epsilon at most {up(epsilon.upper)}"
    rows = [
        Row(
            name="training",
            label="This training",
            text=f"covered: {price}, all {examined.mechanism.steps:,} steps counted",
            value={"covered": epsilon is not None},
        ),
        Row(
            name="tuning",
            label="Choice of settings (tuning)",
            text="not known to Clifftop: other trainings on these rows cost on top, whether or not their "
            "models are released",
            value={"covered": None},
        ),
        Row(
            name="evaluation",
            label="Evaluation",
            text="not covered: what callbacks looked at is not known to Clifftop",
            value={"covered": False},
        ),
        Row(
            name="preprocessing",
            label="Preprocessing",
            text="not known to Clifftop: rows were taken as they came",
            value={"covered": None},
        ),
    ]
    if total is not None:
        rows.append(_ledger(total, charged or 0))
    return Section(name="accesses", title="Accesses to the data", rows=tuple(rows))


def _ledger(total: Bound, charged: int) -> Row:
    finite = math.isfinite(total.upper)
    shown = f"epsilon at most {up(total.upper)}" if finite else "no finite epsilon"
    return Row(
        name="ledger",
        label="The data set's ledger",
        text=f"{shown} for all its entries together; {charged:,} steps of this training were charged to it",
        value={"epsilon_upper": total.upper if finite else None, "steps_charged": charged},
    )


def _randomness(streams: StreamKind, seed: int) -> Section:
    keyed = isinstance(streams, Keyed)
    generator = (
        "Philox, a statistical generator and not a cryptographic one"
        if keyed
        else f"{type(streams).__name__}: AES-128 in counter mode, a cryptographic generator"
        if type(streams).__name__ == "Secure"
        else type(streams).__name__
    )
    bits = seed.bit_length()
    drawn = (
        f"a seed of {bits} bits, which was given"
        if bits < GUESSABLE_BITS
        else "a seed of up to 128 bits, drawn by the operating system unless it was given; Clifftop does not "
        "know which"
    )
    rows = (
        Row(name="generator", label="Generator", text=generator),
        Row(name="seeds", label="Batches and noise", text=drawn),
        Row(
            name="who",
            label="Who can draw the noise again",
            text="whoever has the seed; checkpoints hold it",
        ),
        Row(
            name="distribution",
            label="Noise",
            text="Gaussian, continuous, in floating point; not a discrete distribution",
            value="gaussian, floating point",
        ),
    )
    return Section(name="randomness", title="Random numbers", rows=rows)


def _made_with(state: Mapping[str, Any]) -> Section:
    versions = {name: str(state[name]) for name in ("clifftop", "torch")}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    rows = (
        Row(name="card", label="This card", text=f"Clifftop {__version__}", value=__version__),
        Row(name="training", label="Training", text=text, value=versions),
    )
    return Section(name="made_with", title="Made with", rows=rows)


def _unsaid(ledger: Ledger | None) -> list[NotStated]:
    if ledger is not None:
        return []
    return [
        NotStated(
            what="what everything that was ever released from these rows costs together",
            why="no ledger of the data set was given; charge one",
        )
    ]
