"""The card of one run of a sweep or a study, from its results folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from clifftop import __version__
from clifftop.lab.sweep import Release
from clifftop.report.card.base import Card, CardError, NotStated, Row, Section
from clifftop.report.card.common import (
    checks_section,
    guarantee_section,
    mechanism_section,
    unit_section,
)
from clifftop.report.card.mechanism import Examined, Mechanism, examine
from clifftop.report.card.participation import drawn_by
from clifftop.report.card.release_of_sweep import Draws, composition_of, draws_of, verdict_of
from clifftop.report.card.rounding import up
from clifftop.report.card.shared_words import (
    hazards_section,
    setting_section,
    sources_section,
    unknown_section,
)
from clifftop.report.card.stored import BEST, NAMED, StoredRun, read_run
from clifftop.studies import get, names

_RELEASES = {
    Release.ONE_FIXED_BEFOREHAND: "one run, fixed before any was trained",
    Release.BEST: "the best run, chosen by what they reached",
    Release.ALL: "all private runs",
}


def privacy_card(folder: Path | str, *, run: str | None = None, delta: float | None = None) -> Card:
    """The privacy card of a run of a results folder.

    Its batches are drawn again from the run's streams and compared with what the accountant assumed, and so
    is the noise that it recorded; epsilon is computed anew and compared with what the folder says. What
    cannot be supported is refused by name.

    Args:
        folder: of a sweep or a study.
        run: the first characters of the run's id; by default the only private run, or the best of them.
        delta: at which epsilon is stated; by default that of the sweep or study.

    Raises:
        CardError: there is no such run, or it is not private, diverged or unfinished; or delta is not known.
        StoreError: the folder cannot be read.
    """
    found = read_run(Path(folder), run)
    examined = examine(_mechanism(found, delta))
    sections = (
        _setting(found),
        unit_section(examined.mechanism, rows_from=found.spec.data.target, epsilon=examined.epsilon),
        _released(found),
        _accesses(found, examined),
        mechanism_section(examined.mechanism),
        guarantee_section(examined),
        checks_section(examined),
        _randomness(found),
        unknown_section(),
        hazards_section(),
        _made_with(found),
        sources_section(),
    )
    return Card(
        title=f"Privacy card: {found.study}, run {found.spec.id}",
        subject={"kind": "run of a sweep", "name": found.study, "run": found.spec.id, "chosen": found.chosen},
        verdict=verdict_of(found, examined),
        sections=sections,
        not_stated=(*examined.not_stated, *_unsaid(found)),
    )


def _mechanism(run: StoredRun, delta: float | None) -> Mechanism:
    study = get(run.study) if run.sweep is None and run.study in names() else None
    known = run.setting.delta if run.setting is not None else study.delta if study is not None else None
    stated = known if delta is None else delta
    if stated is None:
        raise CardError(
            "a card needs a delta, found none in the folder; give one, well below 1 over the number of rows"
        )
    spec, facts = run.spec, run.facts
    size = None if facts is None else facts.size_of(spec.data)
    rows = size.num_train if size is not None else None if study is None else study.num_examples
    recorded = run.setting if stated == known else None
    options = "".join(f", {name} {value}" for name, value in spec.optimizer.options.items())
    return Mechanism(
        plan=spec.plan,
        steps=spec.steps,
        delta=stated,
        num_examples=rows,
        # Noise may have streams of its own; batches never do.
        rng=drawn_by(spec.streams.open([spec.seed]), spec.seed),
        optimizer=f"{spec.optimizer.name}, learning rate {spec.optimizer.lr:.10g}{options}",
        num_parameters=None if facts is None else facts.parameters_of(spec.model),
        noise_norms=run.noise_norms,
        recorded=None if recorded is None else (recorded.epsilon_lower, recorded.epsilon_upper),
    )


def _setting(run: StoredRun) -> Section:
    section = setting_section(is_public=None if run.sweep is None else run.sweep.public)
    model = Row(
        name="task", label="What was trained", text=f"{run.spec.model.target} on {run.spec.data.target}"
    )
    return replace(section, rows=(model, *section.rows))


def _released(run: StoredRun) -> Section:
    rows = []
    if run.sweep is not None:
        rows.append(
            Row(
                name="declared",
                label="Release that was declared",
                text=_RELEASES[run.sweep.release],
                value=run.sweep.release.value,
            )
        )
    chosen = {
        NAMED: "by whoever made this card; Clifftop does not know whether before or after training",
        BEST: f"for its {run.objective}, when this card was made: it looks best among the private runs",
    }.get(run.chosen, "it is the only private run")
    rows += [
        Row(name="chosen", label="How this run was chosen", text=chosen, value=run.chosen),
        Row(
            name="covered",
            label="Covered by the guarantee",
            text="the parameters after every step of this run, and whatever is computed from them without "
            "the rows",
        ),
        Row(
            name="not_covered",
            label="Not covered",
            text="diagnostics of steps, scores on test rows, files with the state of training, and this "
            "results folder",
        ),
        Row(
            name="sharing",
            label="Noise shared with other runs",
            text=f"yes, with {run.sharing:,} private runs of the folder: no two of them may ever be released"
            if run.sharing
            else "no: no other private run of the folder draws the same noise",
            value=run.sharing,
        ),
    ]
    return Section(name="released", title="What is released", rows=tuple(rows))


def _accesses(run: StoredRun, examined: Examined) -> Section:
    return Section(
        name="accesses",
        title="Accesses to the data",
        paragraphs=("Every time the rows were read, and whether the guarantee of this run covers it.",),
        rows=tuple(_access_rows(run, examined)),
    )


def _access_rows(run: StoredRun, examined: Examined) -> Iterator[Row]:
    epsilon = examined.epsilon
    price = "no epsilon is stated" if epsilon is None else f"epsilon at most {up(epsilon.upper)}"
    yield Row(
        name="training",
        label="Training of this run",
        text=f"covered: {price}, all {run.spec.steps:,} steps counted",
        value={"covered": epsilon is not None},
    )
    yield _tuning(run)
    if run.other_runs:
        yield Row(
            name="without_privacy",
            label="Runs without privacy",
            text=f"never covered: {run.other_runs:,} baselines or counterfactual runs read the same rows "
            "with nothing that hides them; no model or number of theirs, and no choice that follows from "
            "one, may be released",
            value={"covered": False, "runs": run.other_runs},
        )
    yield _evaluation(run)
    yield Row(
        name="diagnostics",
        label="Diagnostics",
        text="not covered: exact numbers of every step are in the folder",
        value={"covered": False},
    )
    yield Row(
        name="preprocessing",
        label="Preprocessing",
        text="not known to Clifftop: rows were taken as the data factory gave them",
        value={"covered": None},
    )


def _tuning(run: StoredRun) -> Row:
    upper, why = composition_of(run)
    finite = math.isfinite(upper)
    text = "no other private run of this folder; what was tried elsewhere is not known to Clifftop"
    value = {"covered": None, "private_runs": 1, "epsilon_upper": None}
    if run.private_runs > 1:
        together = f"epsilon at most {up(upper)}" if finite else f"no finite epsilon ({why})"
        text = (
            f"not covered by the epsilon of this run. {run.private_runs:,} private runs were trained in this "
            "folder; choosing among them by their results costs what they cost together: "
            f"{together}{_tune(run)}"
        )
        value = {
            "covered": False,
            "private_runs": run.private_runs,
            "epsilon_upper": upper if finite else None,
        }
    return Row(name="tuning", label="Choice of settings (tuning)", text=text, value=value)


def _tune(run: StoredRun) -> str:
    """What `clifftop tune` would cost over the same settings, as the folder has it."""
    if run.cost is None or not run.cost["selection"]:
        return ""
    offer = min(run.cost["selection"], key=lambda one: float(one["epsilon_upper"]))
    price = float(offer["epsilon_upper"])
    if math.isinf(price):
        return ""
    return (
        f". In place of that, clifftop tune would release the best of {offer['mean']:g} new trials on "
        f"average ({offer['law']} law) at epsilon at most {up(price)}"
    )


def _evaluation(run: StoredRun) -> Row:
    test = run.facts.size_of(run.spec.data) if run.facts is not None else None
    rows = "the test rows" if test is None else f"{test.num_test:,} test rows"
    return Row(
        name="evaluation",
        label="Evaluation",
        text=f"not covered: {rows} were read {run.evaluations:,} times; they cost the training rows nothing "
        "if they are other rows, and scores on them are exact",
        value={"covered": False, "times": run.evaluations},
    )


def _randomness(run: StoredRun) -> Section:
    draws = draws_of(run)
    kind = (
        "AES-128 in counter mode, a cryptographic generator"
        if draws is not Draws.KNOWN
        else "Philox, a statistical generator and not a cryptographic one"
    )
    who = (
        "whoever has the folder can: keep it to yourself, and destroy it when it is no longer needed"
        if draws is not Draws.KNOWN
        else "everyone who has the seed, which the results and the sweep state"
    )
    rows = (
        Row(name="generator", label="Generator", text=kind),
        Row(name="seeds", label="Batches and noise", text=f"{draws.value}", value=draws.name.lower()),
        Row(name="who", label="Who can draw the noise again", text=who),
        Row(
            name="distribution",
            label="Noise",
            text="Gaussian, continuous, in floating point; not a discrete distribution",
            value="gaussian, floating point",
        ),
        Row(
            name="initialisation",
            label="Initial parameters",
            text="from the run's seed by torch's generator; they depend on no row",
        ),
    )
    return Section(name="randomness", title="Random numbers", rows=rows)


def _made_with(run: StoredRun) -> Section:
    rows = [
        Row(name="card", label="This card", text=f"Clifftop {__version__}", value=__version__),
    ]
    if run.facts is not None:
        for place, made in enumerate(run.facts.environments):
            versions = dict(made.versions)
            text = ", ".join(f"{name} {version}" for name, version in versions.items())
            rows.append(
                Row(
                    name="training" if not place else f"training_{place + 1}",
                    label="Training",
                    text=f"{text}; {made.machine}, {made.device}",
                    value=versions | {"machine": made.machine, "device": made.device},
                )
            )
        if run.facts.started and run.facts.finished:
            rows.append(
                Row(
                    name="times",
                    label="Trained",
                    text=f"from {_minute(run.facts.started)} to {_minute(run.facts.finished)} UTC",
                    value={"started": run.facts.started, "finished": run.facts.finished},
                )
            )
    return Section(name="made_with", title="Made with", rows=tuple(rows))


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _unsaid(run: StoredRun) -> Iterator[NotStated]:
    if run.facts is None:
        yield NotStated(
            what="versions and times of training",
            why="the folder was made by an older version, or by a study; run the same sweep on it again",
        )
    if run.private_runs > 1:
        yield NotStated(
            what="mu and what attackers reach, of all runs together",
            why="both are computed for this run alone; together they are larger",
        )
