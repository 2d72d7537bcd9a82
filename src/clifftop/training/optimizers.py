"""What a torch optimiser and its scheduler must be like to train on noisy gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


def require_fitting(
    parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, scheduler: LRScheduler | None
) -> None:
    """The optimiser must own exactly what the engine protects, and need one gradient a step.

    Raises:
        ValueError: parameters are missing or foreign, the optimiser evaluates the loss itself, or the
            scheduler is another optimiser's or steps on a metric.
    """
    owned = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    missing = [name for name, p in parameters.items() if id(p) not in owned]
    foreign = len(owned - {id(p) for p in parameters.values()})
    if missing or foreign:
        # A parameter outside the plan would be updated from a stale gradient, or from none.
        raise ValueError(
            "the optimiser must own exactly the module's trainable parameters, found "
            f"{len(missing)} of them missing ({', '.join(missing[:3])}) and {foreign} foreign; "
            "build it from module.parameters()"
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"the optimiser must take one gradient a step, found {type(optimizer).__name__}, whose step "
            "evaluates the loss itself, each time a release of its own; use SGD or Adam"
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "the scheduler must step by count, found ReduceLROnPlateau, which steps on a metric; call it "
            "yourself from evaluate, on public data, and do not pass it here"
        )
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError(
            "the scheduler must be the optimiser's own, found another's; build it from optimizer"
        )


def only_device(parameters: Mapping[str, Tensor]) -> torch.device:
    """The device that all parameters lie on. Errors: ValueError for several devices, none, or meta."""
    devices = sorted({str(p.device) for p in parameters.values()})
    if len(devices) != 1:
        raise ValueError(
            f"the module must have trainable parameters, all on one device, found devices={devices}; "
            "move it with module.to(device), or use clifftop.parallel for several"
        )
    if devices == ["meta"]:
        raise ValueError(
            "parameters must hold numbers, found them on the meta device; call module.to_empty(device=...), "
            "load or initialise them, then build the optimiser"
        )
    return torch.device(devices[0])
