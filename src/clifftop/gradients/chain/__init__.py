"""Chains of common layers with kernels of their own."""

from clifftop.gradients.chain.compile import Chain, chain_of
from clifftop.gradients.chain.engine import ChainEngine, suits
from clifftop.gradients.chain.grads import ClippedSums, Weigh, slices
from clifftop.gradients.chain.stages import Shared

__all__ = ["Chain", "ChainEngine", "ClippedSums", "Shared", "Weigh", "chain_of", "slices", "suits"]
