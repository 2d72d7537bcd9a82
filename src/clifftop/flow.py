"""The values that flow through one private step, and the legend of their shapes.

Shape legend: ``R`` runs trained together, ``B`` examples in the padded batch, ``G`` groups of
parameters that are clipped apart, ``...`` one parameter's own shape. A single run has ``R = 1``.

Clipping, noise and gradient engines meet only here. Only a `NoisySum` reaches an optimiser, so a
sum without noise cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Params = dict[str, Tensor]
"""Parameter name to a tensor of shape ``(R, ...)``."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One padded batch for each run.

    Attributes:
        inputs: the model's positional inputs, each ``(R, B, ...)``; runs that share a batch may
            hold it once, expanded over ``R``.
        targets: what the criterion compares with, each ``(R, B, ...)``.
        mask: ``(R, B)`` bool; False marks padding, which must add exactly nothing.
    """

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    mask: Tensor

    @property
    def num_runs(self) -> int:
        """R."""
        return self.mask.shape[0]

    @property
    def padded_size(self) -> int:
        """B."""
        return self.mask.shape[1]


class PerExampleGrads(Protocol):
    """What a gradient engine returns: per-example gradients, which need not exist in memory."""

    @property
    def losses(self) -> Tensor:
        """Per-example losses, ``(R, B)``, without gradient."""
        ...

    def sq_norms(self) -> Tensor:
        """Squared L2 norms of each example's gradient, ``(R, B, G)``."""
        ...

    def weighted_sum(self, weights: Tensor) -> Params:
        """Sum over examples of weight times gradient; ``weights`` is ``(R, B, G)``.

        A row whose weight is 0 adds exactly 0, even where its gradient is NaN or infinite.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ClippedSum:
    """A sum of clipped gradients that carries its own bound.

    Attributes:
        value: the sum, one ``(R, ...)`` tensor a parameter.
        norm_bound: ``(R,)`` the largest L2 norm that one example can contribute.
        noise_scale: ``(R,)`` what noise is in proportion to where it is not the bound, which is then
            infinite: such a sum is released by runs without privacy only.
    """

    value: Params
    norm_bound: Tensor
    noise_scale: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class NoisySum:
    """A sum after noise: the only value an optimiser may see.

    Attributes:
        value: the noisy sum, one ``(R, ...)`` tensor a parameter.
        noise_std: ``(R,)`` the standard deviation of the noise in each coordinate of ``value``.
    """

    value: Params
    noise_std: Tensor


GroupMap = Mapping[str, int]
"""Parameter name to its clipping group, groups numbered from 0."""


class DrawStream(Protocol):
    """Named random draws for the model itself (dropout), one independent stream a run."""

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), ``(R, *shape)``; equal labels give equal draws.

        ``shape`` begins with the padded batch size, and a longer batch only appends rows: with ``offset``
        they are the rows that a batch of so many more would have from there on.
        """
        ...
