"""One row of the table, and first guesses for what no accountant knows. Heuristics: nothing here is proven.

*The batch.* At fixed compute the noise per update ``sigma / B`` falls with every doubling of the batch, by a
good 29 % (``1 - 1 / sqrt(2)``) at the least: once epsilon is a function of the total noise ``Sigma = sigma
/ (q sqrt(T))`` alone, sigma grows like ``sqrt(B)``. So it has no knee, and does not say when a batch is
large enough. The total noise has one: small batches need so small a sigma that epsilon is overcharged
(below about 2 in Sander, Stock and Sablayrolles 2023, "TAN without a burn: scaling laws of DP-SGD"); beyond
that Sigma comes to rest near that of the Gaussian mechanism, and a larger batch only takes fewer steps.
Rehn, Zhao, Heikkila and Honkela 2025 ("On optimal hyperparameters for differentially private deep transfer
learning") find by experiment that at a fixed number of epochs the noise of all steps together tells which
batch is better, and rules about one step do not.

*The learning rate.* Noise of standard deviation ``sigma C / B`` in each of P coordinates, added up over T
steps at learning rate lr, carries the parameters a distance of ``lr C (sigma / B) sqrt(P T)`` by itself.
The step size in the analysis of Bassily, Smith and Thakurta 2014 ("Private empirical risk minimization:
efficient algorithms and tight error bounds") makes this distance, where noise dominates, that from the
start to the optimum. That distance is not known; `DISTANCE` was measured. In turn, a table's row has too
few steps where such a learning rate would be above `MOST_REACH`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from clifftop.accounting.calibration import Unreachable
from clifftop.events.base import is_number
from clifftop.planning.candidates import Candidate, Question, candidate, candidates

KNEE = 0.02
"""The batch is large enough where doubling it lowers the total noise by less than this part; as measured in
docs/planning.md."""
CLIP_NORM = 0.1
"""So small that nearly every gradient is clipped, as Li, Tramer, Liang and Hashimoto 2022 ("Large language
models can be strong differentially private learners") and Tramer and Boneh 2021 ("Differentially private
learning needs better features (or much more data)") choose it. Then an update depends on the learning rate
times the clip norm alone, and one of the two need not be tuned (De, Berrada, Hayes, Smith and Balle 2022,
"Unlocking high-accuracy differentially private image classification through scale"; Bu, Wang, Zha and Karypis
2023, "Automatic clipping")."""
DISTANCE = 20.0
"""How far the noise alone may carry the parameters; see the module and docs/planning.md. A large network goes
farther, and may want a learning rate many times larger."""
MOST_REACH = 8.0
"""The largest learning rate times clip norm with which plain SGD is expected to train."""
REFERENCE_PARAMETERS = 26_010
"""Of the network of `clifftop.planning.compute.REFERENCE_FLOP`, where no number is given."""
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Around the first guess of a learning rate, for a search."""


@final
@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The row to begin with, and why. The epsilon of the row is certified; the choice is a heuristic.

    Attributes:
        candidate: the row.
        reason: one sentence.
        clip_norm: a first guess.
        lr: a first guess for plain SGD with that clip norm.
        lrs: learning rates to search.
        half_compute: the relative rise of the total noise with half the compute; None where that pays for no
            step.
        double_compute: the relative fall with twice the compute.
    """

    candidate: Candidate
    reason: str
    clip_norm: float
    lr: float
    lrs: tuple[float, ...]
    half_compute: float | None
    double_compute: float | None


@final
@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A table and a proposal. Making one reads no data and costs no privacy.

    It needs the number of examples, which is private where neighbouring data sets differ in it (add or
    remove one): pass a public number, not a count of the private rows.
    """

    question: Question
    table: tuple[Candidate, ...]
    proposal: Proposal


def plan_training(
    question: Question, *, batch_sizes: Sequence[int] | None = None, knee: float = KNEE
) -> TrainingPlan:
    """Compare batch sizes at fixed compute, and propose one.

    Args:
        question: what is asked.
        batch_sizes: which to compare; by default about a dozen powers of two and all examples.
        knee: between 0 and 1; see `KNEE`.

    Errors: ValueError; `Unreachable` for an epsilon that no noise in the accountant's range meets.

    >>> from clifftop.planning import Compute
    >>> forty = Compute.of_epochs(40, num_examples=60_000)
    >>> plan = plan_training(Question(num_examples=60_000, epsilon=1.0, delta=1e-5, compute=forty))
    >>> chosen = plan.proposal.candidate
    >>> chosen.batch_size, chosen.steps, f"{chosen.noise_multiplier:.2f}", chosen.epsilon.upper <= 1
    (1024, 2343, '3.19', True)
    >>> print(plan.proposal.reason)
    the smallest batch that is large enough: doubling it would lower the total noise by 1.2 %, halving it
    would raise it by 2.4 %
    """
    table = candidates(question, batch_sizes)
    return TrainingPlan(question=question, table=table, proposal=propose(question, table, knee=knee))


def propose(question: Question, table: Sequence[Candidate], *, knee: float = KNEE) -> Proposal:
    """The smallest batch of ``table`` from which on a doubling lowers the total noise by less than ``knee``.

    If that one, or all of them, would leave too few steps (`noise_reach` above `MOST_REACH`), the largest
    that leaves enough.

    Errors: ValueError for an empty table, or a ``knee`` outside (0, 1).
    """
    if not (is_number(knee) and 0 < knee < 1):
        raise ValueError(f"knee must be between 0 and 1, found knee={knee!r}; pass a part such as 0.02")
    if not table:
        raise ValueError("a proposal needs a table, found no row; pass candidates")
    parameters = question.parameters or REFERENCE_PARAMETERS
    falls = [fall_per_doubling(small, large) for small, large in itertools.pairwise(table)]
    at_knee = next((place for place, fall in enumerate(falls) if fall < knee), len(falls))
    enough = [place for place, row in enumerate(table) if noise_reach(row, parameters) <= MOST_REACH]
    place = min(at_knee, max(enough, default=0))
    chosen = table[place]
    half, double = (_total_noise(question, chosen.batch_size, factor) for factor in (0.5, 2.0))
    reach = min(noise_reach(chosen, parameters), MOST_REACH)
    return Proposal(
        candidate=chosen,
        reason=_reason(falls, place, at_knee=at_knee),
        clip_norm=CLIP_NORM,
        lr=_short(reach / CLIP_NORM),
        lrs=tuple(_short(reach * factor / CLIP_NORM) for factor in FACTORS),
        half_compute=None if half is None else half / chosen.total_noise - 1.0,
        double_compute=None if double is None else 1.0 - double / chosen.total_noise,
    )


def fall_per_doubling(small: Candidate, large: Candidate) -> float:
    """The part by which the total noise falls when the batch doubles, between two rows."""
    doublings = math.log2(large.batch_size / small.batch_size)
    return float(1.0 - (large.total_noise / small.total_noise) ** (1.0 / doublings))


def noise_reach(row: Candidate, parameters: int) -> float:
    """The learning rate times clip norm at which noise alone carries the parameters as far as `DISTANCE`."""
    return DISTANCE * row.snr_per_step(parameters) / math.sqrt(row.steps)


def _reason(falls: Sequence[float], place: int, *, at_knee: int) -> str:
    if not falls:
        return "the only batch size of the table"
    if place < at_knee:
        return (
            "the largest batch that leaves enough steps: a doubled one would lower the total noise by "
            f"{100 * falls[place]:.1f} %, but need a learning rate times clip norm above {MOST_REACH:g}; "
            "more compute would help most"
        )
    if place == len(falls):
        return (
            "the largest batch of the table: the last doubling still lowered the total noise by "
            f"{100 * falls[-1]:.1f} %; more compute would help most"
        )
    forward = f"doubling it would lower the total noise by {100 * falls[place]:.1f} %"
    if place == 0:
        return f"the smallest batch of the table, and large enough: {forward}"
    rise = 100 * (1.0 / (1.0 - falls[place - 1]) - 1.0)
    return f"the smallest batch that is large enough: {forward}, halving it would raise it by {rise:.1f} %"


def _total_noise(question: Question, batch_size: int, factor: float) -> float | None:
    """The total noise with ``factor`` times the compute; None where that pays for no step."""
    gradients = int(question.compute.example_gradients * factor)
    if gradients < batch_size:
        return None
    compute = replace(question.compute, example_gradients=gradients)
    try:
        return candidate(replace(question, compute=compute), batch_size).total_noise
    except Unreachable:
        return None


def _short(number: float) -> float:
    """Two digits: a first guess has no more."""
    return float(f"{number:.2g}")
