"""The gradient of a whole batch, as ordinary training has it: no example is seen apart. Never private."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Never, final

import torch
from torch import Tensor

from clifftop.clipping.base import ClippingRule
from clifftop.flow import GroupMap


@final
@dataclass(frozen=True)
class WholeBatchState:
    """Nothing: ``(R, 0)``."""

    empty: Tensor


@final
@dataclass(frozen=True)
class WholeBatch(ClippingRule[WholeBatchState]):
    """No per-example gradients at all, so that layers that mix a batch, such as BatchNorm, may be trained.

    For a counterfactual: what a model reached before it was made fit for privacy. The lab trains such runs
    by ordinary backward passes (`clifftop.lab.cohort`); a private step refuses the rule, and noise has
    nothing to be in proportion to.
    """

    @property
    def bounds_examples(self) -> bool:
        """Never."""
        return False

    def init(self, *, device_of: Tensor) -> WholeBatchState:
        """Nothing."""
        return WholeBatchState(device_of.new_zeros(1, 0))

    def stack(self, states: Iterable[WholeBatchState]) -> WholeBatchState:
        """Nothing, run after run."""
        return WholeBatchState(torch.cat([state.empty for state in states]))

    def template(self) -> WholeBatch:
        """It has no numbers."""
        return self

    def groups(self, names: Iterable[str]) -> GroupMap:
        """One group."""
        return dict.fromkeys(names, 0)

    def weights(self, sq_norms: Tensor, mask: Tensor, state: WholeBatchState) -> Never:
        """None: there are no examples to weigh.

        Raises:
            ValueError: always.
        """
        del sq_norms, mask, state
        raise ValueError(
            "WholeBatch must train by ordinary backward passes, found it in a private step; "
            "use Flat, Automatic or PerLayer"
        )

    def norm_bound(self, state: WholeBatchState) -> Tensor:
        """Infinity: there is no bound."""
        return state.empty.new_full((len(state.empty),), math.inf)
