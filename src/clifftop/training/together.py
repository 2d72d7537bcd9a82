"""What the ranks of a run settle together before they train, and before rank 0 writes for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from clifftop.events import NoOp
from clifftop.parallel import Ranks, agree_on_parameters, on_rank_zero
from clifftop.plan import PrivacyPlan


def require_shareable(plan: PrivacyPlan, ranks: Ranks) -> None:
    """Errors: ValueError if a plan's clipping rule would learn other numbers on every rank."""
    if ranks.world_size > 1 and plan.clipping.event() != NoOp():
        raise ValueError(
            "a clipping rule that reads the batch must see all of it, found "
            f"{type(plan.clipping).__name__} with world_size={ranks.world_size}: each rank would read its "
            "own part; use Flat, or train on one process"
        )


def agree_on_replicas(ranks: Ranks, module: nn.Module, seed: int | None) -> None:
    """Compare the seed, every parameter and every buffer, bit by bit; one rank always agrees.

    Raises:
        ValueError: on every rank, naming the first that differs.
    """
    if ranks.world_size == 1:
        return
    ranks.agree("seed", repr(seed).encode())
    agree_on_parameters(ranks, {**dict(module.named_parameters()), **dict(module.named_buffers())})


def write_once(ranks: Ranks, optimizer: torch.optim.Optimizer, write: Callable[[], None]) -> None:
    """Do ``write`` on rank 0, for which an optimiser that is sharded over ranks gathers its state there."""
    gather: Any = getattr(optimizer, "consolidate_state_dict", None)
    if gather is not None:
        gather(to=0)
    on_rank_zero(ranks, write)
