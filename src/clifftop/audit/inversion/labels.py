r"""Labels from the gradient of the last layer, for the cross-entropy.

For one example with softmax probabilities p, class y and last hidden values h, the bias of the last layer has
the gradient ``d = p - e_y`` and its weights ``d h^T``. The only negative number of d is that of y (Zhao,
Mopuri and Bilen 2020, "iDLG: improved deep leakage from gradients", arXiv:2001.02610). Without a bias row i
of the second has the norm ``|d_i| |h|``; d sums to 0, so ``|d_y|`` is the sum of all other sizes, and with
three classes or more the largest. Clipping scales all of it by one positive number and changes nothing; noise
can. With several examples in a release there is no such proof: each is taken to add one equal share of the
negative part, largest first (after Wainakh et al. 2021, "User-level label leakage from gradients in federated
learning", arXiv:2105.09369), which is a heuristic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clifftop.audit.inversion.attack import CannotInvert
from clifftop.audit.inversion.model import AttackedModel, Release


def inferred_labels(release: Release, model: AttackedModel) -> Tensor:
    """The class numbers ``(B,)`` that the last layer's gradient shows; rising for more than one example.

    Exact for one example without noise, the cross-entropy, and a last layer that is an ``nn.Linear``.

    Raises:
        CannotInvert: the model's classes are not known, its last layer is none with a row a class, or it has
            no bias and the release is of several examples or the classes are two.
    """
    name, layer = _last_linear(release, model)
    bias = release.gradient.get(f"{name}bias")
    if bias is None:
        if release.size > 1 or layer.out_features < 3:
            raise CannotInvert(
                "without a bias in the last layer, labels show for one example and three classes or more, "
                f"found size={release.size} and num_classes={layer.out_features}; give labels="
            )
        return release.gradient[f"{name}weight"].square().sum(1).argmax()[None]
    if release.size == 1:
        return bias.argmin()[None]
    left = bias.clone()
    # p is about 1 / K for every class, so an example adds about 1 - 1 / K of what is below zero.
    share = -left.clamp(max=0).sum() / release.size * (1 + 1 / layer.out_features)
    found: list[int] = []
    for _ in range(release.size):
        label = int(left.argmin())
        found.append(label)
        left[label] += share
    return torch.tensor(sorted(found), device=left.device)


def _last_linear(release: Release, model: AttackedModel) -> tuple[str, nn.Linear]:
    linear = [(n, layer) for n, layer in model.module.named_modules() if isinstance(layer, nn.Linear)]
    name, layer = linear[-1] if linear else ("", None)
    prefix = f"{name}." if name else ""
    known = layer is not None and f"{prefix}weight" in release.gradient
    if layer is None or not known or layer.out_features != model.num_classes:
        raise CannotInvert(
            "labels are read from a last nn.Linear that is trained and has one row a class, found "
            f"num_classes={model.num_classes} and {layer or 'no nn.Linear'}; give labels="
        )
    return prefix, layer
