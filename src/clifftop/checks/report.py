"""What the checks found: one row a parameter, problems that stop training, warnings that do not."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class NotPrivate(ValueError):
    """The checks found a model, loss or optimiser that cannot be trained privately as it is; one line."""


class Status(enum.Enum):
    """What training will do with a parameter."""

    PROTECTED = "protected"
    """Trained on noisy sums of clipped gradients."""
    UNUSED = "unused"
    """As protected, but its gradient is zero for every example that was looked at: it gets noise alone."""
    FROZEN = "frozen"
    """Not trained."""
    REFUSED = "refused"
    """Part of a problem: no step may be taken."""


@final
@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One parameter of the module; tied parameters are one row.

    Attributes:
        name: its first name in the module.
        tied: its other names.
        shape: its shape.
        dtype: its number type, as torch writes it without ``torch.``.
        status: what training will do with it.
        by: the engine, and where the engine says so the rule, that gives its per-example gradients.
    """

    name: str
    tied: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    status: Status
    by: str


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: the check's name, such as ``"independence"``.
        message: one line: what must hold, what was found, what to do.
        parameters: the names that it concerns; None for the model as a whole.
    """

    check: str
    message: str
    parameters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        # A message quotes what torch says, which may be several lines.
        object.__setattr__(self, "message", " ".join(self.message.split()))


@final
@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one check found; ``+`` puts two together."""

    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            problems=(*self.problems, *other.problems), warnings=(*self.warnings, *other.warnings)
        )


def problem(check: str, message: str, parameters: Iterable[str] | None = None) -> Findings:
    """One problem."""
    names = None if parameters is None else tuple(parameters)
    return Findings(problems=(Finding(check=check, message=message, parameters=names),))


def warning(check: str, message: str, parameters: Iterable[str] = ()) -> Findings:
    """One warning."""
    return Findings(warnings=(Finding(check=check, message=message, parameters=tuple(parameters)),))


@final
@dataclass(frozen=True, kw_only=True)
class Report:
    """Every parameter, and everything that the checks found.

    The checks read real examples, so a report is not private: it is for whoever holds the data.

    Attributes:
        rows: one a parameter, in the module's order.
        problems: what must change before a step is taken.
        warnings: what is worth a look.
        engine: the engine that was checked.
        num_examples: how many examples the checks looked at.
    """

    rows: tuple[ParameterRow, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    engine: str
    num_examples: int

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def require(self) -> None:
        """Do nothing where there is no problem.

        Raises:
            NotPrivate: the first problem, in one line.
        """
        if self.problems:
            raise NotPrivate(self.problems[0].message)

    def to_json(self) -> dict[str, Any]:
        """The report as dictionaries, lists, text and numbers."""
        return {
            "engine": self.engine,
            "num_examples": self.num_examples,
            "problems": [_finding_json(f) for f in self.problems],
            "warnings": [_finding_json(f) for f in self.warnings],
            "parameters": [
                {
                    "name": row.name,
                    "tied": list(row.tied),
                    "shape": list(row.shape),
                    "dtype": row.dtype,
                    "status": row.status.value,
                    "by": row.by,
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        header = ("parameter", "shape", "dtype", "status", "by")
        table = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(header))]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in table]
        verdict = "no problem found" if self.ok else f"{len(self.problems)} problem(s) found"
        lines += ["", f"{verdict}; {self.engine} on {self.num_examples} example(s)"]
        lines += [f"problem ({f.check}): {f.message}" for f in self.problems]
        lines += [f"warning ({f.check}): {f.message}" for f in self.warnings]
        return "\n".join(lines)


def make_report(
    module: nn.Module,
    findings: Findings,
    *,
    engine: str,
    by: Mapping[str, str],
    unused: Collection[str],
    size: int,
) -> Report:
    """The report of ``findings``; ``by`` names the rule of a parameter where one is known."""
    blamed: set[str] = set()
    whole = any(f.parameters is None for f in findings.problems)
    for finding in findings.problems:
        blamed.update(finding.parameters or ())
    rows: list[ParameterRow] = []
    for name, tied, parameter in named_once(module):
        status = Status.UNUSED if name in unused else Status.PROTECTED
        if name in blamed or (whole and parameter.requires_grad):
            status = Status.REFUSED
        elif not parameter.requires_grad:
            status = Status.FROZEN
        given = status in {Status.PROTECTED, Status.UNUSED}
        rows.append(
            ParameterRow(
                name=name,
                tied=tied,
                shape=() if is_lazy(parameter) else tuple(parameter.shape),
                dtype=str(parameter.dtype).removeprefix("torch."),
                status=status,
                by=by.get(name, engine) if given else "",
            )
        )
    return Report(
        rows=tuple(rows),
        problems=findings.problems,
        warnings=findings.warnings,
        engine=engine,
        num_examples=size,
    )


def named_once(module: nn.Module) -> Sequence[tuple[str, tuple[str, ...], Tensor]]:
    """Each parameter's first name, its other names, and itself.

    >>> layer = nn.Linear(2, 2)
    >>> [(name, tied) for name, tied, _ in named_once(nn.Sequential(layer, layer))]
    [('0.weight', ('1.weight',)), ('0.bias', ('1.bias',))]
    """
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        for name, parameter in layer.named_parameters(path, recurse=False, remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
            tensors[id(parameter)] = parameter
    return [(all_names[0], tuple(all_names[1:]), tensors[key]) for key, all_names in names.items()]


def listed(names: Collection[str], *, most: int = 3) -> str:
    """Names for a message, the first few of them.

    >>> listed(["a", "b", "c", "d"])
    "'a', 'b', 'c' and 1 more"
    """
    shown = ", ".join(f"'{name}'" for name in list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _finding_json(finding: Finding) -> dict[str, Any]:
    names = None if finding.parameters is None else list(finding.parameters)
    return {"check": finding.check, "message": finding.message, "parameters": names}


def _cells(row: ParameterRow) -> tuple[str, str, str, str, str]:
    name = f"{row.name} (tied: {', '.join(row.tied)})" if row.tied else row.name
    return name, "x".join(map(str, row.shape)) or "-", row.dtype, row.status.value, row.by or "-"
