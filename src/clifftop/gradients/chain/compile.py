"""From a module to a chain of stages, where it is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize

from clifftop.gradients.chain.convolution import convolution
from clifftop.gradients.chain.grads import Part
from clifftop.gradients.chain.layers import ByOutput, by_autograd, flatten, linear, relu, sigmoid, tanh
from clifftop.gradients.chain.pooling import max_pool
from clifftop.gradients.chain.stages import Pull, Shared, Stage

Builder = Callable[[nn.Module, Mapping[str, str], frozenset[str]], Stage | None]
"""From a layer, the model's names of its parameters, and which of the model's are trained, to its stage."""

BUILDERS: Mapping[type[nn.Module], Builder] = {
    nn.Conv2d: convolution,
    nn.Linear: linear,
    nn.MaxPool2d: max_pool,
    nn.Tanh: tanh,
    nn.ReLU: relu,
    nn.Sigmoid: sigmoid,
    nn.Flatten: flatten,
    # Layers of PyTorch without parameters that keep examples apart.
    **dict.fromkeys(
        (
            nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.ELU, nn.GELU, nn.Hardtanh,
            nn.Identity, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU6, nn.SELU, nn.SiLU, nn.Softplus,
            nn.Softsign, nn.ZeroPad2d,
        ),
        by_autograd,
    ),
}  # fmt: skip
"""The layers that a chain is made of; each must keep the examples apart."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Layers one after another.

    Attributes:
        stages: the layers.
        convolves: whether one of them is a convolution.
    """

    stages: tuple[Stage, ...]
    convolves: bool

    @cached_property
    def restored(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """For each trained parameter, by name: from its part's layout to its own shape."""
        return {name: back for stage in self.stages for name, back in stage.restored.items()}

    def forward(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> tuple[Tensor, list[Pull]]:
        """The output, and the ways back, layer by layer."""
        pulls: list[Pull] = []
        for stage in self.stages:
            x, pull = stage.forward(x, tensors, shared)
            pulls.append(pull)
        return x, pulls

    def outputs(self, x: Tensor, tensors: Mapping[str, Tensor], shared: Shared) -> Tensor:
        """The output alone; nothing is kept for a way back."""
        for stage in self.stages:
            x = stage.forward(x, tensors, shared)[0]
        return x

    def parts(self, pulls: list[Pull], g: Tensor) -> dict[str, Part]:
        """Every parameter's contribution, from the gradient at the output; ``pulls`` is used up."""
        found: dict[str, Part] = {}
        first = next((i for i, stage in enumerate(self.stages) if stage.restored), len(self.stages))
        at: Tensor | None = g
        while len(pulls) > first:
            assert at is not None
            pulled = pulls.pop()(at, input_needed=len(pulls) > first)
            found.update(pulled.parts)
            at = pulled.input
        return found


def chain_of(module: nn.Module) -> Chain | None:
    """The chain that ``module`` is; None where it is anything else.

    >>> found = chain_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU()), nn.Flatten()))
    >>> len(found.stages)  # the convolution does the second layer in one pass with itself
    2
    >>> chain_of(nn.Sequential(nn.LSTM(2, 2))) is None
    True
    """
    layers = list(_layers("", module))
    parameters = list(module.named_parameters(remove_duplicate=False))
    apart = len({id(layer) for _, layer in layers}) == len(layers)
    if not apart or len({id(p) for _, p in parameters}) != len(parameters) or [*module.buffers()]:
        return None
    trained = frozenset(name for name, p in parameters if p.requires_grad)
    stages: list[Stage] = []
    for path, layer in layers:
        prefix = f"{path}." if path else ""
        names = {name: prefix + name for name, _ in layer.named_parameters()}
        builder = BUILDERS.get(type(layer))
        stage = None if builder is None or _changed(layer) else builder(layer, names, trained)
        if stage is None:
            return None
        joined = stage.after(stages[-1]) if stages and isinstance(stage, ByOutput) else None
        if joined is None:
            stages.append(stage)
        else:
            stages[-1] = joined
    return Chain(stages=tuple(stages), convolves=any(isinstance(x, nn.Conv2d) for _, x in layers))


def _layers(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential or _changed(module):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _layers(f"{path}.{name}" if path else name, child)


def _changed(module: nn.Module) -> bool:
    """Whether calling the module does more than its ``forward``, or its ``forward`` was replaced."""
    # torch has no public names for these.
    hooks = (
        module._forward_pre_hooks,  # noqa: SLF001
        module._forward_hooks,  # noqa: SLF001
        module._backward_hooks,  # noqa: SLF001
        module._backward_pre_hooks,  # noqa: SLF001
        torch_module._global_forward_hooks,  # noqa: SLF001
        torch_module._global_forward_pre_hooks,  # noqa: SLF001
    )
    return any(hooks) or parametrize.is_parametrized(module) or "forward" in vars(module)
