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
class Rmia(MembershipAttack):
    """A record's likelihood ratio against those of the pool, offline (Zarifzadeh, Liu and Shokri 2024).

    The ratio is the true class's probability under the target over its mean under all models, which is
    ``((1 + a) out + (1 - a)) / 2`` with the mean ``out`` of models without the record. The paper counts the
    pool's records that are beaten by a factor; with few of them many scores tie, so here the score is the log
    of the ratio over the pool's geometric mean, which has no ties. Of a model's scores the order is the same.
    """

    name: ClassVar[str] = "RMIA offline"
    needs: ClassVar[str] = "probabilities, and shadow models without the record"
    offline_a: float = 0.3

    def scores(self, seen: Observations) -> Scores:
        """See the class."""
        own = special.expit(seen.confidences)
        without = others(own, ~seen.member).mean
        usual = 0.5 * ((1.0 + self.offline_a) * without + (1.0 - self.offline_a))
        ratio = np.log(np.maximum(own, LEAST_PROBABILITY)) - np.log(np.maximum(usual, LEAST_PROBABILITY))
        return ratio - ratio.mean(axis=1, keepdims=True)


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
    Rmia(),
    CalibratedLoss(),
    LossThreshold(),
    CalibratedLabel(),
    LabelOnly(),
)
"""The first, which a report goes by, is the strongest where much leaks; where little does, others may be."""
