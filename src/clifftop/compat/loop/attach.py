"""Makes a loop's module, optimiser and data loader private, in place where they can be."""

from __future__ import annotations

import secrets
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any, Protocol, cast, final

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from clifftop.clipping import Flat
from clifftop.compat.loop.data_loader import PrivateDataLoader
from clifftop.compat.loop.draws import BatchSource, OrderedSource, PoissonSource
from clifftop.compat.loop.errors import LoopError
from clifftop.compat.loop.recorder import Hook, OutputRecorder
from clifftop.compat.loop.step import Charge, LossScale, PrivateStep, owned_parameters
from clifftop.gradients.base import UnsupportedModule
from clifftop.noise import Gaussian, Secure
from clifftop.sampling import Poisson


class Account(Protocol):
    """Where a loop's releases are charged."""

    def charge(self, *, noise_multiplier: float, sampling_prob: float) -> None:
        """One release on a Poisson-sampled batch."""
        ...

    def charge_fixed(self, *, noise_multiplier: float) -> None:
        """One release on each batch of a pass in which an example comes once at most."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Attachment:
    """What `attach` made.

    Attributes:
        data_loader: to be iterated in place of the loop's own.
        step: the hook before the optimiser's step.
        recorder: the hooks on the module.
    """

    data_loader: PrivateDataLoader
    step: PrivateStep
    recorder: OutputRecorder

    def resume(self, steps: int) -> None:
        """Go on after ``steps`` steps: neither noise nor batches of them come again, whatever the seed."""
        self.step.steps_done = max(self.step.steps_done, steps)
        self.data_loader.source.resume(steps)

    def remove(self) -> None:
        """Leave module and optimiser as they were."""
        self.step.remove()
        self.recorder.remove()


@final
@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What keys the two kinds of draws; from the operating system unless given.

    Whoever knows a seed can repeat the draws, and the epsilon says nothing to that reader.
    """

    noise: int
    sampling: int

    @classmethod
    def fresh(cls, *, noise: int | None = None, sampling: int | None = None) -> Seeds:
        """128 bits from the operating system for each that is not given."""
        return cls(
            noise=secrets.randbits(128) if noise is None else noise,
            sampling=secrets.randbits(128) if sampling is None else sampling,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Batches:
    """How a loader's batches are drawn, from public numbers.

    Attributes:
        batch_size: the loader's own, which a Poisson-sampled batch has on average.
        num_examples: rows of the data set, taken as public.
        per_epoch: batches in a pass over the loader.
    """

    batch_size: int
    num_examples: int
    per_epoch: int

    @property
    def sampling_prob(self) -> float:
        """Of a Poisson-sampled batch: batch size over examples, not 1 / len(loader)."""
        return self.batch_size / self.num_examples

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> Batches:
        """The numbers of a loader.

        Raises:
            LoopError: its batches are not what a private step could replace.
        """
        if isinstance(loader.dataset, IterableDataset):
            raise LoopError(
                "the data set must have a length and rows by number, found an IterableDataset: its examples "
                "cannot be sampled; load it into a Dataset with __len__ and __getitem__"
            )
        total, size = len(cast(Sized, loader.dataset)), loader.batch_size
        if size is None or not _each_row_once(loader.sampler, total):
            kind = type(loader.batch_sampler if size is None else loader.sampler).__name__
            raise LoopError(
                f"the data loader must have a batch_size and plain or shuffled order, found {kind}: its "
                "batches have no known cost; use DataLoader(dataset, batch_size=..., shuffle=True), on a "
                "torch.utils.data.Subset if rows must be left out"
            )
        if size > total:
            raise LoopError(
                f"batch_size must not exceed the number of examples, found batch_size={size} and {total} "
                "examples; use a smaller batch"
            )
        return cls(batch_size=size, num_examples=total, per_epoch=len(loader))


def _each_row_once(sampler: object, total: int) -> bool:
    """Whether a sampler gives every row once a pass, in an order that is no function of the data."""
    plain = isinstance(sampler, SequentialSampler)
    reshuffled = isinstance(sampler, RandomSampler) and not sampler.replacement
    return (plain or reshuffled) and len(cast(Sized, sampler)) == total


@final
@dataclass(frozen=True, kw_only=True)
class Options:
    """How the steps are to be made.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clip norm.
        max_grad_norm: bounds the norm of one example's gradient.
        averaged: whether the loop's loss is the mean of its examples' losses, or their sum.
        poisson: whether batches are Poisson samples; otherwise the loader's own order stays, without
            amplification.
    """

    noise_multiplier: float
    max_grad_norm: float
    averaged: bool = True
    poisson: bool = True


def attach(
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    data_loader: DataLoader[Any],
    options: Options,
    account: Account,
    seeds: Seeds,
) -> Attachment:
    """Make the steps of ``optimizer`` private.

    Raises:
        LoopError: a part is not what private steps need; the message names it.
        UnsupportedModule: the module is inside another that spreads it over devices.
    """
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        raise UnsupportedModule(
            f"the module must be the plain one, found {type(module).__name__}; pass module.module, and for "
            "several devices use clifftop.Trainer with clifftop.parallel.DataParallel"
        )
    _require_one_gradient(optimizer)
    # Checked now, so that a wrong number is refused before the first batch.
    Flat(clip_norm=options.max_grad_norm)
    Gaussian(noise_multiplier=options.noise_multiplier)
    original = data_loader.original if isinstance(data_loader, PrivateDataLoader) else data_loader
    batches = Batches.of(original)
    detach(module)
    owned_parameters(module, optimizer)
    scale = LossScale(
        averaged=options.averaged,
        expected_batch_size=float(batches.batch_size),
    )
    source, charge = _drawing(original, batches, options, account, seeds)
    recorder = OutputRecorder(module)
    vars(optimizer).update(
        noise_multiplier=options.noise_multiplier,
        max_grad_norm=options.max_grad_norm,
        expected_batch_size=batches.batch_size,
    )
    step = PrivateStep(
        module=module,
        optimizer=optimizer,
        recorder=recorder,
        scale=scale,
        streams=Secure().open([seeds.noise]),
        charge=charge,
    )
    made = Attachment(
        data_loader=PrivateDataLoader(original, source, listener=step.on_draw),
        step=step,
        recorder=recorder,
    )
    vars(module)["remove_hooks"] = Hook(made.remove)
    return made


def detach(module: nn.Module) -> None:
    """Leave the module, and the optimiser that it was made private with, as they were before `attach`."""
    hook = vars(module).pop("remove_hooks", None)
    if isinstance(hook, Hook):
        hook()


def _drawing(
    loader: DataLoader[Any], batches: Batches, options: Options, account: Account, seeds: Seeds
) -> tuple[BatchSource, Charge]:
    if not options.poisson:
        ordered = OrderedSource(loader.batch_sampler or (), length=batches.per_epoch)
        return ordered, _OncePerEpoch(account)
    source = PoissonSource(
        Poisson(sampling_prob=batches.sampling_prob),
        num_examples=batches.num_examples,
        length=batches.per_epoch,
        streams=Secure().open([seeds.sampling]),
    )
    return source, _EveryStep(account, batches.sampling_prob)


@final
@dataclass(frozen=True)
class _EveryStep:
    """Poisson-sampled batches: each release is charged."""

    account: Account
    sampling_prob: float

    def __call__(self, *, noise_multiplier: float, epoch: int) -> None:
        del epoch
        self.account.charge(noise_multiplier=noise_multiplier, sampling_prob=self.sampling_prob)


@final
class _OncePerEpoch:
    """Batches of a pass share no example, so the pass is charged once for each noise that it used."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._charged: set[tuple[int, float]] = set()

    def __call__(self, *, noise_multiplier: float, epoch: int) -> None:
        if (epoch, noise_multiplier) not in self._charged:
            self._charged.add((epoch, noise_multiplier))
            self._account.charge_fixed(noise_multiplier=noise_multiplier)


def _require_one_gradient(optimizer: torch.optim.Optimizer) -> None:
    if isinstance(optimizer, torch.optim.LBFGS):
        raise LoopError(
            "the optimiser must take one gradient a step, found LBFGS, which asks for several on one batch; "
            "use a first-order optimiser such as SGD or Adam"
        )
