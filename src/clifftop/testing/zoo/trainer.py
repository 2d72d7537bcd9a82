"""A correct private training in plain numpy whose parts can be replaced one by one, to plant a fault.

Softmax regression on a few rows: Poisson batches, each example's gradient clipped, one noisy sum and one
noisy count a step, a clip norm that follows the count (Andrew et al. 2021), Adam on the noisy mean, a ledger,
saving and resuming, simulated workers, a search over learning rates by a public score.
"""

# ruff: noqa: ARG002 -- parts are handed what a fault in their place would look at.

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from clifftop.audit.steps import SamplingClaim
from clifftop.audit.trainings import Data, RankedStep, RanksClaim, Reported, Trace, Tuned
from clifftop.events import DpEvent, Gaussian, PoissonSampled, SelfComposed
from clifftop.testing.zoo.accountant import Array, Textbook

EXAMPLES, FEATURES, CLASSES = 40, 4, 3
SIZE = (FEATURES + 1) * CLASSES
SAMPLING_PROB, EXPECTED = 0.2, 8.0
NOISE, COUNT_NOISE = 1.2, 0.8
STEPS, DELTA = 60, 1e-5
BATCHES, NOISES = 1, 2
"""Names of streams: what is drawn is a function of the seed, its stream and a position in it."""


@dataclass(kw_only=True)
class State:
    """What a training carries from step to step, and saves.

    ``extra`` is where a fault keeps what it should not have.
    """

    learning_rate: float
    parameters: Array = field(default_factory=lambda: np.zeros(SIZE))
    first: Array = field(default_factory=lambda: np.zeros(SIZE))
    second: Array = field(default_factory=lambda: np.zeros(SIZE))
    clip_norm: float = 0.5
    updates: int = 0
    batches: int = 0
    noises: int = 0
    charged: int = 0
    extra: dict[str, Array] = field(default_factory=dict[str, Array])


@final
@dataclass(frozen=True, kw_only=True)
class Seen:
    """The private side of a step. A correct training uses it for the release alone.

    Attributes:
        rows: ``(n, d)`` all prepared examples.
        batch: which of them were drawn.
        gradients: ``(B, P)`` theirs.
        clipped: ``(P,)`` the sum of the clipped ones.
    """

    rows: Array
    batch: tuple[int, ...]
    gradients: Array
    clipped: Array


def stream(seed: int, name: int, position: int, rank: int = 0) -> np.random.Generator:
    """The numbers of one position of one stream."""
    return np.random.default_rng((seed, name, position, rank))


def softmax_gradients(parameters: Array, rows: Array) -> Array:
    """``(n, P)`` gradients of the cross entropy; the last column of ``rows`` is the class."""
    x, y = rows[:, :-1], rows[:, -1].astype(int)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    logits = x @ parameters.reshape(FEATURES + 1, CLASSES)
    odds = np.exp(logits - logits.max(1, keepdims=True, initial=0))
    error = odds / odds.sum(1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    return (x[:, :, None] * error[:, None]).reshape(len(x), SIZE)


def accuracy(parameters: Array, rows: Array) -> float:
    """The share of rows whose class has the largest logit."""
    x = np.concatenate([rows[:, :-1], np.ones((len(rows), 1))], 1)
    return float(((x @ parameters.reshape(FEATURES + 1, CLASSES)).argmax(1) == rows[:, -1]).mean())


def example_rows(seed: int, count: int = EXAMPLES) -> Array:
    """``(count, d)`` rows of some classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, size=count)
    x = rng.normal(size=(count, FEATURES)) * 4 + y[:, None] * np.array([2.0, -1.0, 0.5, 0.0])
    return np.concatenate([x, y[:, None].astype(np.float64)], 1)


class Trainer:
    """The correct training. It has every capability that `clifftop.audit.trainings` asks for."""

    accountant = Textbook()

    # ------------------------------------------------------------ data

    def rows(self) -> Array:
        """The private examples."""
        return example_rows(0)

    def rows_of(self, data: Data) -> Array:
        """The private examples of a variant."""
        return example_rows(1) if data is Data.OTHER else self.rows()

    def prepare(self, rows: Array) -> Array:
        """Scale by a constant and cut; each row by itself."""
        x = np.clip(rows[:, :-1] / 4.0, -3, 3)
        return np.concatenate([x, np.clip(rows[:, -1:], 0, CLASSES - 1)], 1)

    def public_numbers(self, rows: Array) -> Mapping[str, float]:
        """All constants."""
        return {"divisor": EXPECTED, "sampling_prob": SAMPLING_PROB, "steps": float(STEPS), "delta": DELTA}

    # ------------------------------------------------------------ one step

    def draw(self, state: State, seed: int, count: int) -> tuple[int, ...]:
        """One Poisson batch."""
        joined = stream(seed, BATCHES, state.batches).random(count) < SAMPLING_PROB
        return tuple(np.flatnonzero(joined).tolist())

    def gradients(self, state: State, rows: Array) -> Array:
        """Of each example by itself."""
        return softmax_gradients(state.parameters, rows)

    def norms(self, gradients: Array) -> Array:
        """Over all parameters."""
        return np.sqrt((gradients**2).sum(1))

    def clip(self, gradients: Array, clip_norm: float) -> Array:
        """Each to the clip norm at most."""
        return gradients * np.minimum(1.0, clip_norm / (self.norms(gradients) + 1e-12))[:, None]

    def total(self, gradients: Array, clip_norm: float) -> Array:
        """The clipped sum."""
        return self.clip(gradients, clip_norm).sum(0)

    @property
    def noise_of_sum(self) -> float:
        """The sum's part of the noise, so that it and the count together cost what ``NOISE`` costs."""
        return 1 / math.sqrt(NOISE**-2 - (2 * COUNT_NOISE) ** -2)

    def normals(self, state: State, seed: int) -> Array:
        """``(P + 1,)``, drawn anew at every position."""
        return stream(seed, NOISES, state.noises).normal(size=SIZE + 1)

    def noise(self, state: State, seed: int) -> Array:
        """The noise of the sum and of the count."""
        scales = np.full(SIZE + 1, self.noise_of_sum * state.clip_norm)
        scales[SIZE] = COUNT_NOISE
        return scales * self.normals(state, seed)

    def look(self, state: State, rows: Array, batch: tuple[int, ...]) -> Seen:
        """The private side of a step."""
        gradients = self.gradients(state, rows[list(batch)])
        clipped = self.total(gradients, state.clip_norm)
        return Seen(rows=rows, batch=batch, gradients=gradients, clipped=clipped)

    def exact(self, state: State, seen: Seen) -> Array:
        """``(P + 1,)`` the sum, and the count of small gradients less half the batch."""
        small = self.norms(seen.gradients) <= state.clip_norm
        return np.append(seen.clipped, (small - 0.5).sum())

    # ------------------------------------------------------------ what follows from the release

    def second_moment(self, gradient: Array, seen: Seen) -> Array:
        """Of the noisy gradient."""
        return gradient**2

    def rate(self, state: State, seen: Seen) -> float:
        """Of this update: a constant."""
        return state.learning_rate

    def update(self, state: State, release: Array, seen: Seen) -> None:
        """Adam on the noisy mean."""
        gradient = release[:SIZE] / EXPECTED
        state.updates += 1
        state.first = 0.9 * state.first + 0.1 * gradient
        state.second = 0.99 * state.second + 0.01 * self.second_moment(gradient, seen)
        first, second = (
            moment / (1 - decay**state.updates)
            for moment, decay in ((state.first, 0.9), (state.second, 0.99))
        )
        state.parameters = state.parameters - self.rate(state, seen) * first / (np.sqrt(second) + 1e-6)

    def next_clip_norm(self, state: State, release: Array, seen: Seen) -> float:
        """Follows the noisy count: half of the gradients should be smaller."""
        return float(np.clip(state.clip_norm * math.exp(-0.2 * release[SIZE] / EXPECTED), 0.05, 5.0))

    def remember(self, state: State, seen: Seen) -> None:
        """What else a step keeps: nothing."""

    def charge(self, state: State, seen: Seen) -> None:
        """One release."""
        state.charged += 1

    def stop(self, state: State, seen: Seen) -> bool:
        """Whether to stop before the number of steps that was fixed: never."""
        return False

    def keep(self, state: State, parameters: Array, rows: Array) -> Array:
        """The model that is saved, of the ``(T, P)`` parameters that there were: the last."""
        return parameters[-1]

    # ------------------------------------------------------------ the whole training

    def save(self, state: State) -> State:
        """All of it."""
        return copy.deepcopy(state)

    def restore(self, saved: State) -> State:
        """All of it."""
        return copy.deepcopy(saved)

    def step(
        self, state: State, rows: Array, batch: tuple[int, ...], seed: int, given: Array | None
    ) -> tuple[Array, Array] | None:
        """One step: its release and the noise in it; None where it makes none."""
        seen = self.look(state, rows, batch)
        noise = self.noise(state, seed)
        release = self.exact(state, seen) + noise if given is None else given
        state.noises += 1
        self.charge(state, seen)
        self.update(state, release, seen)
        state.clip_norm = self.next_clip_norm(state, release, seen)
        self.remember(state, seen)
        return None if self.stop(state, seen) else (release, noise)

    def run(
        self,
        *,
        steps: int,
        seed: int,
        data: Data = Data.GIVEN,
        stop_and_resume_at: int | None = None,
        releases: Array | None = None,
        learning_rate: float = 0.05,
    ) -> Trace:
        """Train; as `clifftop.audit.trainings.Runs` says."""
        rows = self.prepare(self.rows_of(data))
        state = State(learning_rate=learning_rate)
        made: list[tuple[Array, Array, Array, int, float]] = []
        batches: list[tuple[int, ...]] = []
        for number in range(steps):
            if number == stop_and_resume_at:
                state = self.restore(self.save(state))
            batch = self.draw(state, seed, len(rows))
            batch = () if data is Data.NONE else batch
            state.batches += 1
            pair = self.step(state, rows, batch, seed, None if releases is None else releases[len(made)])
            if pair is None:
                continue
            batches.append(batch)
            made.append((*pair, state.parameters, state.charged, state.clip_norm))
        columns = [np.array([row[at] for row in made]) for at in range(5)]
        model = self.keep(state, columns[2], rows) if made else state.parameters
        return Trace(
            releases=columns[0].reshape(len(made), SIZE + 1),
            noise=columns[1].reshape(len(made), SIZE + 1),
            parameters=columns[2].reshape(len(made), SIZE),
            charged=columns[3].astype(np.int64),
            public={"clip norms": columns[4], "model": model, **state.extra},
            batches=tuple(batches),
        )

    # ------------------------------------------------------------ workers

    @property
    def ranks_claim(self) -> RanksClaim:
        """One Poisson draw, noise of the first step's clip norm."""
        return RanksClaim(
            sampling=SamplingClaim(sampling_prob=SAMPLING_PROB, num_examples=EXAMPLES),
            noise_std=self.noise_of_sum * State(learning_rate=0.0).clip_norm,
        )

    def deal(self, state: State, seed: int, world_size: int) -> tuple[tuple[int, ...], ...]:
        """One global draw, dealt out."""
        batch = self.draw(state, seed, EXAMPLES)
        return tuple(batch[rank::world_size] for rank in range(world_size))

    def rank_noise(self, state: State, seed: int, rank: int, world_size: int) -> Array:
        """``(P,)`` what one worker adds: its own draw, 1 / sqrt(M) of the scale."""
        std = self.ranks_claim.noise_std / math.sqrt(world_size)
        return std * stream(seed, NOISES, state.noises, rank).normal(size=SIZE)

    def reduce(self, noise: Array) -> Array:
        """The sum over workers."""
        return noise.sum(0)

    def ranks(self, step: int, *, seed: int, world_size: int) -> RankedStep:
        """One step of several workers."""
        state = State(learning_rate=0.0, batches=step, noises=step)
        noise = np.stack([self.rank_noise(state, seed, rank, world_size) for rank in range(world_size)])
        indices = self.deal(state, seed, world_size)
        return RankedStep(indices=indices, noise=noise, reduced=self.reduce(noise))

    # ------------------------------------------------------------ what is reported

    def epsilon_of(self, *, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        """The accountant's."""
        return self.accountant.epsilon(
            sampling_prob=sampling_prob, noise_multiplier=noise_multiplier, steps=steps, delta=delta
        )

    @property
    def event(self) -> DpEvent:
        """One training, with the noise that the sum and the count really have."""
        together = 1 / math.sqrt(self.noise_of_sum**-2 + (2 * COUNT_NOISE) ** -2)
        return SelfComposed(PoissonSampled(SAMPLING_PROB, Gaussian(together)), STEPS)

    def claimed_epsilon(self, runs: int = 1) -> float:
        """What the study says of so many trainings."""
        return self.epsilon_of(
            sampling_prob=SAMPLING_PROB, noise_multiplier=NOISE, steps=STEPS * runs, delta=DELTA
        )

    def reported(self) -> Reported:
        """For one training."""
        return Reported(epsilon=self.claimed_epsilon(), delta=DELTA, event=self.event)

    # ------------------------------------------------------------ the search

    def score(self, parameters: Array, *, data: Data) -> float:
        """On rows that are public."""
        return accuracy(parameters, self.prepare(example_rows(2)))

    def seed_of(self, candidate: int, seed: int) -> int:
        """Each candidate's own."""
        return 1000 * (seed + 1) + candidate

    def candidate(self, number: int, seed: int) -> Trace:
        """Train with one learning rate."""
        return self.run(steps=4, seed=self.seed_of(number, seed), learning_rate=0.02 * 2**number)

    def charged_runs(self, candidates: int) -> int:
        """How many trainings the report stands for."""
        return candidates

    def tune(self, candidates: int, *, seed: int) -> Tuned:
        """Train all, release the best; charged as all of them."""
        traces = [self.candidate(number, seed) for number in range(candidates)]
        charged = self.charged_runs(candidates)
        return Tuned(
            parameters=np.stack([trace.parameters[-1] for trace in traces]),
            noise=np.stack([trace.noise[0] for trace in traces]),
            charged_runs=charged,
            charged_scores=0,
            reported=Reported(epsilon=self.claimed_epsilon(charged), delta=DELTA, event=self.event),
        )
