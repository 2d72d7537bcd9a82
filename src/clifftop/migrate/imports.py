"""The import lines: found as syntax, changed as text, so that all else stays as it was written."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

OLD = "opacus"
NEW = "clifftop.compat.opacus"

PROVIDED: Mapping[str, frozenset[str]] = {
    "": frozenset({"PrivacyEngine", "GradSampleModule", "utils"}),
    "accountants": frozenset(
        {"IAccountant", "RDPAccountant", "PRVAccountant", "GaussianAccountant", "create_accountant", "utils"}
    ),
    "accountants.utils": frozenset({"get_noise_multiplier"}),
    "data_loader": frozenset({"DPDataLoader"}),
    "grad_sample": frozenset({"GradSampleModule", "register_grad_sampler"}),
    "layers": frozenset({"DPRNN", "DPLSTM", "DPGRU", "DPMultiheadAttention"}),
    "optimizers": frozenset({"DPOptimizer"}),
    "privacy_engine": frozenset({"PrivacyEngine"}),
    "utils": frozenset({"batch_memory_manager"}),
    "utils.batch_memory_manager": frozenset({"BatchMemoryManager"}),
    "validators": frozenset({"ModuleValidator", "module_validator", "errors"}),
    "validators.errors": frozenset(
        {"UnsupportedModuleError", "ShouldReplaceModuleError", "IllegalModuleConfigurationError"}
    ),
    "validators.module_validator": frozenset({"ModuleValidator"}),
}
"""Modules below `clifftop.compat.opacus`, and the names that each has."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One import statement, before and after."""

    line: int
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A name that a script imports and `clifftop.compat.opacus` does not have."""

    line: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A script with its imports changed.

    Attributes:
        source: the whole script.
        changes: what was changed, in order.
        missing: what would fail to import.
    """

    source: str
    changes: tuple[Change, ...]
    missing: tuple[Missing, ...]


def rewrite(source: str) -> Rewritten:
    r"""Change every import of Opacus.

    Raises:
        SyntaxError: ``source`` is no Python.

    >>> rewrite("from opacus.utils.batch_memory_manager import BatchMemoryManager\n").source
    'from clifftop.compat.opacus.utils.batch_memory_manager import BatchMemoryManager\n'
    >>> rewrite("import torch, opacus\n").source
    'import torch; import clifftop.compat.opacus as opacus\n'
    """
    changes: list[Change] = []
    missing: list[Missing] = []
    lines = source.splitlines(keepends=True)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node in sorted(nodes, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        old = ast.get_source_segment(source, node) or ""
        new = _changed(node, old)
        if new == old:
            continue
        lines = _replaced(lines, node, new)
        changes.append(Change(line=node.lineno, old=" ".join(old.split()), new=" ".join(new.split())))
        missing += [Missing(line=node.lineno, name=name) for name in _not_provided(node)]
    return Rewritten(source="".join(lines), changes=tuple(changes[::-1]), missing=tuple(missing[::-1]))


def _is_opacus(module: str | None) -> bool:
    return module is not None and (module == OLD or module.startswith(f"{OLD}."))


def _changed(node: ast.Import | ast.ImportFrom, old: str) -> str:
    if isinstance(node, ast.ImportFrom):
        return old.replace(OLD, NEW, 1) if node.level == 0 and _is_opacus(node.module) else old
    ours = [alias for alias in node.names if _is_opacus(alias.name)]
    if not ours:
        return old
    others = [alias for alias in node.names if not _is_opacus(alias.name)]
    statements = [ast.unparse(ast.Import(names=others))] if others else []
    for alias in ours:
        new = NEW + alias.name.removeprefix(OLD)
        if alias.asname is not None:
            statements.append(f"import {new} as {alias.asname}")
        else:
            # ``import opacus.x`` binds ``opacus``, and makes ``opacus.x`` an attribute of it.
            statements += ([f"import {new}"] if new != NEW else []) + [f"import {NEW} as {OLD}"]
    return "; ".join(dict.fromkeys(statements))


def _replaced(lines: list[str], node: ast.Import | ast.ImportFrom, new: str) -> list[str]:
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    # Offsets of syntax are in bytes.
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset :].decode()
    return [*lines[:first], before + new + after, *lines[last + 1 :]]


def _not_provided(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        wanted = [(alias.name, "") for alias in node.names if _is_opacus(alias.name)]
    else:
        wanted = [(node.module or "", alias.name) for alias in node.names]
    for module, name in wanted:
        below = module.removeprefix(OLD).removeprefix(".")
        whole = ".".join(part for part in (below, name) if part)
        named = below in PROVIDED and (not name or name == "*" or name in PROVIDED[below])
        if not named and whole not in PROVIDED:
            yield ".".join(part for part in (module, name) if part)
