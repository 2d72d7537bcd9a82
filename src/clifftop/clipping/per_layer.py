"""Per-layer clipping: each layer has its share of one bound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.clipping.base import ClippingRule
from clifftop.clipping.flat import Flat, FlatState
from clifftop.flow import GroupMap


@final
@dataclass(frozen=True, kw_only=True)
class PerLayer(ClippingRule[FlatState]):
    """Scale each layer's part of an example's gradient to at most ``clip_norm / sqrt(number of layers)``.

    McMahan et al. 2018, arXiv:1710.06963, with equal shares. The squared norms of the parts add up to at
    most ``clip_norm`` squared, so the whole has the bound of flat clipping. A layer is the module that owns
    the parameters: weight and bias are one layer. The clip norm must be finite.

    An example with a part whose norm is not finite gets weight 0 in every layer.
    """

    clip_norm: float

    def __post_init__(self) -> None:
        if not 0 < self.clip_norm < float("inf"):
            raise ValueError(
                f"clip_norm must be finite and > 0, found clip_norm={self.clip_norm}; "
                "it bounds the norm of one example's whole gradient"
            )

    def init(self, *, device_of: Tensor) -> FlatState:
        """The clip norm as a row of data."""
        return Flat(clip_norm=self.clip_norm).init(device_of=device_of)

    def stack(self, states: Iterable[FlatState]) -> FlatState:
        """Clip norms, run after run."""
        return FlatState(torch.cat([state.clip_norm for state in states]))

    def template(self) -> PerLayer:
        """The clip norm is data."""
        return PerLayer(clip_norm=1.0)

    def groups(self, names: Iterable[str]) -> GroupMap:
        """A group for each module that owns parameters, in the order of the names.

        >>> PerLayer(clip_norm=1.0).groups(["0.weight", "0.bias", "2.weight", "scale"])
        {'0.weight': 0, '0.bias': 0, '2.weight': 1, 'scale': 2}
        """
        numbers: dict[str, int] = {}
        return {name: numbers.setdefault(name.rpartition(".")[0], len(numbers)) for name in names}

    def weights(self, sq_norms: Tensor, mask: Tensor, state: FlatState) -> Tensor:
        """``min(1, C / sqrt(G) / (norm + 1e-12))`` in each of G layers; 0 for padding and non-finite."""
        norms = sq_norms.sqrt()
        share = state.clip_norm[:, None, None] / norms.shape[-1] ** 0.5
        weights = (share / (norms + 1e-12)).clamp(max=1)
        usable = mask & torch.isfinite(norms).all(-1)
        return torch.where(usable[..., None], weights, 0)

    def norm_bound(self, state: FlatState) -> Tensor:
        """The clip norm of each run."""
        return state.clip_norm
