"""What ranks settle before the first step, and what only one of them may do."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from clifftop.parallel.ranks import Ranks

_SEED_BYTES = 16


def agree_on_seed(ranks: Ranks, seed: int | None) -> int:
    """The run's seed: the one that all ranks were given, or rank 0's draw from the operating system.

    Raises:
        ValueError: ranks were given different seeds, or only some were given one.
    """
    ranks.agree("seed", repr(seed).encode())
    if seed is not None:
        return seed
    return int.from_bytes(share(ranks, secrets.token_bytes(_SEED_BYTES)), "little")


def agree_on_facts(ranks: Ranks, facts: Mapping[str, object]) -> None:
    """Compare facts, one by one, as their ``repr``.

    Raises:
        ValueError: on every rank, naming the first fact that differs, never its value.
    """
    for what, value in facts.items():
        ranks.agree(what, repr(value).encode())


def agree_on_parameters(ranks: Ranks, params: Mapping[str, Tensor]) -> None:
    """Compare names, shapes, dtypes and then every value, bit by bit.

    Raises:
        ValueError: on every rank, naming the first parameter that differs; or one is sharded, so that no rank
            could take its per-example gradient.
    """
    for name, value in params.items():
        # Only a sharded tensor (DTensor) has placements; its class is not imported, which takes a second.
        if getattr(value, "placements", None) is not None:
            raise ValueError(
                f"parameters must be whole on every rank, found '{name}' of type={type(value).__name__}; "
                "do not shard the module (fully_shard, tensor parallel): pass DataParallel() as ranks"
            )
    listed = [(name, tuple(value.shape), str(value.dtype)) for name, value in params.items()]
    ranks.agree("parameter names, shapes and dtypes", repr(listed).encode())
    if ranks.world_size == 1:
        return
    for name, value in params.items():
        ranks.agree(f"value of parameter '{name}'", _digest(value))


def copy_from_rank_zero(ranks: Ranks, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite each tensor by rank 0's, bit by bit; names, shapes and dtypes must be the same on every rank.

    Tensors are written in place, unseen by autograd. For models that every rank initialised by itself.
    """
    for tensor in tensors.values():
        source = tensor.detach()
        # Added up as bytes: zeros plus rank 0's bytes are rank 0's, also for -0.0 and NaN.
        flat = source.contiguous().view(-1).view(torch.uint8)
        if ranks.rank != 0:
            flat = torch.zeros_like(flat)
        elif flat.data_ptr() == source.data_ptr():
            flat = flat.clone()
        ranks.all_reduce([flat])
        source.copy_(flat.view(source.dtype).view(source.shape))


def share(ranks: Ranks, value: bytes) -> bytes:
    """Rank 0's ``value``, on every rank; what other ranks pass is not read."""
    if ranks.world_size == 1:
        return value
    size = torch.tensor([len(value) if ranks.rank == 0 else 0])
    ranks.all_reduce([size])
    content = torch.zeros(int(size), dtype=torch.uint8)
    if ranks.rank == 0 and value:
        content += torch.frombuffer(bytearray(value), dtype=torch.uint8)
    ranks.all_reduce([content])
    return content.numpy().tobytes()


def on_rank_zero(ranks: Ranks, action: Callable[[], object]) -> None:
    """Once every rank is here, do ``action`` on rank 0 alone; return on every rank when it is done.

    For what must happen once: a charge to the ledger, a checkpoint, a line in a log. Whatever a rank read
    before its call, rank 0 had not yet changed.

    Raises:
        Exception: on rank 0, what ``action`` raised.
        RuntimeError: on every other rank, where it raised; with the same message.
        RankLost: another rank did not come, and nothing was done; or it left meanwhile, and it may be done.
    """
    ranks.agree("place in the program", b"rank 0 alone")
    failed: Exception | None = None
    if ranks.rank == 0:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised again below, once the others know
            failed = error
    told = share(ranks, b"" if failed is None else (str(failed) or type(failed).__name__).encode())
    if failed is not None:
        raise failed
    if told:
        raise RuntimeError(f"rank {ranks.rank}: stopped, because rank 0 stopped: {told.decode()}")


def _digest(value: Tensor) -> bytes:
    flat = value.detach().contiguous().view(-1).view(torch.uint8)
    return hashlib.sha256(flat.cpu().numpy().data).digest()
