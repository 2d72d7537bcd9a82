"""`PrivacyEngine`: makes a script's own loop private."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, Any, final

import torch
from torch import nn
from torch.utils.data import DataLoader

from clifftop.compat.loop import Attachment, Batches, Options, PrivateDataLoader, Seeds, attach
from clifftop.compat.opacus.accountants import create_accountant
from clifftop.compat.opacus.accountants.utils import calibrated
from clifftop.compat.opacus.choices import Loop
from clifftop.compat.opacus.validators import ModuleValidator
from clifftop.events import NeighboringRelation

Path = str | os.PathLike[str] | IO[bytes]


@final
class PrivacyEngine:
    """Opacus' entry point over Clifftop's steps.

    The objects that come back are the script's own, changed in place: the module (its ``state_dict`` has no
    prefix), the optimiser, and a new data loader. The module's outputs reach the loop without their graph,
    so that ``loss.backward()`` gives no parameter a gradient; ``optimizer.step()`` puts the private one in
    ``p.grad`` and updates. Every batch takes one step; a batch that Poisson sampling leaves empty takes
    its step, noise alone, inside the loader.

    Args:
        accountant: any of Opacus' names; epsilon is Clifftop's certified upper bound under all of them.
        secure_mode: forbids a noise generator of one's own. The noise comes from a cryptographic stream
            either way, keyed by the operating system.

    >>> from torch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.randn(64, 3), torch.zeros(64, dtype=torch.long))
    >>> model = nn.Linear(3, 2)
    >>> engine = PrivacyEngine()
    >>> model, optimizer, loader = engine.make_private(
    ...     module=model,
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    ...     data_loader=DataLoader(data, batch_size=16),
    ...     noise_multiplier=2.0,
    ...     max_grad_norm=1.0,
    ... )
    >>> for x, y in loader:
    ...     optimizer.zero_grad()
    ...     nn.functional.cross_entropy(model(x), y).backward()
    ...     _ = optimizer.step()
    >>> engine.accountant.history, round(engine.get_epsilon(delta=1e-3), 2)
    ([(2.0, 0.25, 4)], 0.79)
    """

    def __init__(self, *, accountant: str = "prv", secure_mode: bool = False) -> None:
        self.accountant = create_accountant(accountant)
        self.secure_mode = secure_mode
        self._attachments: list[Attachment] = []
        self._steps_before = 0

    def make_private(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: DataLoader[Any],
        noise_multiplier: float,
        max_grad_norm: float,
        criterion: nn.Module | None = None,
        batch_first: bool = True,
        loss_reduction: str = "mean",
        poisson_sampling: bool = True,
        clipping: str = "flat",
        noise_generator: torch.Generator | None = None,
        grad_sample_mode: str = "hooks",
        wrap_model: bool = True,
        rand_on_empty: bool = False,
    ) -> Any:
        """Make a loop private.

        Args:
            module: trained in place; its forward pass sees the whole batch.
            optimizer: over parameters of the module.
            data_loader: with a ``batch_size``, in plain or shuffled order. Its batch size is the expected one
                under Poisson sampling, and divided by the number of examples it is the sampling
                probability; both count as public.
            noise_multiplier: standard deviation of the noise over the clip norm.
            max_grad_norm: the clip norm.
            criterion: handed back where ``grad_sample_mode`` asks for it.
            batch_first: must be True: examples lie on the first axis of inputs and outputs.
            loss_reduction: ``"mean"`` or ``"sum"`` over examples, as the loop's loss does it.
            poisson_sampling: whether batches become Poisson samples. Otherwise the loader keeps its
                order, and epsilon is that of one release an epoch, without amplification by sampling.
            clipping: ``"flat"``.
            noise_generator: gives the seed of the noise; whoever knows its state knows the noise.
            grad_sample_mode: any of Opacus' names; gradients are exact and made in one way. The ghost modes
                return the criterion too, as a script expects.
            wrap_model: makes no difference: the module is never wrapped.
            rand_on_empty: must be False; a made-up example would double what one example can change.

        Returns:
            Module, optimiser, and data loader; with the criterion before the loader in a ghost mode.
        """
        del wrap_model
        loop = Loop.of(
            loss_reduction=loss_reduction,
            clipping=clipping,
            grad_sample_mode=grad_sample_mode,
            rand_on_empty=rand_on_empty,
            max_grad_norm=max_grad_norm,
            batch_first=batch_first,
        )
        if noise_generator is not None and self.secure_mode:
            raise ValueError(
                "secure_mode must draw its noise from the operating system, found a noise_generator; "
                "leave it out"
            )
        ModuleValidator.validate(module, strict=True)
        options = Options(
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            averaged=loop.averaged,
            poisson=poisson_sampling,
        )
        made = attach(
            module=module,
            optimizer=optimizer,
            data_loader=data_loader,
            options=options,
            account=self.accountant,
            seeds=Seeds.fresh(noise=_seed(noise_generator), sampling=_seed(data_loader.generator)),
        )
        made.resume(self._steps_before)
        self._attachments.append(made)
        vars(module).update(_module=module, cleanup=vars(module)["remove_hooks"])
        vars(optimizer).update(original_optimizer=optimizer, attach_step_hook=made.step.after_step.append)
        if loop.returns_criterion:
            return module, optimizer, criterion or nn.CrossEntropyLoss(), made.data_loader
        return module, optimizer, made.data_loader

    def make_private_with_epsilon(
        self,
        *,
        data_loader: DataLoader[Any],
        target_epsilon: float,
        target_delta: float,
        epochs: int,
        poisson_sampling: bool = True,
        **options: Any,
    ) -> Any:
        """`make_private` with the noise that meets a target after ``epochs`` passes over the loader.

        What this engine has charged already counts against the target.

        Raises:
            ValueError: the target cannot be met.
        """
        original = data_loader.original if isinstance(data_loader, PrivateDataLoader) else data_loader
        batches = Batches.of(original)
        relation = self.accountant.neighboring_relation if poisson_sampling else NeighboringRelation.ZERO_OUT
        noise_multiplier = calibrated(
            target_epsilon=target_epsilon,
            target_delta=target_delta,
            sample_rate=batches.sampling_prob if poisson_sampling else 1.0,
            steps=epochs * (batches.per_epoch if poisson_sampling else 1),
            relation=relation,
            spent=self.accountant.event(),
        )
        return self.make_private(
            data_loader=data_loader,
            noise_multiplier=noise_multiplier,
            poisson_sampling=poisson_sampling,
            **options,
        )

    def get_epsilon(self, delta: float) -> float:
        """The most that what has been released so far costs: the certified upper end."""
        return self.accountant.get_epsilon(delta)

    def is_compatible(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        data_loader: DataLoader[Any] | None = None,
    ) -> bool:
        """Whether `ModuleValidator` finds nothing in ``module``."""
        del optimizer, data_loader
        return ModuleValidator.is_valid(module)

    def validate(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        data_loader: DataLoader[Any] | None = None,
    ) -> None:
        """Refuse a module in which `ModuleValidator` finds something."""
        del optimizer, data_loader
        ModuleValidator.validate(module, strict=True)

    @classmethod
    def get_compatible_module(cls, module: nn.Module) -> nn.Module:
        """`ModuleValidator.fix_and_validate`."""
        return ModuleValidator.fix_and_validate(module)

    def save_checkpoint(
        self,
        *,
        path: Path,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        checkpoint_dict: Mapping[str, Any] | None = None,
        module_state_dict_kwargs: Mapping[str, Any] | None = None,
        torch_save_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Store module, accountant and optimiser; `load_checkpoint` reads it without unpickling objects."""
        state = dict(checkpoint_dict or {})
        state["module_state_dict"] = module.state_dict(**(module_state_dict_kwargs or {}))
        state["privacy_accountant_state_dict"] = self.accountant.state_dict()
        state["steps_done"] = max((x.step.steps_done for x in self._attachments), default=self._steps_before)
        if optimizer is not None:
            state["optimizer_state_dict"] = optimizer.state_dict()
        torch.save(state, path, **(torch_save_kwargs or {}))

    def load_checkpoint(
        self,
        *,
        path: Path,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        module_load_dict_kwargs: Mapping[str, Any] | None = None,
        torch_load_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Go on from `save_checkpoint`, of this class or of Opacus, and return what was stored.

        Weights and numbers alone are read, never pickled objects. Noise goes on where it stopped, so that a
        generator with the same seed does not add the same noise twice.
        """
        options: dict[str, Any] = {"weights_only": True, **(torch_load_kwargs or {})}
        state: dict[str, Any] = torch.load(path, **options)
        weights = {_plain(name): value for name, value in state["module_state_dict"].items()}
        module.load_state_dict(weights, **(module_load_dict_kwargs or {}))
        self.accountant.load_state_dict(state["privacy_accountant_state_dict"])
        if optimizer is not None and "optimizer_state_dict" in state:
            optimizer.load_state_dict(state["optimizer_state_dict"])
        self._steps_before = int(state.get("steps_done", len(self.accountant)))
        for made in self._attachments:
            made.resume(self._steps_before)
        return state


def _seed(generator: torch.Generator | None) -> int | None:
    """A seed from a generator's next draws; None without one."""
    if generator is None:
        return None
    high, low = torch.randint(2**62, (2,), generator=generator, device=generator.device).tolist()
    return (high << 62) | low


def _plain(name: str) -> str:
    """A parameter's name without the prefix that wrapped modules are stored with."""
    return name.removeprefix("_module.")
