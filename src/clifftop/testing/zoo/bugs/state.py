"""What a training carries along besides its releases, loses, or brings back."""

# ruff: noqa: ARG002, D102 -- a fault is documented by its class, and may ignore what it is handed.

from __future__ import annotations

import numpy as np

from clifftop.testing.zoo.accountant import Array
from clifftop.testing.zoo.bug import BugKind, bug
from clifftop.testing.zoo.trainer import EXPECTED, SIZE, Seen, State, Trainer, accuracy


def _mean(seen: Seen) -> Array:
    return seen.clipped / EXPECTED


class SecondMomentFromCleanGradients(Trainer):
    """Adam scales by the second moment of the gradients before noise."""

    def second_moment(self, gradient: Array, seen: Seen) -> Array:
        return _mean(seen) ** 2


class ClipNormFromCleanCount(Trainer):
    """The adaptive clip norm follows the count before noise."""

    def next_clip_norm(self, state: State, release: Array, seen: Seen) -> float:
        exact = self.exact(state, seen)
        return super().next_clip_norm(state, exact, seen)


class ClipNormFromTheMedian(Trainer):
    """The clip norm is the median of the last batch's norms."""

    def next_clip_norm(self, state: State, release: Array, seen: Seen) -> float:
        norms = self.norms(seen.gradients)
        return float(np.median(norms)) if len(norms) else state.clip_norm


class RateFromPrivateGradients(Trainer):
    """The learning rate falls with the norm of the clean mean gradient."""

    def rate(self, state: State, seen: Seen) -> float:
        return state.learning_rate / (1 + float(np.linalg.norm(_mean(seen))))


class RunningStatisticsSaved(Trainer):
    """Running means of the inputs are kept without noise and saved with the model."""

    def remember(self, state: State, seen: Seen) -> None:
        old = state.extra.get("running mean", np.zeros(seen.rows.shape[1] - 1))
        if seen.batch:
            old = 0.9 * old + 0.1 * seen.rows[list(seen.batch), :-1].mean(0)
        state.extra["running mean"] = old


class GradientNormLogged(Trainer):
    """The largest norm of every batch is logged."""

    def remember(self, state: State, seen: Seen) -> None:
        largest = self.norms(seen.gradients).max(initial=0.0)
        state.extra["log"] = np.append(state.extra.get("log", np.zeros(0)), largest)


class BatchSizeLogged(Trainer):
    """The realised size of every batch is logged."""

    def remember(self, state: State, seen: Seen) -> None:
        state.extra["sizes"] = np.append(state.extra.get("sizes", np.zeros(0)), len(seen.batch))


class AverageOfCleanGradients(Trainer):
    """A moving average of clean gradients is saved for a warm start."""

    def remember(self, state: State, seen: Seen) -> None:
        state.extra["average"] = 0.9 * state.extra.get("average", np.zeros(SIZE)) + 0.1 * _mean(seen)


class ClippedPartFedBack(Trainer):
    """What clipping cut off is added to the next update."""

    def update(self, state: State, release: Array, seen: Seen) -> None:
        cut = seen.gradients.sum(0) - seen.clipped
        super().update(state, release, seen)
        state.parameters = state.parameters - 0.01 * cut / EXPECTED


class BestStepOnPrivateScore(Trainer):
    """The step whose model is best on the private examples is kept."""

    def keep(self, state: State, parameters: Array, rows: Array) -> Array:
        scores = [accuracy(one, rows) for one in parameters]
        return np.append(parameters[int(np.argmax(scores))], np.argmax(scores))


class StopsOnPrivateScore(Trainer):
    """Training stops when the private examples are no longer learnt."""

    def stop(self, state: State, seen: Seen) -> bool:
        past = state.extra.setdefault("past", np.zeros(0))
        state.extra["past"] = past = np.append(past, accuracy(state.parameters, seen.rows))
        return len(past) > 3 and bool(past[-1] < past[:-1].max())


class NoiseAgainAfterResume(Trainer):
    """The position of the noise stream is not saved, so that its start is used again."""

    def restore(self, saved: State) -> State:
        state = super().restore(saved)
        state.noises = 0
        return state


class BatchesAgainAfterResume(Trainer):
    """The sampler starts anew when training is resumed."""

    def restore(self, saved: State) -> State:
        state = super().restore(saved)
        state.batches = 0
        return state


class LedgerLostAtResume(Trainer):
    """The ledger is not saved, so that a resumed training charges its last part alone."""

    def restore(self, saved: State) -> State:
        state = super().restore(saved)
        state.charged = 0
        return state


class MomentsLostAtResume(Trainer):
    """The optimiser's moments are not saved."""

    def restore(self, saved: State) -> State:
        state = super().restore(saved)
        state.first, state.second, state.updates = np.zeros(SIZE), np.zeros(SIZE), 0
        return state


class ClipNormLostAtResume(Trainer):
    """The adaptive clip norm starts anew, while the ledger goes on."""

    def restore(self, saved: State) -> State:
        state = super().restore(saved)
        state.clip_norm = State(learning_rate=0.0).clip_norm
        return state


_SCORES = "tensorflow/privacy#76"
BUGS = (
    bug(BugKind.STATE, SecondMomentFromCleanGradients, "post-processing"),
    bug(BugKind.STATE, ClipNormFromCleanCount, "post-processing"),
    bug(BugKind.STATE, ClipNormFromTheMedian, "post-processing"),
    bug(BugKind.STATE, RateFromPrivateGradients, "post-processing"),
    bug(BugKind.STATE, RunningStatisticsSaved, "post-processing", source="opacus#319, #472"),
    bug(BugKind.STATE, GradientNormLogged, "post-processing"),
    bug(BugKind.STATE, BatchSizeLogged, "post-processing"),
    bug(BugKind.STATE, AverageOfCleanGradients, "post-processing"),
    bug(BugKind.STATE, ClippedPartFedBack, "post-processing"),
    bug(BugKind.TUNING, BestStepOnPrivateScore, "post-processing", source=_SCORES),
    bug(BugKind.TUNING, StopsOnPrivateScore, "post-processing", source=_SCORES),
    bug(BugKind.STATE, NoiseAgainAfterResume, "noise-anew"),
    bug(BugKind.STATE, BatchesAgainAfterResume, "restart"),
    bug(BugKind.STATE, LedgerLostAtResume, "charges", source="opacus PR#429"),
    bug(BugKind.STATE, MomentsLostAtResume, "restart"),
    bug(BugKind.STATE, ClipNormLostAtResume, "restart"),
)
