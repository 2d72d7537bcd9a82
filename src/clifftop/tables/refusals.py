"""Which modules are tables, and which tables noise cannot be deferred for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from clifftop.gradients.base import UnsupportedModule

Table = nn.Embedding | nn.EmbeddingBag


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of a model and the optimiser's group that holds them.

    Attributes:
        modules: each table, by the model's name for its weight.
        optimizer: plain gradient descent.
        group: which of its groups; looked up at each step, since schedulers change it and loading a state
            replaces it.
    """

    modules: Mapping[str, Table]
    optimizer: torch.optim.Optimizer
    group: int

    def step_size(self) -> tuple[float, float]:
        """Learning rate and weight decay now.

        Raises:
            ValueError: the group asks for more than plain gradient descent.
        """
        group: dict[str, Any] = self.optimizer.param_groups[self.group]
        for option in ("momentum", "maximize"):
            if group[option]:
                raise ValueError(
                    f"deferred noise needs plain SGD, found {option}={group[option]}: its steps are not "
                    f"sums whose noise can be added later; set {option} to 0, or build the tables with "
                    "sparse=False for dense noise"
                )
        return float(group["lr"]), float(group["weight_decay"])


def find_tables(module: nn.Module, optimizer: torch.optim.Optimizer) -> Tables:
    """The tables of ``module`` that were built with ``sparse=True`` and are trained.

    Raises:
        UnsupportedModule: noise cannot be deferred for one of them.
        ValueError: there is none, or no plain SGD owns them in one group.
    """
    names = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    found: dict[str, Table] = {}
    for path, table in module.named_modules():
        if isinstance(table, Table) and table.sparse and id(table.weight) in names:
            _refuse(path, table, module)
            found[names[id(table.weight)]] = table
    if not found:
        raise ValueError(
            "deferred noise needs a table, found no nn.Embedding or nn.EmbeddingBag with sparse=True that is "
            "trained; build the table with sparse=True, or train without clifftop.tables"
        )
    kinds = {(t.weight.dtype, t.weight.device) for t in found.values()}
    if len(kinds) > 1 or kinds.pop()[0] not in {torch.float32, torch.float64}:
        raise ValueError(
            "all tables must be on one device, and all float32 or all float64, found "
            f"{', '.join(f'{name}: {t.weight.dtype} on {t.weight.device}' for name, t in found.items())}; "
            "half precision would round noise away; convert them, and autocast the rest"
        )
    tables = Tables(modules=found, optimizer=optimizer, group=_group(found, optimizer))
    tables.step_size()
    return tables


def _refuse(path: str, table: Table, module: nn.Module) -> None:
    where = f"'{path or '(root)'}' ({type(table).__name__})"
    if table.max_norm is not None:
        raise UnsupportedModule(
            f"a table with deferred noise must not change when it is read, found {where} with "
            f"max_norm={table.max_norm}; build it without max_norm"
        )
    if table.scale_grad_by_freq:
        raise UnsupportedModule(
            f"an example's gradient must not depend on the others, found {where} with "
            "scale_grad_by_freq=True; build it without"
        )
    if isinstance(table, nn.EmbeddingBag) and table.mode == "max":
        raise UnsupportedModule(
            f"a bag with deferred noise must add or average, found {where} with mode='max'; "
            "build it with sparse=False for dense noise"
        )
    owners = {
        name
        for name, part in module.named_modules()
        if any(p is table.weight for p in part.parameters(recurse=False))
    }
    if len(owners) > 1:
        raise UnsupportedModule(
            f"a table with deferred noise must be used by one module, found its weight in "
            f"{', '.join(sorted(map(repr, owners)))}: the others read rows that were not announced; "
            "build it with sparse=False for dense noise"
        )


def _group(tables: Mapping[str, Table], optimizer: torch.optim.Optimizer) -> int:
    if type(optimizer) is not torch.optim.SGD:
        raise ValueError(
            f"deferred noise needs torch.optim.SGD without momentum, found {type(optimizer).__name__}: its "
            "steps are not linear in the noise; give the tables an SGD of their own, or build them with "
            "sparse=False for dense noise"
        )
    held = {
        name: [
            i for i, group in enumerate(optimizer.param_groups) if any(p is t.weight for p in group["params"])
        ]
        for name, t in tables.items()
    }
    missing = [name for name, groups in held.items() if not groups]
    if missing:
        raise ValueError(
            f"the optimiser must own every table, found '{missing[0]}' in none of its groups; "
            "build it from module.parameters()"
        )
    numbers = {groups[0] for groups in held.values()}
    if len(numbers) > 1:
        raise ValueError(
            f"all tables must be in one parameter group, found them in groups {sorted(numbers)}; "
            "put them in one, with one learning rate and weight decay"
        )
    return numbers.pop()
