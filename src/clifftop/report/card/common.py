"""Sections that every card has: what is protected, what ran, what is proven, what was checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress

from clifftop.accounting import Bound
from clifftop.events import NeighboringRelation
from clifftop.report.card.base import Row, Section
from clifftop.report.card.mechanism import Examined, Mechanism
from clifftop.report.card.noise_seen import NoiseSeen
from clifftop.report.card.participation import LEVEL, Participation
from clifftop.report.card.rounding import down, number, percent_up, up
from clifftop.report.card.strength import tier
from clifftop.sampling import FixedOrder, Poisson

RELATIONS = {
    NeighboringRelation.ADD_OR_REMOVE_ONE: (
        "two data sets are neighbours if one has one row more than the other and they are otherwise equal "
        "(add or remove one)"
    ),
    NeighboringRelation.REPLACE_ONE: (
        "two data sets are neighbours if they have equally many rows and differ in one of them (replace one)"
    ),
    NeighboringRelation.ZERO_OUT: (
        "two data sets are neighbours if one row of the one is an empty row in the other, which has no "
        "gradient; the number of rows is the same (zero out)"
    ),
}
_SEVERAL = (2, 10)


def unit_section(mechanism: Mechanism, *, rows_from: str | None, epsilon: Bound | None) -> Section:
    """Whom the guarantee protects; with the ``epsilon`` of one training, what it is for several rows."""
    relation = mechanism.plan.neighboring_relation
    count = mechanism.num_examples
    source = "" if rows_from is None else f" of {rows_from}"
    known = "a number of rows that was not recorded" if count is None else f"{count:,} rows"
    rows = [
        Row(name="unit", label="Unit of privacy", text="one training example, which is one row", value="row"),
        Row(
            name="row",
            label="What a row is",
            text=f"one entry of the training data{source} ({known}): its inputs and targets together",
            value=count,
        ),
        Row(
            name="several_rows",
            label="A person with several rows",
            text="not covered by the epsilon below: it is of one row. Clifftop does not know whose rows are "
            "whose",
        ),
        *(() if epsilon is None else _several(mechanism)),
        Row(
            name="neighboring_relation",
            label="Neighbouring relation",
            text=RELATIONS[relation],
            value=relation.value,
        ),
        Row(
            name="number_of_rows",
            label="The number of rows",
            text="taken to be public: the sampling probability and the batch size that sums are divided by "
            "follow from it",
        ),
    ]
    return Section(name="unit", title="Who is protected", rows=tuple(rows))


def _several(mechanism: Mechanism) -> Iterator[Row]:
    """Epsilon for someone behind several rows, where that is proven."""
    from clifftop import accounting
    from clifftop.events import user_level

    relation = mechanism.plan.neighboring_relation
    if relation is NeighboringRelation.REPLACE_ONE:
        return
    for count in _SEVERAL:
        try:
            event = user_level(mechanism.event, examples_per_user=count)
            bound = accounting.epsilon(event, delta=mechanism.delta, neighboring_relation=relation)
        except ValueError:
            return
        if math.isfinite(bound.upper):
            yield Row(
                name=f"epsilon_of_{count}_rows",
                label=f"Someone behind up to {count} rows",
                text=f"epsilon at most {up(bound.upper)} at the same delta, for this training alone",
                value=ends(bound),
            )


def mechanism_section(mechanism: Mechanism) -> Section:
    """What ran."""
    rows = [
        Row(
            name="training",
            label="Training",
            text="DP-SGD: in every step each example's gradient is clipped, the clipped gradients are added "
            "up, and Gaussian noise is added to the sum",
            value="dp-sgd",
        ),
        *_sampler(mechanism),
        Row(name="steps", label="Steps", text=f"{mechanism.steps:,}", value=mechanism.steps),
        *_noise(mechanism),
        _divisor(mechanism),
    ]
    if mechanism.optimizer is not None:
        rows.append(
            Row(
                name="optimizer",
                label="Optimiser",
                text=f"{mechanism.optimizer}; it sees noised sums only, so it costs nothing more",
            )
        )
    if mechanism.num_parameters is not None:
        trained = f"{mechanism.num_parameters:,}"
        rows.append(
            Row(name="parameters", label="Trained parameters", text=trained, value=mechanism.num_parameters)
        )
    with suppress(ValueError):  # then it stands among what is not stated
        event = repr(mechanism.event)
        rows.append(Row(name="event", label="As the accountant sees it", text=event, value=event))
    return Section(name="mechanism", title="What ran", rows=tuple(rows))


def _sampler(mechanism: Mechanism) -> Iterator[Row]:
    match mechanism.plan.sampler:
        case Poisson(sampling_prob=q):
            text = (
                f"Poisson: each row is in each batch with probability {number(q)}, independently of all "
                "others; the guarantee counts on amplification by it"
            )
            yield Row(name="sampler", label="Batches", text=text, value="poisson")
            yield Row(name="sampling_prob", label="Sampling probability", text=number(q), value=q)
        case FixedOrder(batch_size=size):
            text = f"in a fixed order, {size:,} rows at a time; no amplification is counted on"
            yield Row(name="sampler", label="Batches", text=text, value="fixed-order")
        case sampler:
            yield Row(name="sampler", label="Batches", text=repr(sampler), value=type(sampler).__name__)


def _noise(mechanism: Mechanism) -> Iterator[Row]:
    plan, std = mechanism.plan, mechanism.noise_std
    sigma, clip_norm = (
        getattr(part, name, None)
        for part, name in ((plan.noise, "noise_multiplier"), (plan.clipping, "clip_norm"))
    )
    if sigma is not None:
        yield Row(name="noise_multiplier", label="Noise multiplier", text=number(sigma), value=sigma)
    rule = type(plan.clipping).__name__
    if clip_norm is not None:
        yield Row(
            name="clip_norm",
            label="Clip norm",
            text=f"{number(clip_norm)} (rule: {rule}): the most by which one row moves the sum, in L2 norm",
            value=clip_norm,
        )
    if std is not None:
        yield Row(
            name="noise_std",
            label="Noise on the sum",
            text=f"standard deviation {number(std)} in every coordinate",
            value=std,
        )


def _divisor(mechanism: Mechanism) -> Row:
    size = mechanism.plan.expected_batch_size
    text = (
        "the number of rows in the batch, which is public in a fixed order"
        if size is None
        else f"{number(size)}, a public number"
    )
    return Row(name="divisor", label="The noised sum is divided by", text=text, value=size)


def guarantee_section(examined: Examined) -> Section:
    """What is proven of this training alone."""
    guarantee, mechanism = examined.guarantee, examined.mechanism
    rows = []
    if guarantee.epsilon is not None:
        bound = guarantee.epsilon
        rows.append(
            Row(
                name="epsilon",
                label="Epsilon of this training alone",
                text=f"at most {up(bound.upper)}; the least that holds lies between {down(bound.lower)} and "
                f"{up(bound.upper)}",
                value=ends(bound),
            )
        )
        rows.append(strength_row(bound.upper))
    rows += [delta_row(mechanism.delta, mechanism.num_examples), *_attacks(examined), *_gaussian(examined)]
    if guarantee.epsilon is not None:
        rows.append(
            Row(
                name="accountant",
                label="Accountant",
                text=f"Clifftop's, which proves both ends, rounding errors included (method: "
                f"{guarantee.epsilon.method})",
                value=guarantee.epsilon.method,
            )
        )
    return Section(name="guarantee", title="What is guaranteed", rows=tuple(rows))


def strength_row(epsilon: float) -> Row:
    """How much an epsilon is worth."""
    text = f"{tier(epsilon)}, by the tiers of Ponomareva et al. 2023"
    return Row(name="strength", label="How strong that is", text=text)


def delta_row(delta: float, count: int | None) -> Row:
    """Delta, beside how many rows there are."""
    text, value = up(delta), {"delta": delta}
    if count is not None:
        share = delta * count
        value |= {"times_rows": share}
        text += f"; times the number of rows: {up(share, digits=3)}"
        if share >= 1.0:
            text += ", which must be well below 1"
    return Row(name="delta", label="Delta", text=text, value=value)


def _attacks(examined: Examined) -> Iterator[Row]:
    for rate, bound in examined.guarantee.true_positive_rates:
        few = f"{rate:.10g}"
        often = f"1 in {round(1 / rate):,}"
        yield Row(
            name=f"true_positive_rate_at_{few}",
            label=f"An attacker who accuses {often} falsely",
            text=f"finds at most {percent_up(bound.upper)} of the rows that were trained on (true positives "
            f"at {100 * rate:g}% false positives; guessing finds {100 * rate:g}%), whatever the attack, from "
            "all models of this training",
            value={"false_positive_rate": rate} | ends(bound, "true_positive_rate"),
        )
    advantage = examined.guarantee.advantage
    if advantage is not None:
        yield Row(
            name="advantage",
            label="Attack advantage",
            text=f"true positives exceed false positives by at most {percent_up(advantage.upper)} of rows, "
            "at any threshold",
            value=ends(advantage, "advantage"),
        )


def _gaussian(examined: Examined) -> Iterator[Row]:
    view = examined.guarantee.gaussian
    if view is None:
        return
    mu = view.mu.upper
    yield Row(
        name="gaussian_mu",
        label="Gaussian differential privacy",
        text=f"mu at most {up(mu)}: telling whether a row was trained on is at least as hard as telling one "
        f"draw of N(0, 1) from one of N({up(mu)}, 1). Certified for epsilons up to "
        f"{down(view.reach, digits=3)}, that is for attacks whose two error rates are both at least "
        f"{up(_least_rate(mu, view.reach), digits=2)}; mu alone misjudges the accuracy of a guess by at most "
        f"{up(view.regret, digits=2)}",
        value=ends(view.mu, "mu") | {"certified_to_epsilon": view.reach, "regret": view.regret},
    )


def _least_rate(mu: float, reach: float) -> float:
    """The error rates from which the Gaussian curve is below the true one; see `views.gaussian`."""
    if mu == 0:
        return 0.0
    return 0.5 * math.erfc((reach / mu + 0.5 * mu) / math.sqrt(2.0)) * (1.0 + 1e-9)


def checks_section(examined: Examined) -> Section:
    """Whether what the accountant assumes was so, as far as can be seen."""
    rows = []
    if examined.participation is not None:
        rows += _batches(examined.participation)
    if examined.noise is not None:
        rows.append(_noise_row(examined.noise))
    paragraph = (
        "Draws follow from the run's seed and step, so its batches were drawn again for this card. That the "
        "training code did use them, that gradients are of one row each and were clipped, is tested in "
        "Clifftop and was checked on a few rows before the first step; it was not watched during this run."
    )
    return Section(
        name="checks", title="Whether the assumptions held", paragraphs=(paragraph,), rows=tuple(rows)
    )


def _batches(seen: Participation) -> Iterator[Row]:
    low, mean, high = seen.batch_sizes
    part = (
        "" if seen.steps_seen == seen.steps else f" of the first {seen.steps_seen:,} of {seen.steps:,} steps"
    )
    yield Row(
        name="batch_sizes",
        label="Rows in a batch",
        text=f"{low:,} to {high:,}, {mean:,.6g} on average{part}; accounted: {seen.expected_size:,.6g} on "
        "average",
        value={"least": low, "mean": mean, "largest": high, "expected": seen.expected_size},
    )
    low, mean, high = seen.rounds
    accounted = (
        f"{seen.expected_rounds:,.6g} on average"
        if seen.statistics
        else f"at most {seen.expected_rounds:,.6g}"
    )
    yield Row(
        name="participations",
        label="Batches that a row was in",
        text=f"{low:,} to {high:,}, {mean:,.6g} on average{part}; accounted: {accounted}",
        value={
            "least": low,
            "mean": mean,
            "largest": high,
            "expected": seen.expected_rounds,
            "steps_seen": seen.steps_seen,
        },
    )
    yield _conclusion(seen)


def _conclusion(seen: Participation) -> Row:
    if not seen.holds:
        text = f"NO: {'; '.join(seen.faults)}"
    elif seen.statistics:
        least = min(one.p_value for one in seen.statistics)
        text = (
            f"plausible by {len(seen.statistics)} statistics (least p-value {least:.2g}); a sound sampler "
            f"fails this test about once in {round(1 / LEVEL):,} runs"
        )
    else:
        text = "yes, exactly: no row was in more batches than were accounted"
    return Row(
        name="sampling_holds",
        label="Batches as accounted",
        text=text,
        value={
            "holds": seen.holds,
            "level": LEVEL if seen.statistics else None,
            "p_values": {one.name: one.p_value for one in seen.statistics},
        },
    )


def _noise_row(seen: NoiseSeen) -> Row:
    said = "as accounted" if seen.holds else "NOT what was accounted"
    return Row(
        name="noise_scale",
        label="Noise that was added",
        text=f"its recorded norms have {seen.relative_scale:.6g} times the standard deviation accounted, "
        f"over {seen.steps:,} steps: {said} (p = {seen.p_value:.2g})",
        value={"relative_scale": seen.relative_scale, "p_value": seen.p_value, "holds": seen.holds},
    )


def ends(bound: Bound, name: str = "epsilon") -> dict[str, float]:
    """A finite interval as JSON; not rounded."""
    return {f"{name}_lower": bound.lower, f"{name}_upper": bound.upper}
