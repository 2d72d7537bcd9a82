"""How many runs to train together, and how much of a batch at once, from measured bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clifftop.lab.cohort.members import Members
from clifftop.lab.cohort.parts import build_model
from clifftop.lab.data import load_data
from clifftop.lab.spec import RunSpec
from clifftop.training.memory import free_bytes, held_bytes_per_example

if TYPE_CHECKING:
    from torch._ops import OpOverload

LARGEST_COHORT = 256
"""Beyond this many runs, more of them save no more overhead and only cost cache."""

_MOST_ON_A_CPU = 1 << 30  # more than this does not fit a cache anyway, and is no quicker
_ROUND_TO = 8
_PLAINLY_SMALL = 8  # a forward pass's count, times this, is more than a step has ever held


def memory_budget(device: str = "cpu", *, workers: int = 1) -> int:
    """Bytes that one cohort's step may hold where ``workers`` cohorts train at a time.

    Half of what is free, shared by the workers; on a CPU at most 1 GiB each.
    """
    place = torch.device(device)
    share = free_bytes(place) // (2 * workers)
    return share if place.type == "cuda" else min(_MOST_ON_A_CPU, share)


def cohort_size(spec: RunSpec, *, budget_bytes: int | None = None, device: str = "cpu") -> int:
    """How many runs like ``spec`` to train together, so that one step fits ``budget_bytes``.

    Where a count of parameters and outputs does not already say that the largest cohort fits, a step of
    one run and one of two are made and thrown away, and the bytes of all tensors alive in them counted:
    their difference is what one more run costs.

    Args:
        spec: one of the runs.
        budget_bytes: by default `memory_budget` of the device.
        device: where the cohort will train.
    """
    place = torch.device(device)
    budget = memory_budget(device) if budget_bytes is None else budget_bytes
    if _PLAINLY_SMALL * LARGEST_COHORT * _counted_bytes(spec) <= budget:
        return LARGEST_COHORT
    others = replace(spec, seed=(spec.seed + 1) % 2**32)  # with batches, and maybe data, of its own
    one, two = _step_bytes([spec], place), _step_bytes([spec, others], place)
    each = max(1, two - one)
    shared = max(0, one - each)
    return int(max(1, min(LARGEST_COHORT, (budget - shared) // each)))


def microbatch_size(members: Members, spec: RunSpec, budget_bytes: int | None) -> int | None:
    """How many examples of each run go through at once; None where whole batches fit.

    Only speed and memory depend on it, and the order in which floats are added.
    """
    first = next(iter(members.params.values()))
    runs = first.shape[0]
    budget = memory_budget(str(first.device)) if budget_bytes is None else budget_bytes
    if not members.sees_examples or _PLAINLY_SMALL * runs * _counted_bytes(spec) <= budget:
        return None
    batch = members.batch(0)
    if members.summing.takes(members.loss(), members.params, batch):
        return None  # it takes a few examples at a time anyway
    held = runs * held_bytes_per_example(
        engine=members.engine, loss=members.loss(), params=members.params, batch=batch
    )
    fits = budget // max(1, held)
    if fits >= batch.padded_size:
        return None
    return max(1, fits - fits % _ROUND_TO if fits >= _ROUND_TO else fits)


def _counted_bytes(spec: RunSpec) -> int:
    """Parameters with their companions, and a batch's inputs and outputs with their gradients."""
    model = build_model(spec)
    train = load_data(spec.data, seed=spec.seed).train
    expected = spec.plan.expected_batch_size or getattr(spec.plan.sampler, "batch_size", 1)
    outputs: list[int] = []

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        outputs.extend(x.numel() for x in tree_leaves(output) if isinstance(x, Tensor))

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.no_grad():
        model.eval()(*(torch.from_numpy(x[:1]) for x in train.inputs))
    for handle in handles:
        handle.remove()
    parameters = sum(p.numel() for p in model.parameters())
    rows = sum(x[0].size for x in train.inputs)
    return 4 * int(8 * parameters + 4 * expected * (sum(outputs) + rows))


def _step_bytes(specs: Sequence[RunSpec], device: torch.device) -> int:
    """The most bytes that tensors made by one step of these runs hold at a time."""
    with _Live() as live:
        Members(specs, device=device).advance(0, microbatch_size=None)
    return live.peak


@final
class _Live(TorchDispatchMode):
    """Counts the bytes of the storages that operations have made and that still live."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        before = {x.untyped_storage()._cdata for x in _tensors((args, kwargs))}  # noqa: SLF001 - no public name
        result = func(*args, **(kwargs or {}))
        made = [x.untyped_storage() for x in _tensors(result)]
        new = {s._cdata: s for s in made if s._cdata not in before}  # noqa: SLF001 - as above
        self._storages |= {key: (StorageWeakRef(s), s.nbytes()) for key, s in new.items()}
        if new:
            self._storages = {key: kept for key, kept in self._storages.items() if not kept[0].expired()}
            self.peak = max(self.peak, sum(size for _, size in self._storages.values()))
        return result


def _tensors(values: object) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]
