r"""Inputs without any search, where a linear layer with a bias takes them first.

For one example with input x and a layer ``z = W x + b``, the chain rule gives ``dW = d x^T`` and ``db = d``
with ``d`` the derivative by z. So each unit with ``d_i != 0`` shows the whole input, ``x = dW_i / d_i``,
whatever follows the layer (Phong et al. 2017, "Privacy-preserving deep learning: revisited and enhanced";
Geiping et al. 2020, arXiv:2003.14053, proposition 3.1). Clipping scales dW and db alike and hides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from clifftop.audit.inversion.attack import (
    Attack,
    CannotInvert,
    Progress,
    Reconstruction,
    matching_loss,
)
from clifftop.audit.inversion.labels import inferred_labels
from clifftop.audit.inversion.model import AttackedModel, Release


@final
@dataclass(frozen=True, kw_only=True)
class ClosedForm(Attack):
    """``x = sum_i db_i dW_i / sum_i db_i^2`` over the units of the first linear layer.

    The exact input of that layer, to round-off, for a release of one example without noise; zeros where the
    example did not reach the layer. With noise it is the least-squares solution that takes db to be exact.

    Attributes:
        layer: the layer's name; by default the first ``nn.Linear`` with a bias and one column for each
            number of an input. That nothing but a change of shape comes before it is for the caller to know.
    """

    layer: str | None = None

    @property
    def name(self) -> str:
        """For tables."""
        return "closed form"

    def reconstruct(
        self,
        release: Release,
        model: AttackedModel,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """As `Attack.reconstruct` says; nothing is drawn."""
        del seed, progress
        weight, bias = _first_linear(release, model, self.layer)
        scale = bias.square().sum()
        found = bias @ weight / torch.where(scale > 0, scale, 1)
        return _reconstruction(found, release, model, labels)


@final
@dataclass(frozen=True, kw_only=True)
class RankOne(Attack):
    """The likeliest input of the first linear layer: ``[dW | db]`` is of rank one but for the noise.

    ``[dW | db] = d [x^T, 1]``, and under independent Gaussian noise of one size the most likely matrix of
    rank one is the nearest one, by its largest singular value (Eckart and Young 1936). Exact without noise,
    and with noise mostly better than `ClosedForm`, which takes db to be exact.

    Attributes:
        layer: as in `ClosedForm`.
    """

    layer: str | None = None

    @property
    def name(self) -> str:
        """For tables."""
        return "rank one"

    def reconstruct(
        self,
        release: Release,
        model: AttackedModel,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """As `Attack.reconstruct` says; nothing is drawn."""
        del seed, progress
        weight, bias = _first_linear(release, model, self.layer)
        both = torch.cat([weight, bias[:, None]], 1)
        direction = torch.linalg.svd(both, full_matrices=False).Vh[0]
        last = direction[-1]
        found = direction[:-1] / torch.where(last != 0, last, math.inf)
        return _reconstruction(found, release, model, labels)


def _reconstruction(
    found: Tensor, release: Release, model: AttackedModel, labels: Tensor | None
) -> Reconstruction:
    inputs = found.reshape(1, *model.input_shape)
    if labels is None:
        labels = inferred_labels(release, model)
    loss = matching_loss(release, model, inputs, labels)
    return Reconstruction(inputs=inputs, labels=labels, matching_loss=loss, iterations=1)


def _first_linear(release: Release, model: AttackedModel, name: str | None) -> tuple[Tensor, Tensor]:
    """The released gradients of its weight ``(H, D)`` and bias ``(H,)``."""
    if release.size != 1:
        raise CannotInvert(
            f"the closed form needs a release of one example, found size={release.size}: units mix the "
            "examples of a batch; use Dlg or CosineMatching"
        )
    size = math.prod(model.input_shape)
    for path, layer in model.module.named_modules():
        fits = isinstance(layer, nn.Linear) and layer.in_features == size and layer.bias is not None
        if fits and path == (path if name is None else name):
            prefix = f"{path}." if path else ""
            if f"{prefix}weight" in release.gradient and f"{prefix}bias" in release.gradient:
                return release.gradient[f"{prefix}weight"], release.gradient[f"{prefix}bias"]
    raise CannotInvert(
        f"the closed form needs a trained nn.Linear with a bias that takes all {size} numbers of an input, "
        f"found none{'' if name is None else f' named {name!r}'} in {type(model.module).__name__}; "
        "use Dlg or CosineMatching"
    )
