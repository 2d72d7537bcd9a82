"""Per-example losses and scores: one number an example, no reduction, cheap to map over runs."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of ``(B, K)`` logits with ``(B,)`` class numbers, ``(B,)``, in nats.

    Equal to ``torch.nn.functional.cross_entropy(..., reduction="none")``; written out because under
    ``vmap`` that function's own rule runs in Python and imports a symbolic-algebra package at its first
    call (half a second), and because a softmax over few classes is slow.

    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])).item()
    1.3862943649291992
    """
    own = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return torch.logsumexp(logits, dim=-1) - own


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest of ``(B, K)`` logits is that of the ``(B,)`` class number, else 0; ``(B,)``.

    >>> accuracy(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([1, 1])).tolist()
    [1.0, 0.0]
    """
    return (logits.argmax(-1) == targets).to(logits.dtype)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of one logit an example, ``(B,)`` or ``(B, 1)``, with targets in [0, 1], in nats.

    >>> binary_cross_entropy(torch.zeros(2, 1), torch.tensor([0, 1])).tolist()
    [0.6931471824645996, 0.6931471824645996]
    """
    z, y = one_each(logits, targets)
    return z.clamp_min(0) - z * y + torch.log1p(torch.exp(-z.abs()))


def binary_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """1 where the sign of one logit an example says what the target (0 or 1) does, else 0; ``(B,)``.

    >>> binary_accuracy(torch.tensor([[2.0], [2.0]]), torch.tensor([1, 0])).tolist()
    [1.0, 0.0]
    """
    z, y = one_each(logits, targets)
    return ((z > 0) == (y > 0.5)).to(z.dtype)


def brier(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared distance of the softmax of ``(B, K)`` logits from the ``(B,)`` class: in [0, 2]; ``(B,)``.

    Brier 1950, over all K classes; for two classes it is twice `binary_brier`.

    >>> brier(torch.zeros(1, 2), torch.tensor([1])).tolist()
    [0.5]
    """
    probabilities = logits.softmax(-1)
    own = probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (probabilities * probabilities).sum(-1) - 2 * own + 1


def binary_brier(logits: Tensor, targets: Tensor) -> Tensor:
    """Squared difference of the probability that one logit says and the target, in [0, 1]; ``(B,)``.

    >>> binary_brier(torch.zeros(2, 1), torch.tensor([0, 1])).tolist()
    [0.25, 0.25]
    """
    z, y = one_each(logits, targets)
    difference = z.sigmoid() - y
    return difference * difference


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over an example's outputs of the squared difference; ``(B, ...)`` and ``(B, ...)`` to ``(B,)``.

    >>> squared_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])).tolist()
    [1.0, 4.0]
    """
    difference = _alike(outputs, targets)
    return (difference * difference).mean(-1)


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean over an example's outputs of the absolute difference; ``(B, ...)`` and ``(B, ...)`` to ``(B,)``.

    >>> absolute_error(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return _alike(outputs, targets).abs().mean(-1)


def token_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over an example's T tokens of the cross-entropy of ``(B, T, V)`` with ``(B, T)``; ``(B,)``."""
    return cross_entropy(logits, targets).mean(-1)


def token_accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of an example's T tokens whose logit is the largest, ``(B,)``."""
    return accuracy(logits, targets).mean(-1)


def one_each(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """One logit an example, and the targets in its dtype."""
    if logits.dim() == targets.dim() + 1 and logits.shape[-1] == 1:
        logits = logits.squeeze(-1)
    if logits.shape != targets.shape:
        raise ValueError(
            f"a binary criterion needs one logit an example, found outputs {tuple(logits.shape)} for targets "
            f"{tuple(targets.shape)}; let the model return one number an example"
        )
    return logits, targets.to(logits.dtype)


def _alike(outputs: Tensor, targets: Tensor) -> Tensor:
    """``outputs - targets``, ``(B, n)``, where both hold as many numbers an example."""
    flat, wanted = outputs.flatten(1) if outputs.dim() > 1 else outputs[:, None], targets
    wanted = wanted.flatten(1) if wanted.dim() > 1 else wanted[:, None]
    if flat.shape != wanted.shape:
        raise ValueError(
            f"an error needs a target for each output, found outputs {tuple(outputs.shape)} and targets "
            f"{tuple(targets.shape)}; give both the same shape"
        )
    return flat - wanted.to(flat.dtype)
