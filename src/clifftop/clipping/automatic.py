"""Automatic clipping: every gradient is normalised, so the clip norm only scales the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.clipping.base import ClippingRule
from clifftop.flow import GroupMap


@final
@dataclass(frozen=True)
class AutomaticState:
    """The clip norm and the stability of each run, ``(R,)`` each."""

    clip_norm: Tensor
    stability: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Automatic(ClippingRule[AutomaticState]):
    """Scale each example's gradient by ``clip_norm / (norm + stability)``.

    AUTO-S of Bu et al. 2023, arXiv:2206.07136. A scaled norm is ``clip_norm * norm / (norm + stability)``,
    which is below ``clip_norm``: the bound is that of flat clipping, and so is the privacy. Short gradients
    are made longer, up to ``clip_norm / stability`` times, so clip norm and learning rate are one knob
    (but for the optimiser's own regularisation); ``stability`` keeps short and long ones apart.

    An example whose norm is not finite gets weight 0.
    """

    clip_norm: float
    stability: float = 0.01

    def __post_init__(self) -> None:
        for name in ("clip_norm", "stability"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"{name} must be finite and > 0, found {name}={value}; automatic clipping divides by the "
                    "norm plus stability, and multiplies by the clip norm"
                )

    def init(self, *, device_of: Tensor) -> AutomaticState:
        """Both numbers as rows of data."""
        return AutomaticState(*(_row(value, device_of) for value in (self.clip_norm, self.stability)))

    def stack(self, states: Iterable[AutomaticState]) -> AutomaticState:
        """Both numbers, run after run."""
        runs = list(states)
        return AutomaticState(
            torch.cat([state.clip_norm for state in runs]), torch.cat([state.stability for state in runs])
        )

    def template(self) -> Automatic:
        """Both numbers are data."""
        return Automatic(clip_norm=1.0, stability=1.0)

    def groups(self, names: Iterable[str]) -> GroupMap:
        """One group."""
        return dict.fromkeys(names, 0)

    def weights(self, sq_norms: Tensor, mask: Tensor, state: AutomaticState) -> Tensor:
        """``C / (norm + stability)``, and 0 for padding and for norms that are not finite."""
        norms = sq_norms.sqrt()
        weights = state.clip_norm[:, None, None] / (norms + state.stability[:, None, None])
        return torch.where(mask[..., None] & torch.isfinite(norms), weights, 0)

    def norm_bound(self, state: AutomaticState) -> Tensor:
        """The clip norm of each run."""
        return state.clip_norm


def _row(value: float, like: Tensor) -> Tensor:
    return torch.full((1,), value, device=like.device, dtype=like.dtype)
