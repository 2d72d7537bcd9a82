"""Per-example losses: one number an example, no reduction, cheap to map over runs."""

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
