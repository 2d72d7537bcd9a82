"""Small modules that do what real models do and engines forget."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class LeafTwice(nn.Module):
    """One linear layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.twice = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 5)``."""
        hidden = torch.tanh(self.twice(torch.tanh(self.first(x))))
        return self.twice(hidden)


class TiedPair(nn.Module):
    """Two linear layers that share a weight and keep their own biases."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 4)``."""
        return self.two(torch.tanh(self.one(x)))


class FrozenBranch(nn.Module):
    """A trained branch beside one whose parameters are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(4, 6), nn.Tanh()).requires_grad_(requires_grad=False)
        self.trained = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.head(self.frozen(x) * torch.tanh(self.trained(x)))


class BiasOnly(nn.Module):
    """Linear layers of which only the biases train."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        for name, parameter in self.layers.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.layers(x)


class LearnedScale(nn.Module):
    """A vector and a scalar parameter that the parent applies itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.linear(x * self.scale) * self.temperature


class ChildWeight(nn.Module):
    """A parent that uses its child's weight without calling the child."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 4)``."""
        return F.linear(torch.tanh(self.child(x)), self.child.weight.t(), self.child.bias)


class Forgotten(nn.Module):
    """A layer that is declared and never called, and one whose output is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.never = nn.Linear(4, 3)
        self.ignored = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        self.ignored(x)
        return self.used(x)


class TwoInputs(nn.Module):
    """Two inputs of different shapes and dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3)
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """``(B, 5)`` and ``(B,)`` to ``(B, 3)``."""
        return torch.tanh(self.linear(x)) * self.embedding(ids)


class TwoOutputs(nn.Module):
    """A tuple of outputs: the criterion takes both."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 5)
        self.mean = nn.Linear(5, 2)
        self.log_scale = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 4)`` to two ``(B, 2)``."""
        hidden = torch.tanh(self.trunk(x))
        return self.mean(hidden), self.log_scale(hidden)


class Residual(nn.Module):
    """Layers with a skip connection around them."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """``x`` plus the body of ``x``."""
        return x + self.body(x)


class InPlaceAfterLeaf(nn.Module):
    """Operations that write into a leaf's output."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = self.first(x)
        hidden *= 0.5
        hidden += 1.0
        return self.second(torch.tanh_(hidden))


class BilinearPair(nn.Module):
    """A bilinear layer of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(3, 4, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """``(B, 3)`` and ``(B, 4)`` to ``(B, 2)``."""
        return self.bilinear(x, y)


class LowRankAdapter(nn.Module):
    """A frozen weight plus a trained product of two thin matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(5, 4).requires_grad_(requires_grad=False)
        self.down = nn.Parameter(torch.zeros(2, 5))
        self.up = nn.Parameter(torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 5)`` to ``(B, 4)``."""
        return F.linear(x, self.base.weight + self.up @ self.down, self.base.bias)


class Checkpointed(nn.Module):
    """Layers whose forward pass runs again during the backward pass."""

    def __init__(self, dropout: float = 0.0, *, reentrant: bool = False) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(4, 5)
        self.inside = nn.Sequential(nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, 5), nn.Tanh())
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return self.last(checkpoint(self.inside, self.first(x), use_reentrant=self.reentrant))


class _Cube(torch.autograd.Function):
    """``x ** 3`` with its own backward, in the older style that ``torch.func`` refuses."""

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        del kwargs
        ctx, x = args
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad_outputs[0]


class _CubeForFunc(torch.autograd.Function):
    """The same in the style that ``torch.func`` accepts."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        del kwargs
        return args[0] ** 3

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad_outputs[0]


class CustomFunction(nn.Module):
    """A ``torch.autograd.Function`` between two layers."""

    def __init__(self, *, new_style: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.last = nn.Linear(5, 3)
        self.new_style = new_style

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        hidden = self.first(x)
        return self.last(_CubeForFunc.apply(hidden) if self.new_style else _Cube.apply(hidden))


class Affine(nn.Module):
    """A leaf with its own parameter that takes keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor, *, shift: Tensor, power: int = 1) -> Tensor:
        """``(weight * x) ** power + shift``."""
        return (self.weight * x) ** power + shift


class KeywordLeaf(nn.Module):
    """Leaves called with keyword arguments, a linear layer among them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.affine = Affine()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 4)``."""
        return self.affine(self.linear(input=x), shift=torch.sin(x), power=2)


class Polynomial(nn.Module):
    """Coefficients in a ``ParameterList``, used by plain arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.ParameterList([torch.zeros(4) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 4)``."""
        return sum((c * x**i for i, c in enumerate(self.coefficients)), torch.zeros_like(x))


class DetachedFeatures(nn.Module):
    """Features computed without gradient by layers that are not frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(4, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        with torch.no_grad():
            features = torch.tanh(self.features(x))
        return self.head(features)


class CountingBuffer(nn.Module):
    """A buffer that the forward pass writes, and that the output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        self.get_buffer("calls").add_(1.0)
        return self.linear(x)
