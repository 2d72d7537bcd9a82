"""What an attack on trained models sees: what each model says of each record, and who was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Scores: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """M models, each trained on a random part of one pool of N records, and asked about all N.

    Attributes:
        confidences: ``(M, N)`` log-odds of the true class, ``log p - log(1 - p)``; where a model is certain
            they are large, not infinite.
        losses: ``(M, N)`` the loss of each record.
        correct: ``(M, N)`` whether the true class is the likeliest.
        member: ``(M, N)`` whether the model was trained on the record.
        probabilities: ``(M, N, K)`` of all classes, for attacks that look at them; None where not kept.

    Raises:
        ValueError: shapes differ, there are fewer than two models or records, or a number is NaN.
    """

    confidences: Scores
    losses: Scores
    correct: Flags
    member: Flags
    probabilities: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape = self.member.shape
        if len(shape) != 2 or min(shape) < 2:
            raise ValueError(
                f"there must be two models and two records at least, found member.shape={shape}; train more"
            )
        for name in ("confidences", "losses", "correct"):
            values = getattr(self, name)
            if values.shape != shape or bool(np.isnan(values).any()):
                raise ValueError(
                    f"{name} must be one number a model and record without NaN, found shape {values.shape} "
                    f"for {shape} and {int(np.isnan(values).sum())} NaN; leave out models that diverged"
                )
        if self.probabilities is not None and self.probabilities.shape[:2] != shape:
            raise ValueError(
                f"probabilities must be (M, N, K), found {self.probabilities.shape} for M, N = {shape}; "
                "keep those of every model and record"
            )

    @property
    def models(self) -> int:
        """M."""
        return self.member.shape[0]

    @property
    def records(self) -> int:
        """N."""
        return self.member.shape[1]

    def only(self, models: NDArray[np.int64]) -> Self:
        """The same of some of the models."""
        return replace(
            self,
            confidences=self.confidences[models],
            losses=self.losses[models],
            correct=self.correct[models],
            member=self.member[models],
            probabilities=None if self.probabilities is None else self.probabilities[models],
        )


def log_odds(logits: NDArray[np.floating], classes: NDArray[np.integer]) -> Scores:
    """``(M, N)`` log-odds of the true class, from ``(M, N, K)`` logits and ``(N,)`` classes.

    ``z_y - log sum exp of the others``: no probability is rounded to 1 on the way (Carlini et al. 2022).

    >>> log_odds(np.array([[[100.0, 0.0], [0.0, 3.0]]]), np.array([0, 0])).tolist()
    [[100.0, -3.0]]
    """
    values = np.asarray(logits, dtype=np.float64)
    place = np.asarray(classes)[None, :, None]
    own = np.take_along_axis(values, np.broadcast_to(place, (*values.shape[:2], 1)), axis=2)[..., 0]
    others = values.copy()
    np.put_along_axis(others, np.broadcast_to(place, (*values.shape[:2], 1)), -np.inf, axis=2)
    most = others.max(axis=2)
    return own - (most + np.log(np.exp(others - most[..., None]).sum(axis=2)))


def observations_of(
    logits: NDArray[np.floating],
    classes: NDArray[np.integer],
    member: Flags,
    *,
    keep_probabilities: bool = False,
) -> Observations:
    """Observations from ``(M, N, K)`` logits of classifiers, their ``(N,)`` true classes and memberships.

    Errors: ValueError, as `Observations`.
    """
    confidences = log_odds(logits, classes)
    probabilities = None
    if keep_probabilities:
        shifted = np.asarray(logits, dtype=np.float64) - np.max(logits, axis=2, keepdims=True)
        probabilities = np.exp(shifted)
        probabilities /= probabilities.sum(axis=2, keepdims=True)
    return Observations(
        confidences=confidences,
        losses=np.logaddexp(0.0, -confidences),
        correct=np.argmax(logits, axis=2) == np.asarray(classes)[None],
        member=np.asarray(member, dtype=np.bool_),
        probabilities=probabilities,
    )
