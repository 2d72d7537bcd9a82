"""`GradSampleModule`, which is not needed here: modules are made private as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from clifftop.compat.opacus.validators import ModuleValidator

M = TypeVar("M", bound=nn.Module)
F = TypeVar("F", bound=Callable[..., object])


def GradSampleModule(  # noqa: N802  the name that scripts type
    module: M, *, batch_first: bool = True, loss_reduction: str = "mean", strict: bool = True
) -> M:
    """``module`` itself, checked if ``strict``.

    Per-example gradients are made in the optimiser's step, and never stored as ``p.grad_sample``.

    Raises:
        UnsupportedModuleError: it mixes examples.
    """
    del batch_first, loss_reduction
    ModuleValidator.validate(module, strict=strict)
    return module


def register_grad_sampler(*_: type[nn.Module]) -> Callable[[F], F]:
    """A decorator that does nothing: no module needs a rule of its own here."""
    return lambda function: function
