"""The one private step: per-example gradients, clipped, summed, noised, scaled. Pure."""

from clifftop.private_gradient.record import LAYER_FIELDS, ROOT_LAYER, StepRecord, layers_of, norm_of
from clifftop.private_gradient.step import Reduce, Watch, initial_state, private_gradient
from clifftop.private_gradient.summing import PrivacyState, Seen, Streams, Summed, Summing, clipped_sum

__all__ = [
    "LAYER_FIELDS",
    "ROOT_LAYER",
    "PrivacyState",
    "Reduce",
    "Seen",
    "StepRecord",
    "Streams",
    "Summed",
    "Summing",
    "Watch",
    "clipped_sum",
    "initial_state",
    "layers_of",
    "norm_of",
    "private_gradient",
]
