"""Which rows a batch reads, and how a model reads them from a small table instead of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from clifftop.gradients.base import UnsupportedModule, call_with
from clifftop.gradients.rules.embedding import RenumberingHook
from clifftop.tables.refusals import Table

# Beyond any table's last row.
_NO_ROW = torch.iinfo(torch.int64).max
_KEYS = "rows_read"
_CHANGED = ("padding_idx", "sparse", "num_embeddings")

Reads = Callable[..., Mapping[str, Tensor]]
"""``reads(*inputs)`` gives the row numbers that each table reads, by the name of its weight."""


class _AllFound(Exception):
    """Every lookup has been seen; the rest of the forward pass would find nothing."""


def find_reads(
    module: nn.Module, tables: Mapping[str, Table], inputs: Sequence[Tensor], *, lookups: int | None = None
) -> dict[str, list[Tensor]]:
    """The row numbers that a forward pass on ``inputs`` asks of each table, one tensor a lookup.

    With ``lookups`` the pass ends after so many.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in tables}
    seen = 0

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal seen
            found[name].append(args[0] if args else kwargs["input"])
            seen += 1
            if seen == lookups:
                raise _AllFound

        return hook

    handles = [
        table.register_forward_pre_hook(note(name), with_kwargs=True) for name, table in tables.items()
    ]
    try:
        _run(module, inputs)
    except _AllFound:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def _run(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    """A forward pass, after which the module is as it was."""
    # It may write into buffers; it gets copies.
    buffers = {name: b.clone() for name, b in module.named_buffers()}
    call_with(module, buffers, tuple(inputs)) if buffers else module(*inputs)


def refuse_other_uses(module: nn.Module, tables: Mapping[str, Table], inputs: Sequence[Tensor]) -> None:
    """Refuse a model that uses a table's weight in any way but by calling the table.

    Raises:
        UnsupportedModule: it does.
    """
    with ExitStack() as stack:
        watch = _WatchWeights({id(table.weight): name for name, table in tables.items()})
        for table in tables.values():
            enter = table.register_forward_pre_hook(watch.enter)
            leave = table.register_forward_hook(watch.leave, always_call=True)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        stack.enter_context(watch)
        _run(module, inputs)


class _WatchWeights(TorchFunctionMode):
    """Refuses a weight that enters an operation while its table is not being called."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self._names = names
        self._inside = 0

    def enter(self, *_: Any) -> None:
        self._inside += 1

    def leave(self, *_: Any) -> None:
        self._inside -= 1

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **dict(kwargs or {}))
        if not self._inside and any(isinstance(x, Tensor) for x in pytree.tree_leaves(result)):
            for x in pytree.tree_leaves((tuple(args), dict(kwargs or {}))):
                if id(x) in self._names:
                    raise UnsupportedModule(
                        "a table with deferred noise must be read by calling it, found "
                        f"'{self._names[id(x)]}' in {getattr(func, '__name__', func)}: it would use rows "
                        "whose noise is not in yet; build it with sparse=False for dense noise"
                    )
        return result


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one table that a step reads, and their places in a small table.

    The small table has room for some more than were read, so that steps share a few shapes; the row
    of the table's padding is always in it, at the end, so that its place does not depend on the batch.

    Attributes:
        read: ``(n,)`` the rows, each once.
        padded: whether the last of them is the padding's.
        keys: ``(c,)`` the row at each place, sorted, and beyond them a number that no row has.
    """

    read: Tensor
    padded: bool
    keys: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Values ``(n, d)`` of the rows in their places, ``(c, d)``, and zeros between."""
        room = len(self.keys) - len(values)
        if room == 0:
            return values
        last = len(values) - self.padded
        return torch.cat([values[:last], values.new_zeros(room, values.shape[1]), values[last:]])

    def gathered(self, small: Tensor) -> Tensor:
        """The rows' values ``(n, d)`` from the small table, ``(c, d)``."""
        if len(small) == len(self.read):
            return small
        last = len(self.read) - self.padded
        return torch.cat([small[:last], small[len(small) - self.padded :]])


def rows_read(table: Table, ids: Sequence[Tensor]) -> Rows:
    """The rows of ``table`` among ``ids``, of any shapes."""
    device, padding = table.weight.device, table.padding_idx
    flat = [x.to(device, torch.int64).flatten() for x in ids]
    found = torch.unique(flat[0] if len(flat) == 1 else torch.cat([*flat, torch.zeros(0, dtype=torch.int64)]))
    if padding is not None:
        found = found[found != padding]
    count = len(found) + (padding is not None)
    step = 1 << max(count.bit_length() - 4, 3)
    places = -(-max(count, 1) // step) * step
    room = places - len(found)
    keys = torch.cat([found, found.new_full((room,), _NO_ROW)]) if room else found
    read = found if padding is None else torch.cat([found, found.new_tensor([padding])])
    return Rows(read=read, padded=padding is not None, keys=keys)


def keys_names(tables: Mapping[str, Table]) -> dict[str, str]:
    """For each table, the model's name for the buffer that holds the keys while it is read."""
    return {name: name.removesuffix("weight") + _KEYS for name in tables}


@contextmanager
def read_from(tables: Mapping[str, Table], rows: Mapping[str, Rows]) -> Iterator[None]:
    """Let each table take row numbers of the whole and read a weight that holds ``rows`` alone.

    The keys are buffers of the tables meanwhile, so that whatever treats the model as a function of
    its tensors sees them change.
    """
    own = {name: {field: vars(t)[field] for field in _CHANGED} for name, t in tables.items()}
    handles: list[RemovableHandle] = []
    try:
        for name, table in tables.items():
            hook = _Renumber(table.padding_idx)
            handles.append(table.register_forward_pre_hook(hook, with_kwargs=True))
            table.register_buffer(_KEYS, rows[name].keys, persistent=False)
            # As they must be for a small weight with an ordinary gradient.
            places = len(rows[name].keys)
            padding = places - 1 if rows[name].padded else None
            vars(table).update(padding_idx=padding, sparse=False, num_embeddings=places)
        yield
    except IndexError as error:
        raise ValueError(
            "a step must read the rows that were announced, found a lookup of another one; let "
            "reads(*inputs) give every row number that the model looks up, and let these depend on its "
            "inputs alone"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for name, table in tables.items():
            vars(table).update(own[name])
            table._buffers.pop(_KEYS, None)  # noqa: SLF001  as register_buffer does
            table._non_persistent_buffers_set.discard(_KEYS)  # noqa: SLF001  likewise


@final
class _Renumber(RenumberingHook):
    """Row numbers of the whole table to places in a small one; a row that is not there has none."""

    def __init__(self, padding: int | None) -> None:
        self._padding = padding

    def __call__(
        self, table: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        keys = table.get_buffer(_KEYS)
        if args:
            return (self._places(keys, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "input": self._places(keys, kwargs["input"])}

    def _places(self, keys: Tensor, ids: Tensor) -> Tensor:
        # Under a map, searchsorted warns of a layout that the map has chosen.
        mapped = functorch.maybe_current_level() is not None
        at = (ids.unsqueeze(-1) > keys).sum(-1) if mapped else torch.searchsorted(keys, ids.contiguous())
        at = at.clamp(max=len(keys) - 1)
        # Out of range on purpose: the lookup itself then fails.
        at = torch.where(keys[at] == ids, at, len(keys))
        return at if self._padding is None else torch.where(ids == self._padding, len(keys) - 1, at)
