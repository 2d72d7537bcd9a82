"""Membership attacks: scores that are higher where a model seems to have been trained on a record.

Each target is attacked with all other models as shadows, which an attacker can train who knows the pool
(half of every model's records, on average). A target's own membership never enters its own scores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from scipy import special

from clifftop.audit.attacks.observations import Observations, Scores
from clifftop.audit.attacks.others import others
from clifftop.audit.estimators.logistic import fit_logistic

LEAST_PROBABILITY = 1e-12


class MembershipAttack(ABC):
    """One attack; ``name`` is how reports call it, ``needs`` what an attacker must have."""

    name: ClassVar[str]
    needs: ClassVar[str]

    @abstractmethod
    def scores(self, seen: Observations) -> Scores:
        """``(M, N)``, higher for members."""


@final
@dataclass(frozen=True)
class LossThreshold(MembershipAttack):
    """Members have smaller losses (Yeom et al. 2018)."""

    name: ClassVar[str] = "loss threshold"
    needs: ClassVar[str] = "the loss"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        return -seen.losses


@final
@dataclass(frozen=True)
class CalibratedLoss(MembershipAttack):
    """The loss against the mean loss of models without the record (Watson et al. 2022)."""

    name: ClassVar[str] = "calibrated loss"
    needs: ClassVar[str] = "the loss, and shadow models"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        return others(seen.losses, ~seen.member).mean - seen.losses


@final
@dataclass(frozen=True)
class LiraOnline(MembershipAttack):
    """The ratio of two Gaussian likelihoods, with the record and without it (Carlini et al. 2022)."""

    name: ClassVar[str] = "LiRA online"
    needs: ClassVar[str] = "probabilities, and shadow models with and without the record"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        given, without = others(seen.confidences, seen.member), others(seen.confidences, ~seen.member)
        inside = -0.5 * ((seen.confidences - given.mean) / given.spread) ** 2 - np.log(given.spread)
        outside = -0.5 * ((seen.confidences - without.mean) / without.spread) ** 2 - np.log(without.spread)
        return inside - outside


@final
@dataclass(frozen=True)
class LiraOffline(MembershipAttack):
    """How unusual the log-odds would be for a model without the record (Carlini et al. 2022)."""

    name: ClassVar[str] = "LiRA offline"
    needs: ClassVar[str] = "probabilities, and shadow models without the record"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        without = others(seen.confidences, ~seen.member)
        return (seen.confidences - without.mean) / without.spread


@final
@dataclass(frozen=True)
class RmiaOnline(MembershipAttack):
    """A record's likelihood ratio against those of the pool (Zarifzadeh, Liu and Shokri 2024).

    The ratio is the true class's probability under the target over its mean under models with the record and
    without it, both halves alike. The paper counts the pool's records that are beaten by a factor; with few
    of them many scores tie, so here the score is the log of the ratio over the pool's geometric mean, which
    has no ties. Of a model's scores the order is the same.
    """

    name: ClassVar[str] = "RMIA online"
    needs: ClassVar[str] = "probabilities, and shadow models with and without the record"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        own = special.expit(seen.confidences)
        return _over_the_pool(own, 0.5 * (others(own, seen.member).mean + others(own, ~seen.member).mean))


@final
@dataclass(frozen=True)
class RmiaOffline(MembershipAttack):
    """The same from models without the record, whose mean ``out`` gives ``((1 + a) out + 1 - a) / 2``."""

    name: ClassVar[str] = "RMIA offline"
    needs: ClassVar[str] = "probabilities, and shadow models without the record"
    offline_a: float = 0.3

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        own = special.expit(seen.confidences)
        without = others(own, ~seen.member).mean
        return _over_the_pool(own, 0.5 * ((1.0 + self.offline_a) * without + (1.0 - self.offline_a)))


def _over_the_pool(own: Scores, usual: Scores) -> Scores:
    ratio = np.log(np.maximum(own, LEAST_PROBABILITY)) - np.log(np.maximum(usual, LEAST_PROBABILITY))
    return ratio - ratio.mean(axis=1, keepdims=True)


@final
@dataclass(frozen=True)
class ShadowClassifier(MembershipAttack):
    """A classifier that learned from shadow models what outputs on members look like (Shokri et al. 2017).

    A logistic regression on the largest probabilities where they are kept, the log-odds of the true class,
    and whether it is the likeliest. Each half of the models learns from the first few of the other half. It
    knows nothing of a single record, which is why LiRA sees what it does not.
    """

    name: ClassVar[str] = "shadow classifier"
    needs: ClassVar[str] = "probabilities, and a few shadow models"
    learned_from: int = 8

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        features, half = self._features(seen), seen.models // 2
        found = np.empty(seen.member.shape)
        for learned, judged in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
            shown, member = features[learned][: self.learned_from], seen.member[learned][: self.learned_from]
            weights = fit_logistic(shown.reshape(-1, shown.shape[-1]), member.ravel())
            found[judged] = features[judged] @ weights
        return found

    @staticmethod
    def _features(seen: Observations) -> Scores:
        """``(M, N, F)`` of about unit scale, a column of ones first."""
        odds = np.clip(seen.confidences, -20.0, 20.0)
        parts = [np.ones(odds.shape), odds / 5.0, np.abs(odds) / 5.0, seen.correct.astype(np.float64)]
        if seen.probabilities is not None:
            largest = -np.sort(-seen.probabilities, axis=2)[..., :3]
            logs = np.log(np.maximum(largest, LEAST_PROBABILITY)) / 5.0
            parts += [*np.moveaxis(largest, 2, 0), *np.moveaxis(logs, 2, 0)]
        return np.stack(parts, axis=-1)


@final
@dataclass(frozen=True)
class LabelOnly(MembershipAttack):
    """Members are classified rightly more often: the gap between training and test accuracy."""

    name: ClassVar[str] = "label only"
    needs: ClassVar[str] = "predicted classes"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        return seen.correct.astype(np.float64)


@final
@dataclass(frozen=True)
class CalibratedLabel(MembershipAttack):
    """Right where other models without the record are mostly wrong, and the other way round."""

    name: ClassVar[str] = "calibrated label"
    needs: ClassVar[str] = "predicted classes, and shadow models"

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        right = seen.correct.astype(np.float64)
        return right - others(right, ~seen.member).mean


ALL: tuple[MembershipAttack, ...] = (
    LiraOnline(),
    LiraOffline(),
    RmiaOnline(),
    RmiaOffline(),
    CalibratedLoss(),
    ShadowClassifier(),
    LossThreshold(),
    CalibratedLabel(),
    LabelOnly(),
)
"""The first is the strongest where much leaks; where little does, others may be."""
