"""Linear layers, and layers without parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from clifftop.gradients.chain.convolution import Convolution
from clifftop.gradients.chain.grads import Part, Product, Products, Vectors
from clifftop.gradients.chain.stages import Pulled, Shared, Stage
from clifftop.gradients.rules import products
from clifftop.gradients.rules.products import Pointwise


@final
@dataclass(frozen=True, kw_only=True)
class Linear(Stage):
    """``nn.Linear`` on ``(B, ..., d)``.

    Attributes:
        weight: the model's name of its weight.
        bias: of its bias; None without one.
        trained: which of the two are trained.
        then: a function of each output, in the same pass.
    """

    weight: str
    bias: str | None
    trained: frozenset[str]
    then: Pointwise | None = None

    @property
    def restored(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Both as they are."""
        return dict.fromkeys(self.trained, _unchanged)

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, _LinearBack]:
        """``x W^T + b``."""
        del shared
        weight = tensors[self.weight]
        bias = None if self.bias is None else tensors[self.bias]
        out = products.affine(x.flatten(0, -2), weight, bias, self.then).view(*x.shape[:-1], -1)
        return out, _LinearBack(stage=self, x=x, matrix=weight, out=out)


@final
@dataclass(frozen=True, kw_only=True)
class _LinearBack:
    stage: Linear
    x: Tensor
    matrix: Tensor
    out: Tensor

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """From the gradient ``(B, ..., p)``."""
        own, x = self.stage, self.x
        if own.then is not None:
            g = own.then.back(g, self.out)
        parts: dict[str, Part] = {}
        one = x.dim() == 2
        if own.weight in own.trained:
            parts[own.weight] = Product(g, x) if one else Products(g.flatten(1, -2), x.flatten(1, -2))
        if own.bias is not None and own.bias in own.trained:
            parts[own.bias] = Vectors(g if one else g.flatten(1, -2).sum(1))
        found = None
        if input_needed:
            found = products.affine(g.flatten(0, -2), self.matrix.t(), None, None).view(x.shape)
        return Pulled(input=found, parts=parts)


def linear(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage:
    """The stage of a ``nn.Linear``."""
    del layer
    own = trained & frozenset(names.values())
    return Linear(weight=names["weight"], bias=names.get("bias"), trained=own)


@final
@dataclass(frozen=True, kw_only=True)
class ByOutput(Stage):
    """A function of each number whose derivative is known from its value."""

    function: Pointwise

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, _OutputBack]:
        """Of each number."""
        del tensors, shared
        y = self.function.of(x)
        return y, _OutputBack(function=self.function, y=y)

    def after(self, stage: Stage) -> Stage | None:
        """Both as one stage, where the one before can do it in the same pass."""
        if isinstance(stage, Convolution | Linear) and stage.then is None:
            return replace(stage, then=self.function)
        return None


@final
@dataclass(frozen=True, kw_only=True)
class _OutputBack:
    function: Pointwise
    y: Tensor

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """Number by number."""
        return Pulled(input=self.function.back(g, self.y) if input_needed else None)


def tanh(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage:
    """The stage of a ``nn.Tanh``."""
    del layer, names, trained
    return ByOutput(function=products.TANH)


def relu(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage:
    """The stage of a ``nn.ReLU``."""
    del layer, names, trained
    return ByOutput(function=products.RELU)


def sigmoid(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage:
    """The stage of a ``nn.Sigmoid``."""
    del layer, names, trained
    return ByOutput(function=products.SIGMOID)


@final
@dataclass(frozen=True, kw_only=True)
class ByAutograd(Stage):
    """A layer without parameters, its way back left to autograd."""

    layer: nn.Module

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, _TapedBack]:
        """What the layer gives."""
        del tensors, shared
        live = x.detach().requires_grad_()
        with torch.enable_grad():
            # A layer that works in place must not write into what the layer before has kept.
            y = self.layer(live.clone())
        return y.detach(), _TapedBack(x=live, y=y)


@final
@dataclass(frozen=True, kw_only=True)
class _TapedBack:
    x: Tensor
    y: Tensor

    def __call__(self, g: Tensor, *, input_needed: bool) -> Pulled:
        """By autograd."""
        if not input_needed:
            return Pulled(input=None)
        return Pulled(input=torch.autograd.grad(self.y, self.x, g)[0])


def by_autograd(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage:
    """The stage of a layer without parameters that keeps examples apart."""
    del names, trained
    return ByAutograd(layer=layer)


def flatten(layer: nn.Module, names: Mapping[str, str], trained: frozenset[str]) -> Stage | None:
    """The stage of a ``nn.Flatten``; None where it touches the examples' axis."""
    assert isinstance(layer, nn.Flatten)
    return by_autograd(layer, names, trained) if layer.start_dim >= 1 else None


def _unchanged(value: Tensor) -> Tensor:
    return value
