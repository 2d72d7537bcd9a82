"""What a step looked like: how gradients were clipped, and how large the noise was beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from clifftop.flow import Params
from clifftop.private_gradient.summing import Seen


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What a step looked like, one number a run; not private, and part of no release.

    Attributes:
        loss: mean loss over the batch's examples, ``(R,)``; NaN for an empty batch.
        fraction_clipped: share of examples whose gradient was scaled down.
        norm_q10: 10% quantile of the gradients' norms.
        norm_median: their median.
        norm_q90: their 90% quantile.
        clipping_bias: L2 norm of (clipped sum - sum), on the scale of the mean gradient.
        noise_norm: L2 norm of the noise, on the same scale.
        num_nonfinite: how many examples had a loss or a gradient norm that is NaN or infinite; they
            count as zero in the sum.
        bias_cosine: cosine between the clipped sum and the sum; NaN where one of them is zero.
        signal_norm: L2 norm of the clipped sum, on the scale of the mean gradient.
        layers: where asked for, `LAYER_FIELDS` of each module that owns parameters, ``NAME:MODULE`` each.
    """

    loss: Tensor
    fraction_clipped: Tensor
    norm_q10: Tensor
    norm_median: Tensor
    norm_q90: Tensor
    clipping_bias: Tensor
    noise_norm: Tensor
    num_nonfinite: Tensor
    bias_cosine: Tensor
    signal_norm: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)

    def numbers(self) -> dict[str, Tensor]:
        """All of it by name, ``(R,)`` each; those of layers at the end."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "layers"}
        return own | dict(self.layers)


LAYER_FIELDS = ("clipping_bias", "bias_cosine", "signal_norm", "noise_norm")
"""What is also measured layer by layer."""

_SMALL = 1 << 14  # parameters of a run

ROOT_LAYER = "(model)"
"""The name of the layer that is the model itself, where it owns parameters."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What was measured of each of P parameters, ``(P, R)``: norms, and ``clipped . sum``.

    ``kept`` is this process's own clipped sum, ``signal`` that of all.
    """

    removed: Tensor
    kept: Tensor
    whole: Tensor
    dot: Tensor
    signal: Tensor
    noise: Tensor

    def of(self, rows: Sequence[int]) -> Sizes:
        """Of some of the parameters."""
        index = list(rows)
        return Sizes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def scaled(self, size: Tensor) -> dict[str, Tensor]:
        """`LAYER_FIELDS` of the parameters as one."""
        lengths = _joined(self.kept) * _joined(self.whole)
        return {
            "clipping_bias": _joined(self.removed) / size,
            "bias_cosine": (self.dot.sum(0) / lengths).clamp(-1, 1),
            "signal_norm": _joined(self.signal) / size,
            "noise_norm": _joined(self.noise) / size,
        }


@dataclass(frozen=True, kw_only=True)
class Compared:
    """How a clipped sum lies to the sum, and the noise to both: as a whole, and by parameter if asked.

    ``kept`` is the clipped sum as `_as_one` gives it.
    """

    names: tuple[str, ...]
    kept: Params
    whole: Sizes
    parts: Sizes | None

    def with_noise(self, clipped: Params, noisy: Params, *, is_reduced: bool) -> Compared:
        """The same beside the noise; ``is_reduced`` if ``clipped`` has become the sum over all processes."""
        noisy = {name: noisy[name] for name in self.names}
        kept = _as_one(clipped) if is_reduced else self.kept
        whole = _with_noise(self.whole, kept, _as_one(noisy), is_reduced=is_reduced)
        parts = self.parts and _with_noise(self.parts, clipped, noisy, is_reduced=is_reduced)
        return replace(self, whole=whole, parts=parts)


def compared(clipped: Params, removed: Params, *, per_layer: bool) -> Compared:
    """A clipped sum beside what clipping took away."""
    names, kept = tuple(clipped), _as_one(clipped)
    removed = {name: removed[name] for name in names}
    return Compared(
        names=names,
        kept=kept,
        whole=_sizes(kept, _as_one(removed)),
        parts=_sizes(clipped, removed) if per_layer else None,
    )


def _sizes(clipped: Params, removed: Params) -> Sizes:
    whole: list[Tensor] = []
    dots: list[Tensor] = []
    for name, value in clipped.items():  # one at a time: a whole sum more would be memory
        part = value.reshape(len(value), -1)
        total = part + removed[name].reshape(len(value), -1)
        whole.append(torch.linalg.vector_norm(total, dim=1))
        dots.append((part * total).sum(1))
    kept = norms_of(clipped)
    return Sizes(
        removed=norms_of(removed),
        kept=kept,
        whole=_stacked(whole),
        dot=_stacked(dots),
        signal=kept,
        noise=kept,  # not known yet
    )


def _with_noise(sizes: Sizes, kept: Params, noisy: Params, *, is_reduced: bool) -> Sizes:
    noise = norms_of({name: value - kept[name] for name, value in noisy.items()})
    return replace(sizes, noise=noise, signal=norms_of(kept) if is_reduced else sizes.signal)


def _as_one(values: Params) -> Params:
    """The tensors of a small model side by side: copies cost less there than an operation on each."""
    if sum(value.numel() // max(1, len(value)) for value in values.values()) > _SMALL:
        return values
    return {"": torch.cat([value.reshape(len(value), -1) for value in values.values()], 1)}


def layers_of(names: Iterable[str]) -> dict[str, list[str]]:
    """The parameters of each module that owns some, in order.

    >>> layers_of(["0.weight", "0.bias", "scale"])
    {'0': ['0.weight', '0.bias'], '(model)': ['scale']}
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] or ROOT_LAYER, []).append(name)
    return layers


def _by_layer(names: Sequence[str], sizes: Sizes, size: Tensor) -> dict[str, Tensor]:
    places = {name: place for place, name in enumerate(names)}
    return {
        f"{field}:{layer}": value
        for layer, own in layers_of(names).items()
        for field, value in sizes.of([places[name] for name in own]).scaled(size).items()
    }


def record_of(seen: Seen, mask: Tensor, sums: Compared, size: Tensor) -> StepRecord:
    """What a step looked like."""
    count = mask.sum(1)
    norms = seen.sq_norms.sum(-1).sqrt()
    finite = torch.isfinite(norms) & torch.isfinite(seen.losses)
    # A norm that is not a number sorts as an infinite one, and padding behind every example.
    ordered = norms.masked_fill(~mask | norms.isnan(), torch.inf).sort(dim=1).values
    # Lower quantile: the element at floor(q (n - 1)); an empty batch has none.
    places = (torch.tensor([0.1, 0.5, 0.9], device=mask.device) * (count[:, None] - 1).clamp_min(0)).long()
    empty = count == 0
    quantiles = ordered.gather(1, places).masked_fill(empty[:, None], torch.nan)
    clipped = ((seen.weights < 1).any(-1) & mask).sum(1)
    return StepRecord(
        loss=torch.where(mask, seen.losses, 0).sum(1) / count,
        fraction_clipped=clipped / count,
        norm_q10=quantiles[:, 0],
        norm_median=quantiles[:, 1],
        norm_q90=quantiles[:, 2],
        num_nonfinite=(mask & ~finite).sum(1),
        layers={} if sums.parts is None else _by_layer(sums.names, sums.parts, size),
        **sums.whole.scaled(size),
    )


def norm_of(values: Params, *, like: Tensor) -> Tensor:
    """The L2 norm of each run's tensors as one, ``(R,)``."""
    return _joined(norms_of(values)) if values else torch.zeros_like(like)


def norms_of(values: Params) -> Tensor:
    """The L2 norm of each tensor, ``(P, R)``."""
    return _stacked([torch.linalg.vector_norm(v.reshape(len(v), -1), dim=1) for v in values.values()])


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    return rows[0][None] if len(rows) == 1 else torch.stack(list(rows))


def _joined(norms: Tensor) -> Tensor:
    """One norm of P, ``(R,)``."""
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(norms, dim=0)
