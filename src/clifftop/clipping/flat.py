"""Flat clipping: one norm over all parameters, one bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.clipping.base import ClippingRule
from clifftop.flow import GroupMap


@final
@dataclass(frozen=True)
class FlatState:
    """The clip norm of each run, ``(R,)``."""

    clip_norm: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Flat(ClippingRule[FlatState]):
    """Scale each example's gradient by ``min(1, clip_norm / (norm + 1e-12))``.

    Source: Abadi et al. 2016, arXiv:1607.00133.

    An example whose norm is not finite gets weight 0. In floating point the bound holds up to the
    round-off of one norm and one product, a relative 1e-6 in float32. ``clip_norm`` may be
    infinite: nothing is clipped, and the sum has no bound.
    """

    clip_norm: float

    def __post_init__(self) -> None:
        if not self.clip_norm > 0:
            raise ValueError(
                f"clip_norm must be > 0, found clip_norm={self.clip_norm}; "
                "it bounds the norm of one example's gradient"
            )

    def init(self, *, device_of: Tensor) -> FlatState:
        """The clip norm as a row of data."""
        return FlatState(torch.full((1,), self.clip_norm, device=device_of.device, dtype=device_of.dtype))

    def stack(self, states: Iterable[FlatState]) -> FlatState:
        """Clip norms, run after run."""
        return FlatState(torch.cat([state.clip_norm for state in states]))

    def template(self) -> Flat:
        """Flat clipping at 1: the clip norm is data."""
        return Flat(clip_norm=1.0)

    def groups(self, names: Iterable[str]) -> GroupMap:
        """One group."""
        return dict.fromkeys(names, 0)

    def weights(self, sq_norms: Tensor, mask: Tensor, state: FlatState) -> Tensor:
        """``min(1, C / (norm + 1e-12))``, and 0 for padding and for norms that are not finite."""
        norms = sq_norms.sqrt()
        weights = (state.clip_norm[:, None, None] / (norms + 1e-12)).clamp(max=1)
        return torch.where(mask[..., None] & torch.isfinite(norms), weights, 0)

    def norm_bound(self, state: FlatState) -> Tensor:
        """The clip norm of each run."""
        return state.clip_norm
