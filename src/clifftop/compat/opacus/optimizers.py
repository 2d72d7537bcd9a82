"""What an optimiser has after ``make_private``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch


@runtime_checkable
class DPOptimizer(Protocol):
    """The script's own optimiser, with these attributes besides.

    Attributes:
        noise_multiplier: read at every step.
        max_grad_norm: read at every step.
        expected_batch_size: what the noisy sum is divided by.
        original_optimizer: the optimiser itself.
    """

    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: int
    original_optimizer: torch.optim.Optimizer
    attach_step_hook: Callable[[Callable[[Any], None]], None]
