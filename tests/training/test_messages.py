"""What the Trainer says when it will not go on: one line, with the remedy, and nothing about any example."""

import re

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, lr_scheduler
from torch.utils.checkpoint import checkpoint

from clifftop.checks import NoChecks, NotPrivate
from clifftop.gradients import UnsupportedModule
from clifftop.training import NonFiniteGradients, NonFiniteParameters


class Centred(nn.Module):
    """Its examples' outputs have the batch's mean taken off."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        hidden = self.linear(x)
        return hidden - hidden.mean(0)


class Reentrant(nn.Module):
    """A checkpoint of the kind that hides its layers from the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(checkpoint(self.first, x, use_reentrant=True))


def batch_norm():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def summed(output, target):
    return nn.functional.cross_entropy(output, target)


def contrastive(output, target):
    """Each example against the others of its batch."""
    return (output @ output.T).logsumexp(1) - output.square().sum(1)


def sgd_of(module):
    return lambda _: SGD(module.parameters(), lr=0.1)


def frozen_half_way(make):
    trainer = make()
    trainer.fit(steps=2)
    trainer.module[0].weight.requires_grad_(False)
    return trainer


def replaced_half_way(make):
    trainer = make()
    trainer.fit(steps=2)
    trainer.module[3] = nn.Linear(8, 3)
    return trainer


def stopped(**parts):
    """A trainer of these parts."""
    return lambda make: make(**{name: part() if name == "module" else part for name, part in parts.items()})


def rate(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer)


def plateau(make):
    trainer = make()
    return make(module=trainer.module, optimizer=trainer.optimizer, scheduler=rate(trainer.optimizer))


NAN = torch.full((60, 5), torch.nan)
CASES = {
    "NaN data": (stopped(inputs=(NAN,)), NotPrivate, "replace missing values"),
    "NaN losses of the whole batch": (
        stopped(criterion=lambda output, target: output.sum(1) / 0.0 * 0.0),
        NotPrivate,
        "start from smaller parameters",
    ),
    "NaN losses of the whole batch, unchecked": (
        stopped(inputs=(NAN,), checks=NoChecks()),
        NonFiniteGradients,
        "lower the learning rate",
    ),
    "divergence": (
        stopped(optimizer=lambda module: SGD(module.parameters(), lr=1e38), prob=1.0),
        (NonFiniteParameters, NonFiniteGradients),
        "lower the learning rate",
    ),
    "meta device": (stopped(module=lambda: nn.Linear(5, 3, device="meta")), ValueError, "to_empty(device="),
    "two devices": (
        stopped(module=lambda: nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3, device="meta"))),
        ValueError,
        "module.to(device)",
    ),
    "a buffer elsewhere": (
        stopped(module=lambda: nn.Sequential(nn.Linear(5, 3), elsewhere())),
        NotPrivate,
        ".to(device)",
    ),
    "batch norm": (stopped(module=batch_norm), NotPrivate, "GroupNorm"),
    "batch norm, unchecked": (stopped(module=batch_norm, checks=NoChecks()), UnsupportedModule, "GroupNorm"),
    "a model of the batch": (stopped(module=Centred), NotPrivate, "replace what mixes the batch"),
    "a model of the batch, unchecked": (
        stopped(module=Centred, checks=NoChecks()),
        UnsupportedModule,
        "replace what mixes the batch",
    ),
    "a loss of the batch": (stopped(criterion=contrastive), NotPrivate, "looks at one example at a time"),
    "a mean loss": (stopped(criterion=summed), NotPrivate, "reduction='none'"),
    "a mean loss, unchecked": (stopped(criterion=summed, checks=NoChecks()), ValueError, "reduction='none'"),
    "a reentrant checkpoint": (stopped(module=Reentrant), NotPrivate, "use_reentrant=False"),
    "a reentrant checkpoint, unchecked": (
        stopped(module=Reentrant, checks=NoChecks()),
        UnsupportedModule,
        "use_reentrant=False",
    ),
    "an optimiser over other parameters": (
        stopped(optimizer=sgd_of(nn.Linear(5, 3))),
        ValueError,
        "module.parameters()",
    ),
    "an optimiser that evaluates": (
        stopped(optimizer=lambda module: LBFGS(module.parameters())),
        ValueError,
        "use SGD or Adam",
    ),
    "a scheduler on a metric": (plateau, ValueError, "call it yourself"),
    "frozen half way": (frozen_half_way, NotPrivate, "start a new run"),
    "replaced half way": (replaced_half_way, NotPrivate, "build it from module.parameters()"),
}


def elsewhere():
    layer = nn.Identity()
    layer.register_buffer("mean", torch.zeros(3, device="meta"))
    return layer


@pytest.mark.parametrize("name", CASES)
def test_each_refusal_is_one_line_with_its_remedy(make, name):
    build, kind, remedy = CASES[name]
    # Warnings are errors in all tests: one of ours is a message too, and any other fails the test.
    with pytest.raises(kind) as caught:
        build(make).fit(steps=30)
    message = str(caught.value)
    assert remedy in message
    assert "\n" not in message
    assert ", found" in message
    # Numbers of layers, sizes and counts may be told; which example it was may not.
    assert not re.search(r"(example|row|index|indices)\s*#?\d", message)
    assert "tensor(" not in message


def test_a_model_that_is_right_is_not_refused(make):
    """Negative control of the table."""
    make().fit(steps=30)
