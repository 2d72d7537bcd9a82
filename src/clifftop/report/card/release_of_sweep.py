"""What may leave the house of a sweep's results, and at what price."""

from __future__ import annotations

import enum
import math
from typing import final

from clifftop.lab.sweep import Release
from clifftop.lab.tuning.streams import SecretStreams
from clifftop.noise import Secure
from clifftop.report.card.base import Verdict
from clifftop.report.card.mechanism import Examined
from clifftop.report.card.rounding import up
from clifftop.report.card.stored import BEST, StoredRun
from clifftop.report.card.strength import cautions

NOTHING, ONE, ALL, ANYTHING = "nothing", "this run alone", "all private runs", "anything"


_ANEW = "To release, set secret_seeds = true and train anew."
_A_STUDY = "A study is made to be repeated, not to be released."
_SECRET_BITS = 128  # a secret of 256 random bits has fewer once in 2^128 times
_ABOUT_SCORES = " Scores may go with it only if the test rows are nobody's secret."


@final
class Draws(enum.Enum):
    """Who can draw a run's random numbers again."""

    KNOWN = "keyed by seeds that the results and the sweep state"
    RANDOM = "keyed by seeds that the operating system drew for this run and the folder keeps"
    SECRET = (
        "keyed by the run's seed and a 256-bit secret that the operating system drew and the folder keeps"
    )


def draws_of(run: StoredRun) -> Draws:
    """Who can draw a run's random numbers again."""
    streams = run.spec.streams
    if isinstance(streams, SecretStreams):
        return Draws.SECRET if streams.secret.bit_length() >= _SECRET_BITS else Draws.KNOWN
    is_random = run.random_seeds and run.spec.noise_seed is not None and isinstance(streams, Secure)
    return Draws.RANDOM if is_random else Draws.KNOWN


def verdict_of(run: StoredRun, examined: Examined) -> Verdict:
    """What may be released, and why."""
    if run.sweep is not None and run.sweep.public:
        text = (
            "The data were declared public, so that nothing needs protection. What follows describes the "
            "mechanism; it is no claim about anyone's privacy."
        )
        return Verdict(release=ANYTHING, epsilon=None, text=text)
    reasons = _obstacles(run, examined)
    if reasons:
        return Verdict(release=NOTHING, epsilon=None, text=" ".join(reasons))
    assert examined.epsilon is not None
    if _only_this(run):
        price, text = examined.epsilon.upper, _one(run, examined.epsilon.upper)
        release = ONE
    else:
        price, _ = composition_of(run)
        text, release = _together(run, price), ALL
    mechanism = examined.mechanism
    said = cautions(price, delta=mechanism.delta, num_examples=mechanism.num_examples)
    return Verdict(release=release, epsilon=price, text=text + said)


def composition_of(run: StoredRun) -> tuple[float, str]:
    """What all private runs of the folder cost together, from above, and why if that is infinite."""
    if run.cost is None:
        return math.inf, "the folder does not say what its runs cost together"
    if run.cost["runs"] != run.private_runs:
        return (
            math.inf,
            "the folder holds other runs than those whose cost it states; run the sweep on it again",
        )
    found = run.cost["composition"]
    upper = float(found["epsilon_upper"])
    why = str(found.get("why") or "no finite epsilon is proven for it")
    return upper, "" if math.isfinite(upper) else why


def _only_this(run: StoredRun) -> bool:
    """Whether one run, chosen without looking at results, is what is released."""
    declared = run.sweep is None or run.sweep.release is Release.ONE_FIXED_BEFOREHAND
    return declared and run.chosen != BEST


def _obstacles(run: StoredRun, examined: Examined) -> list[str]:
    reasons: list[str] = []
    if draws_of(run) is Draws.KNOWN:
        reasons.append(
            "The seeds of this folder are known, to whoever has the results or the sweep: they can draw the "
            "noise again and take it off. Epsilon below is that of the mechanism with noise that nobody "
            f"knows. {_A_STUDY if run.sweep is None else _ANEW}"
        )
    if examined.epsilon is None:
        reasons.append("No epsilon is stated for this run; the reasons stand under what is not stated.")
    if _only_this(run):
        return reasons
    if run.sharing:
        reasons.append(
            f"This run shares its noise with {_runs(run.sharing)} of the folder, and was chosen for its "
            "results: the difference of two such models shows gradients without noise. Train with "
            'sharing = "order" or "independent", or name the run that was fixed beforehand.'
        )
    upper, why = composition_of(run)
    if math.isinf(upper) and not run.sharing:
        reasons.append(f"All private runs together have no finite epsilon: {why}.")
    if run.unfinished:
        reasons.append(
            f"{_runs(run.unfinished)} of the folder must still finish, so that what they cost together is "
            "not settled."
        )
    return reasons


def _one(run: StoredRun, price: float) -> str:
    text = f"Everything of this run but its diagnostics, at epsilon = {up(price)}"
    others = run.private_runs - 1 + run.other_runs
    if not others:
        return f"{text}.{_ABOUT_SCORES}"
    shared = (
        f" Its noise is also that of {_runs(run.sharing)}: a second release would undo the first."
        if run.sharing
        else ""
    )
    return (
        f"{text}, if it was fixed before any run was trained.{_ABOUT_SCORES} Of the {_runs(others)} "
        f"beside it nothing may ever be released, not even which of them was best.{shared} If this run was "
        "chosen by what others reached, this is not its price."
    )


def _together(run: StoredRun, price: float) -> str:
    picked = " This run was chosen for its results, which that price covers." if run.chosen == BEST else ""
    plain = (
        f" The {_runs(run.other_runs)} without privacy are not covered: neither their scores nor any choice "
        "that follows from them may be released."
        if run.other_runs
        else ""
    )
    return (
        f"All {run.private_runs:,} private runs and any choice among them, their diagnostics excepted, at "
        f"epsilon = {up(price)}: what they cost together, if how many to train was settled beforehand. The "
        f"epsilon of one run, further down, is not the price of choosing it.{_ABOUT_SCORES}{picked}{plain}"
    )


def _runs(count: int) -> str:
    return f"{count:,} run" + ("" if count == 1 else "s")
