"""Private training in Lightning: one callback, and its data loader.

Needs the extra ``lightning``. The module's ``training_step`` computes its outputs by ``self(batch)``, or by
one submodule, and its loss from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

from torch import nn
from torch.utils.data import DataLoader

from clifftop.accounting import Bound
from clifftop.compat.extras import require_extra
from clifftop.compat.loop import PrivateDataLoader, detach
from clifftop.compat.opacus.privacy_engine import PrivacyEngine
from clifftop.compat.privacy import Privacy

if TYPE_CHECKING:

    class Callback:
        """What Lightning calls."""

else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        Callback = object


@final
class LaterLoader:
    """Batches of a loader that is made when training starts."""

    def __init__(self, length: int) -> None:
        self.loader: PrivateDataLoader | None = None
        self._length = length

    def __iter__(self) -> Iterator[Any]:
        if self.loader is None:
            raise ValueError(
                "the private loader must be used in trainer.fit, with its callback among callbacks"
            )
        return iter(self.loader)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._length


@final
class PrivateTraining(Callback):
    """Makes the steps of a Lightning run private.

    ``trainer.fit(model, private.data_loader)`` with ``callbacks=[private]``. One optimiser, one device, no
    gradient accumulation. The epsilon so far is logged as ``epsilon`` after every epoch.

    Args:
        data_loader: the training loader, with a ``batch_size``.
        privacy: noise or target, clip norm, delta.
        submodule: what ``training_step`` calls; by default the Lightning module itself.

    Raises:
        MissingExtra: Lightning is not installed.
    """

    def __init__(self, *, data_loader: DataLoader[Any], privacy: Privacy, submodule: str = "") -> None:
        require_extra("lightning", extra="lightning")
        self.engine = PrivacyEngine()
        self.privacy = privacy
        self.data_loader = LaterLoader(len(data_loader))
        self._original = data_loader
        self._submodule = submodule
        self._attached: nn.Module | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach to the module and its optimiser, both of which exist now."""
        optimizers = trainer.optimizers
        if len(optimizers) != 1 or trainer.world_size != 1:
            raise ValueError(
                "private training must have one optimiser on one device, found "
                f"{len(optimizers)} on {trainer.world_size}; use clifftop.Trainer with "
                "clifftop.parallel.DataParallel for several devices"
            )
        self._attached = pl_module.get_submodule(self._submodule)
        self.data_loader.loader = self.privacy.attach(
            self.engine,
            module=self._attached,
            optimizer=optimizers[0],
            data_loader=self._original,
            epochs=trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
        )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log epsilon."""
        del trainer
        pl_module.log("epsilon", self.epsilon().upper)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the module as it was."""
        del trainer, pl_module
        if self._attached is not None:
            detach(self._attached)

    def epsilon(self) -> Bound:
        """What has been released so far costs, as a certified interval; report its upper end."""
        return self.engine.accountant.epsilon(self.privacy.delta)

    def state_dict(self) -> dict[str, Any]:
        """The account, for Lightning's checkpoints."""
        return self.engine.accountant.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's account."""
        self.engine.accountant.load_state_dict(state_dict)
