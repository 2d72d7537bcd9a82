"""Which trainers can be audited: made alike each time, following their rows, with all releases heard."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from torch import Tensor

from clifftop.audit.trainings.adapter import UnusableTraining
from clifftop.audit.trainings.episode import MakeTrainer
from clifftop.events import NoOp
from clifftop.training import Trainer
from clifftop.training.data import rows_of

_LOOKED_AT = 64
"""Examples, by which other rows must differ."""


def require_usable(make_trainer: MakeTrainer, given: list[int], other: list[int]) -> None:
    """Make three trainers, two on the same rows, and look at them; torch's generator is seeded.

    Raises:
        UnusableTraining: one line, saying what to do.
    """
    _require_callable(make_trainer, given)
    first, again, differently = (_trainer_of(make_trainer, rows) for rows in (given, given, other))
    shared = {id(p) for p in first.module.parameters()} & {id(p) for p in again.module.parameters()}
    if shared:
        raise UnusableTraining(
            f"make_trainer must make a new model each time, found {len(shared)} parameters that two trainers "
            "share; build model and optimiser within it"
        )
    start, once_more = first.module.state_dict(), again.module.state_dict()
    for name, value in start.items():
        if isinstance(value, Tensor) and not torch.equal(value, once_more[name]):
            raise UnusableTraining(
                "make_trainer must make the same of the same rows and seed, found another first value of "
                f"'{name}'; draw it from torch's generator, or seed what it is drawn from"
            )
    if all(torch.equal(one, two) for one, two in zip(_examples(first), _examples(differently), strict=True)):
        raise UnusableTraining(
            "make_trainer must train on the rows that it is given, found the same examples for others; "
            "index the data by them, as in x[rows] or Subset(dataset, rows)"
        )


def _require_callable(make_trainer: object, rows: list[int]) -> None:
    if not callable(make_trainer):
        raise UnusableTraining(
            f"make_trainer must be a function of rows and a seed, found {type(make_trainer).__name__}; "
            "pass the function itself"
        )
    try:
        inspect.signature(make_trainer).bind(rows, 0)
    except TypeError as error:
        raise UnusableTraining(
            f"make_trainer must take (rows, seed), found one that does not ({error}); let it take these two"
        ) from None


def _trainer_of(make_trainer: MakeTrainer, rows: list[int]) -> Trainer:
    torch.manual_seed(0)
    try:
        trainer: object = make_trainer(list(rows), 0)
    except IndexError as error:
        raise UnusableTraining(
            f"num_examples must be how many rows there are, found that one below it is not there ({error}); "
            "pass len(x)"
        ) from error
    if not isinstance(trainer, Trainer):
        raise UnusableTraining(
            f"make_trainer must give a clifftop Trainer, found {type(trainer).__name__}; return the trainer"
        )
    if fault := _fault_of(trainer):
        raise UnusableTraining(f"a trainer under audit must {fault}")
    return trainer


def _fault_of(trainer: Trainer) -> str | None:
    """What it lacks, what was found and what to do; None where it claims something and all is heard."""
    plan = trainer.plan
    if not plan.is_private:
        return (
            f"claim something, found clipping={plan.clipping} and noise={plan.noise}; "
            "set a clip norm and a noise_multiplier above 0"
        )
    if trainer.steps_done:
        return (
            f"start at its first step, found steps_done={trainer.steps_done}; "
            "make it without loading a checkpoint"
        )
    if trainer.ranks.world_size > 1:
        return f"train in one process, found world_size={trainer.ranks.world_size}; make it without ranks"
    if trainer.deferred is not None:
        return (
            "hand all its noise to its optimiser, found deferred tables, whose noise comes later; "
            "audit the same model with dense tables"
        )
    if plan.clipping.event() != NoOp():
        return (
            f"release nothing but noisy sums, found that {type(plan.clipping).__name__} releases numbers of "
            "its own, which are not heard; write an adapter that has them (clifftop.audit.trainings.Runs)"
        )
    return None


def _examples(trainer: Trainer) -> list[Tensor]:
    rows = rows_of(trainer.inputs, trainer.targets, trainer.dataset, trainer.collate)
    inputs, targets = rows.take(np.arange(min(_LOOKED_AT, rows.num_examples)))
    return [*inputs, *targets]
