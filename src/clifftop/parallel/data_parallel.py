"""Data parallel ranks over ``torch.distributed``: each has the whole model and a part of the batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor

from clifftop.parallel.buckets import in_buckets
from clifftop.parallel.ranks import RankLost
from clifftop.sampling import Indices

_DIGEST_BYTES = 32


@final
class DataParallel:
    """The ranks of a process group, each with a whole copy of the model.

    A batch is dealt out like cards: rank r takes the places r, r + W, r + 2 W, ... of the one global draw,
    so parts differ by at most one example. Dealt and not cut, because data are often stored in an order (by
    length, by class, by hospital): cut parts would make one rank's work longer than the others', and its
    diagnostics those of another kind of example.

    With NCCL, tensors of the CPU travel through this process's current CUDA device.

    Args:
        group: a process group of ``torch.distributed``; by default all processes.
        timeout: how long to wait for another rank; by default the group's own limit. Given one, every rank of
            the group must give the same, and a second group with that limit is made.
        bucket_bytes: small tensors are added up in buffers of this size, and need this much extra memory.

    Raises:
        ValueError: there is no process group, or this process is not part of ``group``.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        timeout: timedelta | None = None,
        bucket_bytes: int = 32 * 2**20,
    ) -> None:
        """See the class."""
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError(
                "DataParallel must have a process group, found none; call "
                "torch.distributed.init_process_group first, in a program started by torchrun"
            )
        if dist.get_rank(group) < 0:
            raise ValueError(
                f"DataParallel must be made by a member of its group, found process rank={dist.get_rank()} "
                "outside of it; make it on the group's own processes only"
            )
        if timeout is not None:
            group = _with_timeout(group, timeout)
        self._group = group
        self._bucket_bytes = bucket_bytes
        self._rank = dist.get_rank(group)
        self._world_size = dist.get_world_size(group)
        # The kinds of device that the group's backends serve, as in "cpu:gloo,cuda:nccl".
        served = dist.get_backend_config(group).split(",")
        self._device_types = tuple(entry.split(":")[0] for entry in served)

    @property
    def rank(self) -> int:
        """This process's number in the group."""
        return self._rank

    @property
    def world_size(self) -> int:
        """W, how many processes the group has."""
        return self._world_size

    def shard(self, indices: Indices) -> Indices:
        """Every W-th of ``indices``, from this rank's number on."""
        return indices[self._rank :: self._world_size]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over ranks.

        Tensors must have the same shapes, dtypes and order on every rank. Half-precision tensors are added in
        float32.

        Raises:
            RankLost: another rank did not answer.
        """
        in_buckets(tensors, self._sum, device_for=self._device_for, bucket_bytes=self._bucket_bytes)

    def agree(self, what: str, value: bytes) -> None:
        """Compare the hash of ``value`` with the other ranks'.

        Raises:
            ValueError: on every rank, where one holds another value.
            RankLost: another rank did not answer.
        """
        digest = hashlib.sha256(what.encode() + b"\0" + value).digest()
        table = torch.zeros(self._world_size, _DIGEST_BYTES, dtype=torch.uint8)
        table[self._rank] = torch.frombuffer(bytearray(digest), dtype=torch.uint8)
        self.all_reduce([table])
        apart = [rank for rank, row in enumerate(table) if not torch.equal(row, table[0])]
        if apart:
            raise ValueError(
                f"every rank must hold the same {what}, found ranks={apart} different from rank 0; "
                "start all ranks with the same program and arguments"
            )

    def _sum(self, flat: Tensor) -> None:
        try:
            dist.all_reduce(flat, group=self._group)
        except RuntimeError as error:
            raise RankLost(
                f"rank {self._rank} of {self._world_size}: another rank must answer, found none "
                f"({_reason(error)}); end all ranks and start them again from the last checkpoint"
            ) from error

    def _device_for(self, device: torch.device) -> torch.device:
        if device.type in self._device_types:
            return device
        kind = self._device_types[0]
        return (
            torch.device("cpu")
            if kind == "cpu"
            else torch.device(kind, torch.get_device_module(kind).current_device())
        )


def _reason(error: RuntimeError) -> str:
    """The backend's own words, without the place in its source and without its guesses."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[[^\]]*\.cc:\d+\]\s*", "", first).split(". ")[0].rstrip(".")


def _with_timeout(group: dist.ProcessGroup | None, timeout: timedelta) -> dist.ProcessGroup | None:
    """A second group of the same processes; those outside of ``group`` need not know."""
    members = dist.get_process_group_ranks(group)
    made = dist.new_group(
        members,
        timeout=timeout,
        backend=dist.get_backend_config(group),
        use_local_synchronization=group is not None,
    )
    assert not isinstance(made, int)  # what processes outside of the new group get
    return made
