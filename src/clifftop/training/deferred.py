"""Noise that is owed: what the trainer asks of a part that is trained by rows and settles its noise later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from clifftop.flow import Batch, Params
from clifftop.gradients import PerExampleLoss
from clifftop.noise import Gaussian
from clifftop.parallel import Ranks
from clifftop.plan import PrivacyPlan


class DeferredNoise(Protocol):
    """Parameters of which a step reads a few rows: `clifftop.tables.DeferredTables` is one.

    The trainer calls `begin` and `apply` once a step, takes the private gradient within `reading`, and
    calls `flush` before anything leaves it: at the end of ``fit``, before an evaluation, a ``state_dict``,
    a checkpoint and an epsilon.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, by the module's names; the optimiser sees no gradient of them."""
        ...

    def begin(self, batch: Batch) -> Params:
        """Settle the rows that ``batch`` reads, and give them: ``(1, rows read, ...)`` each."""
        ...

    def loss(self, loss: PerExampleLoss) -> PerExampleLoss:
        """``loss`` with what the step's reading goes by among its constants."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Within it, the model takes what `begin` gave in place of the parameters."""
        ...

    def apply(self, gradients: Params, noise_std: float) -> None:
        """Take the step on the rows that `begin` gave, and note what all others are owed."""
        ...

    def flush(self) -> None:
        """Settle everything, so that the module may be released; nothing is owed afterwards."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs besides the parameters."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        ...


def require_deferrable(deferred: DeferredNoise | None, plan: PrivacyPlan, ranks: Ranks) -> None:
    """Errors: ValueError if a plan's noise cannot be deferred, or several ranks would read other rows."""
    if deferred is None:
        return
    if not isinstance(plan.noise, Gaussian):
        raise ValueError(
            f"deferred noise must be independent from step to step, found {type(plan.noise).__name__}; "
            "use Gaussian, or train the tables densely"
        )
    if ranks.world_size > 1:
        raise ValueError(
            f"deferred noise must be that of one process, found world_size={ranks.world_size}: ranks would "
            "read other rows; train on one process, or the tables densely"
        )
