"""Clifftop's own `Trainer`, as a whole training under test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from clifftop.accounting import epsilon
from clifftop.audit.trainings.adapter import Array, Data, Reported, Trace, UnusableTraining
from clifftop.audit.trainings.episode import Episode, MakeTrainer, OnFile, OnTrainer, Ways, trained_of
from clifftop.audit.trainings.replay import RESUME_AT, STEPS
from clifftop.audit.trainings.usable import require_usable
from clifftop.events import Gaussian, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.training import Trainer

_FEWEST = 4
_ROUNDINGS = 16
"""Of the largest number of a release: noise that was found in two ways differs by less."""


@final
class OwnTraining:
    """A user's `Trainer` under test: it runs, restarts, reports an epsilon, and has an accountant.

    What is released is the very gradient that the trainer hands to its optimiser, the noisy sum over the
    batch size. Trainers are made anew for every training, on half of the rows (on all for the report);
    checkpoints and the ledger lie in a temporary folder, and a ledger of the user's own is charged nothing.

    Several workers are not simulated: `clifftop.parallel.DataParallel` asks a process group how many there
    are, and which part is whose, so that its own code runs in processes only.
    """

    def __init__(self, ways: Ways, *, num_examples: int, delta: float) -> None:
        """Made by `ours`."""
        self._ways, self._delta = ways, delta
        # Every other row: data are often stored in an order, by class for instance.
        half = num_examples // 2
        self._all = list(range(num_examples))
        self._given, self._other = self._all[0 : 2 * half : 2], self._all[1 : 2 * half : 2]

    def require_usable(self) -> None:
        """Make trainers and look at them. Errors: `UnusableTraining`."""
        with _drawing_aside():
            require_usable(self._ways.make, self._given, self._other)

    def run(
        self,
        *,
        steps: int,
        seed: int,
        data: Data = Data.GIVEN,
        stop_and_resume_at: int | None = None,
        releases: Array | None = None,
    ) -> Trace:
        """Train as the user does; see `clifftop.audit.trainings.Runs`."""
        data = Data(data)

        def train(episode: Episode) -> Episode:
            return episode.advance(steps, stop_at=stop_and_resume_at)

        made = self._trained(train, data=data, seed=seed, fed=releases)
        noise = [one.noise for one in made.heard]
        if releases is None and data is not Data.NONE:
            alone = self._trained(train, data=Data.NONE, seed=seed, keys=made.seeds)
            noise = _exact(made, alone)
        width = sum(p.numel() for p in trained_of(made.trainer.module).values())
        values = _rows([one.value for one in made.heard], width)
        return Trace(
            releases=values if releases is None else releases[: len(values)],
            noise=_rows(noise, width),
            parameters=_rows(made.parameters, width),
            charged=np.array(made.charged, dtype=np.int64),
            public=_public(made),
            batches=tuple(one.batch for one in made.heard),
        )

    def reported(self) -> Reported:
        """What the trainer reports after real steps on all rows, its own checks and a restart among them."""

        def train(episode: Episode) -> Episode:
            return episode.advance(STEPS, stop_at=RESUME_AT)

        made = self._trained(train, rows=self._all, seed=0, checked=True)
        trainer = made.trainer
        return Reported(
            epsilon=trainer.epsilon(delta=self._delta).upper,
            delta=self._delta,
            event=trainer.plan.event(steps=len(made.heard), num_examples=trainer.num_examples),
            relation=trainer.plan.neighboring_relation,
        )

    def epsilon_of(self, *, sampling_prob: float, noise_multiplier: float, steps: int, delta: float) -> float:
        """The upper end of `clifftop.accounting.epsilon`, for one example more or less."""
        each = PoissonSampled(sampling_prob, Gaussian(noise_multiplier))
        return epsilon(
            SelfComposed(each, steps),
            delta=delta,
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        ).upper

    def _trained(
        self,
        train: Callable[[Episode], Episode],
        *,
        seed: int,
        data: Data = Data.GIVEN,
        rows: list[int] | None = None,
        fed: Array | None = None,
        keys: list[int] | None = None,
        checked: bool = False,
    ) -> Episode:
        if rows is None:
            rows = self._other if data is Data.OTHER else self._given
        with _drawing_aside(), tempfile.TemporaryDirectory() as folder:
            episode = Episode(
                ways=self._ways,
                rows=rows,
                data=data,
                seed=seed,
                folder=Path(folder),
                fed=fed,
                keys=keys or (),
                checked=checked,
            )
            with episode:
                return train(episode)


def ours(
    make_trainer: MakeTrainer,
    *,
    num_examples: int,
    step: OnTrainer | None = None,
    save: OnFile = Trainer.save,
    load: OnFile = Trainer.load,
    delta: float = 1e-5,
) -> OwnTraining:
    """Clifftop's `Trainer` as a user makes it, takes its steps and restarts it, for `check_training`.

    ``make_trainer(rows, seed)`` makes model, optimiser, plan and trainer anew, on these rows (a list of
    row numbers) of the private data. All that it takes from the data must come from these rows: then it is
    seen whether a buffer, a first weight or a learning rate does. Weights that it does not seed itself are
    drawn from torch's generator, which is seeded before each call. Called often, it should be quick.

    What a user does around the trainer is audited where it is passed: a rate that follows the training
    loss is part of a ``step``, a checkpoint of one's own is a ``save`` and a ``load``. What these keep from
    step to step must lie on the trainer, its module or its optimiser.

    Args:
        make_trainer: ``(rows, seed)`` to a trainer; the seed is the trainer's.
        num_examples: how many rows there are to choose from, at least 4; half are given at a time, all
            for the report.
        step: takes one step of the trainer that it is given, and does whatever belongs to a step;
            by default ``trainer.step(diagnose=False)``.
        save: ``save(trainer, file)`` before a restart; by default `Trainer.save`.
        load: ``load(trainer, file)`` into a new trainer; by default `Trainer.load`.
        delta: at which the trainer's epsilon is looked at.

    Raises:
        UnusableTraining: the trainer cannot be audited, or another one is made each time; one line.

    >>> from clifftop import Flat, Gaussian, Poisson, PrivacyPlan
    >>> from clifftop.audit.trainings import HasAccountant, check_training
    >>> x, y = torch.eye(4).repeat(8, 1), torch.arange(4).repeat(8)
    >>> def make_trainer(rows, seed):
    ...     model = torch.nn.Linear(4, 4)
    ...     return Trainer(
    ...         module=model,
    ...         criterion=torch.nn.CrossEntropyLoss(reduction="none"),
    ...         optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    ...         plan=PrivacyPlan(
    ...             sampler=Poisson(sampling_prob=0.25),
    ...             clipping=Flat(clip_norm=1.0),
    ...             noise=Gaussian(noise_multiplier=1.0),
    ...             neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    ...             expected_batch_size=4,
    ...         ),
    ...         inputs=(x[rows],),
    ...         targets=(y[rows],),
    ...         seed=seed,
    ...     )
    >>> check_training(ours(make_trainer, num_examples=32), without={HasAccountant}).ok
    True
    """
    if isinstance(num_examples, bool) or not isinstance(num_examples, int) or num_examples < _FEWEST:
        raise UnusableTraining(
            f"num_examples must be a whole number >= {_FEWEST}, found num_examples={num_examples!r}; "
            "pass how many rows there are"
        )
    ways = Ways(make=make_trainer, step=step or _one_step, save=save, load=load)
    training = OwnTraining(ways, num_examples=num_examples, delta=delta)
    training.require_usable()
    return training


def _drawing_aside() -> AbstractContextManager[None]:
    """Within it torch's generators may be seeded and drawn from; the caller's go on where they were."""
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def _one_step(trainer: Trainer) -> None:
    trainer.step(diagnose=False)


def _exact(made: Episode, alone: Episode) -> list[Array]:
    """The noise of a training to the last digit: that of the same training on nobody, where it is the same.

    A sum that is large beside its noise leaves few digits of it. Noise that is not keyed by the trainer's
    seed, or depends on the batch, is another when nobody is drawn, and is left as it was found.
    """
    eps = max(torch.finfo(p.dtype).eps for p in trained_of(made.trainer.module).values())
    noise = [one.noise for one in made.heard]
    for step, (one, silent) in enumerate(zip(made.heard, alone.heard, strict=False)):
        apart = np.abs(one.noise - silent.value).max()
        if apart <= _ROUNDINGS * eps * max(np.abs(one.value).max(), np.abs(one.value - one.noise).max()):
            noise[step] = silent.value
    return noise


def _rows(rows: list[Array], width: int) -> Array:
    return np.stack(rows) if rows else np.zeros((0, width))


def _public(made: Episode) -> dict[str, Array]:
    """What steers the training or is saved with the model: rates, clip norms, buffers, frozen parameters."""
    found: dict[str, Array] = {}
    for number, one in enumerate(made.rates):
        for name, value in one.items():
            found.setdefault(name, np.full(len(made.rates), np.nan))[number] = value
    for name in made.heard[0].clipping if made.heard else ():
        found[name] = np.concatenate([one.clipping[name] for one in made.heard])
    trained = trained_of(made.trainer.module)
    for name, value in made.trainer.module.state_dict().items():
        if name not in trained and isinstance(value, Tensor):
            found[name] = value.detach().double().flatten().cpu().numpy()
    return found
