"""What a run costs and how: the numbers that Lightning's and Hugging Face's loops have no place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn
from torch.utils.data import DataLoader

from clifftop.compat.loop import PrivateDataLoader
from clifftop.compat.opacus.privacy_engine import PrivacyEngine


@final
@dataclass(frozen=True, kw_only=True)
class Privacy:
    """How the steps of a loop are made private.

    Attributes:
        max_grad_norm: bounds the norm of one example's gradient.
        delta: for which epsilon is stated.
        noise_multiplier: standard deviation of the noise over the clip norm.
        target_epsilon: in its place: the noise is the least that costs no more after all epochs.
        poisson_sampling: whether batches become Poisson samples; otherwise the loader's order stays, and
            epsilon is that of one release an epoch.

    Raises:
        ValueError: neither noise nor target, or both.
    """

    max_grad_norm: float
    delta: float
    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    poisson_sampling: bool = True

    def __post_init__(self) -> None:
        if (self.noise_multiplier is None) == (self.target_epsilon is None):
            raise ValueError(
                "either noise_multiplier or target_epsilon must be given, found "
                f"noise_multiplier={self.noise_multiplier} and target_epsilon={self.target_epsilon}"
            )

    def attach(
        self,
        engine: PrivacyEngine,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: DataLoader[Any],
        epochs: int | None,
    ) -> PrivateDataLoader:
        """Make the steps of ``optimizer`` private, and return the loader to be iterated.

        ``epochs`` is needed where the noise follows from a target.
        """
        common: dict[str, Any] = {
            "module": module,
            "optimizer": optimizer,
            "data_loader": data_loader,
            "max_grad_norm": self.max_grad_norm,
            "poisson_sampling": self.poisson_sampling,
        }
        if self.noise_multiplier is not None:
            return engine.make_private(noise_multiplier=self.noise_multiplier, **common)[2]
        assert self.target_epsilon is not None
        if epochs is None:
            raise ValueError(
                "a target_epsilon needs a known number of epochs, found none; limit the run by epochs, or "
                "pass noise_multiplier"
            )
        return engine.make_private_with_epsilon(
            target_epsilon=self.target_epsilon, target_delta=self.delta, epochs=epochs, **common
        )[2]
