"""Two private steps without noise, example by example in float64: what every engine must agree with."""

from __future__ import annotations

import torch
from torch import Tensor

from steps.base import Engine, Settings
from steps.tasks import Task

CHECK = Settings(clip_norm=0.1, noise_multiplier=0.0, lr=2.0)
"""A clip norm that bites on every model, and steps that are long beside a parameter's round-off."""
STEPS = 2
TOLERANCE = 1e-3
"""Of the norm of the two steps' update, which is far stricter than as much of the parameters."""


def updates(task: Task) -> dict[str, Tensor]:
    """By how much two steps change each parameter; tables through sparse gradients, one row at a time."""
    model = task.model(sparse=task.build_sparse is not None).double()
    inputs, targets = (tuple(map(_wide, part)) for part in task.batch())
    params = dict(model.named_parameters())
    before = {name: p.detach().clone() for name, p in params.items()}
    for _ in range(STEPS):
        total = {name: torch.zeros_like(p) for name, p in params.items()}
        for i in range(task.batch_size):
            loss = task.criterion(model(*(x[i : i + 1] for x in inputs)), *(y[i : i + 1] for y in targets))
            grads = torch.autograd.grad(loss.sum(), list(params.values()))
            square = sum(float(_values(g).square().sum()) for g in grads)
            weight = min(1.0, CHECK.clip_norm / (square**0.5 + 1e-12))
            for part, g in zip(total.values(), grads, strict=True):
                part.add_(g, alpha=weight)
        with torch.no_grad():
            for name, p in params.items():
                p.sub_(total[name], alpha=CHECK.lr / task.batch_size)
    return {name: p.detach() - before[name] for name, p in params.items()}


def relative_error(expected: dict[str, Tensor], before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    """The norm of (found update - expected update), over the norm of the expected one."""
    wrong = sum(
        float((after[name].double() - before[name].double() - change).square().sum())
        for name, change in expected.items()
    )
    return (wrong / sum(float(change.square().sum()) for change in expected.values())) ** 0.5


def noise_found(engine: Engine) -> float:
    """The noise's standard deviation over what the settings ask for.

    The updates of two steps on one batch differ by their noise, and by what little the gradient moved.
    """
    changes = []
    for _ in range(2):
        before = {name: p.clone() for name, p in engine.settled().items()}
        engine.step()
        changes.append({name: p - before[name] for name, p in engine.settled().items()})
    squares = sum(float((p - changes[1][name]).double().square().sum()) for name, p in changes[0].items())
    count = sum(p.numel() for p in changes[0].values())
    asked = engine.settings
    deviation = asked.lr * asked.noise_multiplier * asked.clip_norm / engine.task.batch_size
    return (squares / 2 / count) ** 0.5 / deviation


def noise_tolerance(engine: Engine) -> float:
    """Five standard errors of `noise_found`, and a fiftieth for the gradient's move."""
    count = sum(p.numel() for p in engine.parameters().values())
    return 5 / (2 * count) ** 0.5 + 0.02


def _wide(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _values(g: Tensor) -> Tensor:
    return g.coalesce().values() if g.is_sparse else g
