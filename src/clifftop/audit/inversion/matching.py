"""Inputs whose gradient is like the released one, found by descent: any module that can be derived twice.

The attacker knows the clip norm, so what a guess is compared by is what the step itself would release of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from clifftop.audit.inversion.attack import (
    Attack,
    CannotInvert,
    Progress,
    Reconstruction,
    matching_loss,
    squared_distance,
)
from clifftop.audit.inversion.labels import inferred_labels
from clifftop.audit.inversion.model import AttackedModel, Gradient, Release

Floats = NDArray[np.float64]
_MEMORY = 50
"""How many steps L-BFGS remembers."""


@final
@dataclass(frozen=True, kw_only=True)
class Dlg(Attack):
    """Least squared distance of gradients, by L-BFGS: "deep leakage from gradients".

    Zhu, Liu and Han 2019, arXiv:1906.08935; with labels read from the last layer beforehand it is iDLG (Zhao
    et al. 2020, arXiv:2001.02610). L-BFGS needs a smooth second derivative: with sigmoid, tanh or softplus it
    often finds an example to many digits, with ReLU it often does not. The best of the restarts by matching
    loss is kept. Nothing is guaranteed.

    Attributes:
        max_iterations: of L-BFGS, for each restart.
        restarts: how many starts are tried, until one matches to ``tolerance``.
        joint_labels: find labels along with the inputs, as probabilities; else they are read from the last
            layer. Needs ``num_classes``.
        start_mean, start_std: the starting values are normal with these.
        tolerance: a matching loss at which the search ends.

    Errors: ValueError for a budget below 1.
    """

    max_iterations: int = 200
    restarts: int = 3
    joint_labels: bool = False
    start_mean: float = 0.0
    start_std: float = 1.0
    tolerance: float = 1e-24

    def __post_init__(self) -> None:
        _require_budget(max_iterations=self.max_iterations, restarts=self.restarts)

    @property
    def name(self) -> str:
        """For tables."""
        return "DLG" if self.joint_labels else "iDLG"

    def reconstruct(
        self,
        release: Release,
        model: AttackedModel,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """As `Attack.reconstruct` says."""
        if labels is None and not self.joint_labels:
            labels = inferred_labels(release, model)
        if labels is None and model.num_classes is None:
            raise CannotInvert(
                "joint labels need the number of classes, found num_classes=None; give labels="
            )
        draws = torch.Generator().manual_seed(seed)
        found: list[Reconstruction] = []
        for _ in range(self.restarts):
            done = sum(one.iterations for one in found)
            found.append(self._search(release, model, labels, draws, progress, done))
            if found[-1].matching_loss <= self.tolerance:
                break
        best = min(found, key=_rank)
        return Reconstruction(
            inputs=best.inputs,
            labels=best.labels,
            matching_loss=best.matching_loss,
            iterations=sum(one.iterations for one in found),
        )

    def _search(
        self,
        release: Release,
        model: AttackedModel,
        labels: Tensor | None,
        draws: torch.Generator,
        progress: Progress | None,
        done: int,
    ) -> Reconstruction:
        like, size = model.like, release.size
        start = torch.randn(size, *model.input_shape, generator=draws, dtype=like.dtype)
        inputs = (self.start_mean + self.start_std * start).to(like.device).requires_grad_()
        logits = torch.randn(size, model.num_classes or 1, generator=draws, dtype=like.dtype)
        logits = logits.to(like.device).requires_grad_()

        def guess() -> Tensor:
            return logits.softmax(1) if labels is None else labels

        taken = _lbfgs(
            _relative_distance(release, model),
            [inputs, logits] if labels is None else [inputs],
            guess,
            budget=self.max_iterations,
            tolerance=self.tolerance,
            progress=progress and (lambda at, loss: progress(done + at, loss)),
        )
        ended = inputs.detach()
        hard = guess().detach().argmax(1) if labels is None else labels
        loss = matching_loss(release, model, ended, hard)
        return Reconstruction(inputs=ended, labels=hard, matching_loss=loss, iterations=taken)


@final
@dataclass(frozen=True, kw_only=True)
class CosineMatching(Attack):
    """Least cosine distance of gradients plus total variation, by Adam on signs of the derivative.

    Geiping, Bauermeister, Droege and Moeller 2020, "Inverting gradients", arXiv:2003.14053: the step size
    falls tenfold after 3/8, 5/8 and 7/8 of the iterations, and pixels are cut to their known range. Works
    with ReLU and convolutions. Nothing is guaranteed.

    Attributes:
        max_iterations: of Adam.
        bounds: least and greatest value of an input, public; None for unknown.
        total_variation: weight of the mean absolute difference of neighbouring pixels, along the last two
        axes
            of an input; 0 where inputs are no images.
        lr: step size at first, in units of the range where ``bounds`` are given.

    Errors: ValueError for a budget below 1, or bounds that do not rise.
    """

    max_iterations: int = 1000
    bounds: tuple[float, float] | None = (0.0, 1.0)
    total_variation: float = 1e-2
    lr: float = 0.1

    def __post_init__(self) -> None:
        _require_budget(max_iterations=self.max_iterations)
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(
                f"bounds must rise, found bounds={self.bounds}; give the least and greatest pixel"
            )

    @property
    def name(self) -> str:
        """For tables."""
        return "cosine and total variation" if self.total_variation else "cosine"

    def reconstruct(
        self,
        release: Release,
        model: AttackedModel,
        *,
        labels: Tensor | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """As `Attack.reconstruct` says."""
        if self.total_variation and len(model.input_shape) < 2:
            raise CannotInvert(
                f"total variation needs images, found input_shape={model.input_shape}; "
                "set total_variation=0, or let the module flatten images itself"
            )
        if labels is None:
            labels = inferred_labels(release, model)
        low, high = self.bounds or (-math.inf, math.inf)
        width = high - low if self.bounds else 1.0
        draws = torch.Generator().manual_seed(seed)
        start = torch.randn(release.size, *model.input_shape, generator=draws, dtype=model.like.dtype)
        start = (low + high) / 2 + 0.25 * width * start if self.bounds else start
        inputs = start.clamp(low, high).to(model.like.device).requires_grad_()
        adam = _Adam(torch.zeros_like(inputs.detach()), torch.zeros_like(inputs.detach()))
        for done in range(1, self.max_iterations + 1):
            loss = _cosine_distance(model.gradients(inputs, labels, release.plan), release.gradient)
            loss = loss + self.total_variation * total_variation(inputs) / width
            (grad,) = torch.autograd.grad(loss, [inputs])
            lr = self.lr * width * _falling(done / self.max_iterations)
            moved = inputs.detach() - lr * adam.direction(torch.nan_to_num(grad).sign(), done)
            inputs = moved.clamp(low, high).requires_grad_()
            if progress is not None:
                progress(done, float(loss.detach()))
        ended = inputs.detach()
        return Reconstruction(
            inputs=ended,
            labels=labels,
            matching_loss=matching_loss(release, model, ended, labels),
            iterations=self.max_iterations,
        )


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along the last two axes.

    >>> float(total_variation(torch.tensor([[0.0, 1.0], [0.0, 1.0]])))
    1.0
    """
    if images.dim() < 2:
        return images.new_zeros(())
    down = (images[..., 1:, :] - images[..., :-1, :]).abs()
    across = (images[..., :, 1:] - images[..., :, :-1]).abs()
    # The mean of nothing, where an image is one pixel high or wide, would be NaN.
    return down.sum() / max(1, down.numel()) + across.sum() / max(1, across.numel())


@final
@dataclass(frozen=True)
class _Adam:
    """Running means of derivatives and of their squares (Kingma and Ba 2015), changed in place.

    As in ``torch.optim``, whose first use imports a compiler for a second.
    """

    first: Tensor
    second: Tensor

    def direction(self, grad: Tensor, step: int) -> Tensor:
        """What to subtract, for a step size of 1."""
        self.first.mul_(0.9).add_(grad, alpha=0.1)
        self.second.mul_(0.999).addcmul_(grad, grad, value=0.001)
        spread = (self.second / (1 - 0.999**step)).sqrt()
        return self.first / (1 - 0.9**step) / (spread + 1e-8)


def _lbfgs(
    distance: Callable[[Tensor, Tensor], Tensor],
    variables: list[Tensor],
    guess: Callable[[], Tensor],
    *,
    budget: int,
    tolerance: float,
    progress: Progress | None,
) -> int:
    """Descend from where ``variables`` are, the inputs first; the iterations taken."""
    done = 0

    def value(at: Floats) -> tuple[float, Floats]:
        _load(variables, at)
        loss = distance(variables[0], guess())
        grads = torch.autograd.grad(loss, variables)
        flat = torch.cat([grad.flatten() for grad in grads]).double().cpu().numpy()
        return float(loss.detach()), np.nan_to_num(flat)

    def told(intermediate_result: OptimizeResult) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, float(intermediate_result.fun))
        if intermediate_result.fun <= tolerance:
            raise StopIteration

    start = torch.cat([variable.detach().flatten() for variable in variables]).double().cpu().numpy()
    options = {"maxiter": budget, "maxfun": 20 * budget, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    ended = minimize(value, start, method="L-BFGS-B", jac=True, callback=told, options=options)
    _load(variables, ended.x)
    return done


def _load(variables: list[Tensor], flat: Floats) -> None:
    """Write the numbers of ``flat`` into the variables, one after another."""
    with torch.no_grad():
        parts = torch.from_numpy(flat).split([variable.numel() for variable in variables])
        for variable, part in zip(variables, parts, strict=True):
            variable.copy_(part.view_as(variable))


def _relative_distance(release: Release, model: AttackedModel) -> Callable[[Tensor, Tensor], Tensor]:
    scale = release.flat().square().sum().clamp_min(torch.finfo(model.like.dtype).tiny)

    def distance(inputs: Tensor, labels: Tensor) -> Tensor:
        return squared_distance(model.gradients(inputs, labels, release.plan), release.gradient) / scale

    return distance


def _cosine_distance(one: Gradient, other: Gradient) -> Tensor:
    product = torch.stack([(one[name] * value).sum() for name, value in other.items()]).sum()
    squares = [torch.stack([v.square().sum() for v in g.values()]).sum() for g in (one, other)]
    return 1.0 - product / (squares[0] * squares[1]).clamp_min(1e-24).sqrt()


def _falling(progress: float) -> float:
    return 0.1 ** sum(progress > part / 8 for part in (3, 5, 7))


def _rank(one: Reconstruction) -> float:
    return one.matching_loss if math.isfinite(one.matching_loss) else math.inf


def _require_budget(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, found {name}={value}; it bounds the time taken")
