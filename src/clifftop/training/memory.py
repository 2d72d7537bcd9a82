"""What one example costs in memory during a step, measured, and how much memory is free."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from clifftop.flow import Batch, Params
from clifftop.gradients import LoopEngine, VmapEngine
from clifftop.gradients.base import (
    GradientEngine,
    PerExampleLoss,
    refuse_unprotectable,
    with_own_buffers,
)
from clifftop.gradients.randomness import first_examples, first_run, quiet_checkpoints

UNKNOWN_FREE_BYTES = 4 * 2**30
"""What is taken to be free where the system does not say."""

_GROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def held_bytes_per_example(
    *, engine: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
) -> int:
    """Bytes that one more example adds to a step: ``row + 3 * saved + 3 * gradient``.

    ``row`` is the example itself. ``saved`` is what autograd saves for the backward pass, measured: the
    storages saved in a forward pass on three examples, less those on two, each counted once, so that
    weights and other tensors that do not grow with the batch cancel. It counts once as it is, once for the
    gradient at a layer's output, which an engine keeps too, and once for workspaces of norms and
    convolutions, which no hook shows. ``gradient`` is one gradient, for engines that hold every example's:
    as they come, joined, and with padding cleared. What a process really grew by in a step, on a CPU, was
    0.7 to 1.7 times this (an MLP, a CNN, a GPT; the least where there is attention, the most where there are
    convolutions). Inside ``torch.utils.checkpoint`` only what the checkpoint itself keeps is seen.

    The two passes run on the first examples of the first run, with parameters and buffers copied and the
    global generators left as they were.
    """
    refuse_unprotectable(loss.module)
    two, three = (_saved_bytes(loss, params, batch, size) for size in (2, 3))
    row = sum(x[0, :1].nbytes for x in (*batch.inputs, *batch.targets))
    stored = isinstance(engine, LoopEngine | VmapEngine)
    gradient = sum(p[0].nbytes for p in params.values()) if stored else 0
    return row + 3 * max(0, three - two) + 3 * gradient


def free_bytes(device: torch.device) -> int:
    """Bytes that a process may still take: of the GPU, or of the machine and its control group."""
    if device.type == "cuda":
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reusable
    known = [found for found in (_available(_MEMINFO), *_group_room(_GROUPS)) if found is not None]
    return min(known, default=UNKNOWN_FREE_BYTES)


def _saved_bytes(loss: PerExampleLoss, params: Params, batch: Batch, size: int) -> int:
    storages: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return x

    inputs, targets = first_examples(batch, size)
    live = {name: value.clone().requires_grad_() for name, value in first_run(params).items()}
    device = batch.mask.device
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        quiet_checkpoints(),
        saved_tensors_hooks(pack, lambda x: x),
    ):
        # The losses are held until the count is made, and with them every saved tensor: no address repeats.
        losses = loss(live, first_run(with_own_buffers(loss)), inputs, targets)
        total = sum(storages.values())
        del losses
    return total


def _available(meminfo: Path) -> int | None:
    """``MemAvailable``: what can be taken without swapping."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group_room(root: Path) -> list[int]:
    """What the control group leaves, version 2 or 1; files in its cache can be dropped, and count as free."""
    old = root / "memory"
    places = (
        (root / "memory.max", root / "memory.current", root / "memory.stat"),
        (old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat"),
    )
    room: list[int] = []
    for limit, usage, stat in places:
        try:
            left = int(limit.read_text()) - int(usage.read_text())
            lines = stat.read_text().splitlines()
        except (OSError, ValueError):  # no such group, or a limit of "max"
            continue
        room.append(left + sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file ")))
    return room


__all__ = ["UNKNOWN_FREE_BYTES", "free_bytes", "held_bytes_per_example"]
