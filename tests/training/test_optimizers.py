"""Any torch optimiser and scheduler, against a loop by hand over the same noisy gradients."""

import pytest
import torch
from torch.optim import SGD, AdamW, lr_scheduler

OPTIMIZERS = {
    "sgd": lambda ps: SGD(ps, lr=0.1),
    "momentum": lambda ps: SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.02),
    "adamw": lambda ps: AdamW(ps, lr=0.02, weight_decay=0.1),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=0.01, momentum=0.5),
    "adagrad": lambda ps: torch.optim.Adagrad(ps, lr=0.1),
    "adafactor": lambda ps: torch.optim.Adafactor(ps, lr=0.1),
}
SCHEDULERS = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=6),
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
}


def by_hand(trainer, optimizer, scheduler=None, steps=6):
    """The gradients that the trainer leaves in ``p.grad``, applied to a copy by an optimiser of its own."""
    rates = []
    for _ in range(steps):
        trainer.step(diagnose=False)
        copies = [p for group in optimizer.param_groups for p in group["params"]]
        for copy, parameter in zip(copies, trainer.module.parameters(), strict=True):
            copy.grad = parameter.grad.clone()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return torch.cat([p.detach().flatten() for p in copies]), rates


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_is_the_optimiser_on_noisy_gradients(make, flat, name):
    build = OPTIMIZERS[name]
    trainer = make(optimizer=lambda model: build(model.parameters()))
    copies = [p.detach().clone().requires_grad_() for p in trainer.module.parameters()]
    wanted, _ = by_hand(trainer, build(copies))
    assert torch.equal(flat(trainer), wanted)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_scheduler_steps_after_each_step(make, flat, name):
    trainer = make(optimizer=lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9))
    trainer.scheduler = SCHEDULERS[name](trainer.optimizer)
    copies = [p.detach().clone().requires_grad_() for p in trainer.module.parameters()]
    optimizer = SGD(copies, lr=0.1, momentum=0.9)
    wanted, rates = by_hand(trainer, optimizer, SCHEDULERS[name](optimizer))
    assert torch.equal(flat(trainer), wanted)
    assert len(set(rates)) > 1


def test_parameter_groups_keep_their_own_rates(make, flat):
    def grouped(model):
        first, *rest = model.parameters()
        return SGD([{"params": [first], "lr": 0.0}, {"params": rest, "lr": 0.1}], lr=1.0)

    trainer = make(optimizer=grouped)
    before = trainer.module[0].weight.detach().clone()
    trainer.fit(steps=2)
    assert torch.equal(before, trainer.module[0].weight)
    assert trainer.module[0].weight.grad is not None


def test_an_optimiser_that_evaluates_the_loss_is_refused(make):
    with pytest.raises(ValueError, match="found LBFGS, whose step evaluates the loss itself"):
        make(optimizer=lambda model: torch.optim.LBFGS(model.parameters()))


def test_a_scheduler_on_a_metric_is_refused(make):
    model = torch.nn.Linear(5, 3)
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="found ReduceLROnPlateau, which steps on a metric"):
        make(module=model, optimizer=optimizer, scheduler=lr_scheduler.ReduceLROnPlateau(optimizer))


def test_a_scheduler_of_another_optimiser_is_refused(make):
    model = torch.nn.Linear(5, 3)
    one, other = SGD(model.parameters(), lr=0.1), SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="scheduler must be the optimiser's own, found another's"):
        make(module=model, optimizer=one, scheduler=lr_scheduler.StepLR(other, 1))
