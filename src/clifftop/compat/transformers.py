"""Private training with the Hugging Face Trainer, adapters of peft included.

Needs the extra ``transformers``. The model is called without labels, and the loss of each example is
computed from its logits: a loss averaged over all tokens of a batch has no example's own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from clifftop.accounting import Bound
from clifftop.compat.extras import require_extra
from clifftop.compat.opacus.privacy_engine import PrivacyEngine
from clifftop.compat.privacy import Privacy

if TYPE_CHECKING:

    class Trainer:
        """The Hugging Face Trainer, as far as it is used here."""

        args: Any
        model: Any
        optimizer: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def create_optimizer(self) -> Any:
            """The optimiser, made once."""

        def train(self, **options: Any) -> Any:
            """Train."""

        def get_train_dataloader(self) -> Any:
            """The loader of the training set."""

else:
    try:
        from transformers import Trainer
    except ImportError:
        Trainer = object

PerExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(B, ...)`` and labels ``(B, ...)`` to one loss an example, ``(B,)``."""

IGNORED = -100


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example, logits ``(B, C)``.

    >>> import torch
    >>> classification_loss(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """
    return F.cross_entropy(logits, labels, reduction="none")


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the next token over each example's own tokens, logits ``(B, T, V)``.

    Labels of -100 are left out; an example with no other label has loss 0.

    >>> import torch
    >>> next_token_loss(torch.zeros(1, 3, 4), torch.tensor([[1, 2, -100]]))
    tensor([1.3863])
    """
    targets = labels[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].mT, targets, reduction="none", ignore_index=IGNORED)
    return losses.sum(1) / (targets != IGNORED).sum(1).clamp_min(1)


@final
class PrivateTrainer(Trainer):
    """A Hugging Face Trainer whose steps are private.

    One device, ``gradient_accumulation_steps=1``; its own ``max_grad_norm`` clips nothing here.

    Args:
        privacy: noise or target, clip norm, delta.
        per_example_loss: `next_token_loss`, `classification_loss`, or one's own.
        arguments: those of the Trainer.

    Raises:
        MissingExtra: transformers is not installed.
        ValueError: several devices, or gradients accumulated over batches.
    """

    def __init__(self, *, privacy: Privacy, per_example_loss: PerExampleLoss, **arguments: Any) -> None:
        require_extra("transformers", extra="transformers")
        super().__init__(**arguments)
        parts, devices = self.args.gradient_accumulation_steps, max(self.args.world_size, self.args.n_gpu)
        if parts != 1 or devices > 1:
            raise ValueError(
                "private training must have one device and one batch a step, found "
                f"gradient_accumulation_steps={parts} on {devices}; use clifftop.Trainer for larger runs"
            )
        self.privacy = privacy
        self.engine = PrivacyEngine()
        self._per_example_loss = per_example_loss

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,  # noqa: FBT001  the signature is the Trainer's
        **options: Any,
    ) -> Any:
        """Train; a checkpoint of the Trainer does not hold the account, so none is resumed.

        Raises:
            ValueError: a checkpoint is given.
        """
        if resume_from_checkpoint:
            raise ValueError(
                "a private run must start with its account, found resume_from_checkpoint="
                f"{resume_from_checkpoint!r}: the Trainer's checkpoints hold none; train in one piece, or "
                "use clifftop.Trainer, which resumes"
            )
        return super().train(**options)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The Trainer's own loader, made private with the optimiser."""
        plain = super().get_train_dataloader()
        loader = DataLoader(
            plain.dataset,
            batch_size=self.args.per_device_train_batch_size,
            shuffle=True,
            collate_fn=plain.collate_fn,
            num_workers=plain.num_workers,
            drop_last=self.args.dataloader_drop_last,
        )
        limited = self.args.max_steps > 0
        return self.privacy.attach(
            self.engine,
            module=self.model,
            optimizer=self.create_optimizer(),
            data_loader=loader,
            epochs=None if limited else math.ceil(self.args.num_train_epochs),
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002  the signature is the Trainer's
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean of the examples' own losses."""
        del num_items_in_batch
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**rest)
        loss = self._per_example_loss(outputs.logits, inputs["labels"]).mean()
        return (loss, outputs) if return_outputs else loss

    def epsilon(self) -> Bound:
        """What has been released so far costs, as a certified interval; report its upper end."""
        return self.engine.accountant.epsilon(self.privacy.delta)
