"""Noise mechanisms, and the named streams that all randomness comes from."""

from clifftop.noise.base import NoiseMechanism, NoiseStream
from clifftop.noise.gaussian import Gaussian, GaussianState
from clifftop.noise.secure import Secure, SecureStreams
from clifftop.noise.streams import (
    Keyed,
    KeyedStreams,
    OwnNoise,
    RunStreams,
    StepStreams,
    StreamKind,
    generator,
)

__all__ = [
    "Gaussian",
    "GaussianState",
    "Keyed",
    "KeyedStreams",
    "NoiseMechanism",
    "NoiseStream",
    "OwnNoise",
    "RunStreams",
    "Secure",
    "SecureStreams",
    "StepStreams",
    "StreamKind",
    "generator",
]
