"""Words that the lab writes and the analysis reads: arms, and what the names of metrics say."""

from __future__ import annotations

from enum import StrEnum

_ENDINGS = ("loss", "error", "entropy")
_LAST_WORDS = ("ece", "brier", "clipped")


class Arm(StrEnum):
    """What was done to the gradients of a run; only `BOTH` has a finite epsilon."""

    BOTH = "both"
    """Clipped and noised: the private run."""
    NEITHER = "neither"
    """The baseline: neither clipped nor noised."""
    CLIPPING = "clipping"
    """Clipped as the private run, without noise."""
    NOISE = "noise"
    """Noised as the private run, without clipping (`clifftop.clipping.Unclipped`)."""
    ORIGINAL = "original"
    """The model as it was before it was made fit for privacy, trained on whole batches
    (`clifftop.clipping.WholeBatch`)."""


def smaller_is_better(metric: str) -> bool:
    """Whether small values of a metric are good, by its name without what stands in brackets.

    >>> smaller_is_better("loss"), smaller_is_better("accuracy[group=old]"), smaller_is_better("binary_ece")
    (True, False, True)
    """
    name = metric.partition("[")[0]
    return name.endswith(_ENDINGS) or name.rpartition("_")[2] in _LAST_WORDS


def is_part(metric: str) -> bool:
    """Whether a name is that of a class or group: ``accuracy[class=3]``.

    >>> is_part("accuracy[class=3]"), is_part("accuracy")
    (True, False)
    """
    return "[" in metric and metric.endswith("]")
