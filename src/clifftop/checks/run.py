"""All checks in order, and the form in which a trainer runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.checks.forward import first_pass_findings, state_findings, with_dropout
from clifftop.checks.independence import independence_findings
from clifftop.checks.oracle import engine_findings
from clifftop.checks.ownership import criterion_findings, optimizer_findings
from clifftop.checks.reach import reach_findings
from clifftop.checks.report import Findings, Report, make_report
from clifftop.checks.rules import rules_of
from clifftop.checks.static import (
    data_findings,
    device_findings,
    layer_findings,
    parameter_findings,
    plan_findings,
)
from clifftop.checks.subject import Rows, Subject, in_double, subject_of, untouched
from clifftop.flow import DrawStream
from clifftop.gradients import Criterion, GradientEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.randomness import quiet_checkpoints
from clifftop.noise.streams import generator
from clifftop.plan import PrivacyPlan


@final
@dataclass(frozen=True)
class _CheckDraws:
    """Uniform numbers for the model's dropouts while it is checked; the same at every check."""

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), ``(1, *shape)``, float32."""
        upto = (offset + shape[0], *shape[1:])
        drawn = generator(0, f"checks/{label}").random(upto, dtype=np.float32)
        return torch.from_numpy(drawn[offset:])[None]


_PASSES = 20
"""Passes of the float64 copy that the checks need, about."""


class Checks(ABC):
    """What a trainer looks at once, before its first step."""

    @abstractmethod
    def __call__(
        self,
        *,
        module: nn.Module,
        criterion: Criterion,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        optimizer: torch.optim.Optimizer | None = None,
        engine: GradientEngine | None = None,
        plan: PrivacyPlan | None = None,
        draws: DrawStream | None = None,
        num_examples: int | None = None,
    ) -> Report | None:
        """Look; arguments as in `check`.

        Raises:
            NotPrivate: a problem, in one line.
        """


@final
@dataclass(frozen=True, kw_only=True)
class FirstExamples(Checks):
    """Every check, on the first few examples; the trainer's default.

    Attributes:
        max_examples: how many examples are looked at.
        engine_examples: how many of them the engine is compared with the loop on.
        max_seconds: what the slow parts may take: the float64 copy is left out where its passes would take
            longer, and the loop begins no further example after this long (one is always compared).
    """

    max_examples: int = 5
    engine_examples: int = 3
    max_seconds: float = 10.0

    def __post_init__(self) -> None:
        if min(self.max_examples, self.engine_examples) < 1:
            raise ValueError(
                "checks need an example, found "
                f"max_examples={self.max_examples} and engine_examples={self.engine_examples}; pass at "
                "least 1"
            )

    def __call__(
        self,
        *,
        module: nn.Module,
        criterion: Criterion,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        optimizer: torch.optim.Optimizer | None = None,
        engine: GradientEngine | None = None,
        plan: PrivacyPlan | None = None,
        draws: DrawStream | None = None,
        num_examples: int | None = None,
    ) -> Report:
        """Run every check, and raise its first problem."""
        report = check(
            module=module,
            criterion=criterion,
            inputs=inputs,
            targets=targets,
            optimizer=optimizer,
            engine=engine,
            plan=plan,
            draws=draws,
            num_examples=num_examples,
            limits=self,
        )
        report.require()
        return report


@final
@dataclass(frozen=True)
class NoChecks(Checks):
    """Nothing is looked at: for a model that was checked before, or where the examples may not be read."""

    def __call__(
        self,
        *,
        module: nn.Module,
        criterion: Criterion,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        optimizer: torch.optim.Optimizer | None = None,
        engine: GradientEngine | None = None,
        plan: PrivacyPlan | None = None,
        draws: DrawStream | None = None,
        num_examples: int | None = None,
    ) -> None:
        """Nothing."""
        del module, criterion, inputs, targets, optimizer, engine, plan, draws, num_examples


def check(
    *,
    module: nn.Module,
    criterion: Criterion,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    optimizer: torch.optim.Optimizer | None = None,
    engine: GradientEngine | None = None,
    plan: PrivacyPlan | None = None,
    draws: DrawStream | None = None,
    num_examples: int | None = None,
    limits: FirstExamples | None = None,
) -> Report:
    """Say whether a model can be trained privately as it is, and what stands in the way.

    Module, buffers, examples and global generators are left as they were. An error of the model's own
    on the given examples is raised as it is.

    Args:
        module: the model, in the mode that it will be trained in.
        criterion: ``criterion(output, *targets)`` gives one loss an example, ``(B,)``.
        inputs: examples, each tensor ``(N, ...)``; the first ``limits.max_examples`` are read.
        targets: their targets, each ``(N, ...)``.
        optimizer: None leaves out what concerns it.
        engine: the engine that will train, held to the loop; None for `GraphEngine`.
        plan: None leaves out what concerns it.
        draws: feeds dropout; by default a stream of the checks' own.
        num_examples: size of the data set, for the plan; N unless given.
        limits: how much to look at.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    >>> loss = nn.CrossEntropyLoss(reduction="none")
    >>> report = check(
    ...     module=model,
    ...     criterion=loss,
    ...     inputs=[torch.randn(8, 2)],
    ...     targets=[torch.zeros(8, dtype=torch.long)],
    ... )
    >>> report.ok
    False
    >>> report.require()
    Traceback (most recent call last):
    clifftop.checks.report.NotPrivate: examples must not share statistics, found BatchNorm1d at '1', ...
    """
    limits = FirstExamples() if limits is None else limits
    engine = GraphEngine() if engine is None else engine
    lengths = {len(x) for x in (*inputs, *targets)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "inputs and targets must have the same number of rows, at least one, found "
            f"lengths={sorted(lengths)}; pass the examples on the first axis of every tensor"
        )
    size = min(lengths.pop(), limits.max_examples)
    rows = Rows(inputs=tuple(x[:size] for x in inputs), targets=tuple(y[:size] for y in targets))
    unused: tuple[str, ...] = ()
    by: Mapping[str, str] = {}
    found = _static(module, rows)
    if not found.problems:
        subject = subject_of(module, criterion, rows, _CheckDraws() if draws is None else draws)
        with untouched(module, criterion), quiet_checkpoints():
            dynamic, unused = _dynamic(subject, engine, limits)
            by = {} if dynamic.problems else rules_of(subject, engine)
        found += dynamic
    found += criterion_findings(module, criterion)
    if optimizer is not None:
        found += optimizer_findings(module, optimizer)
    if plan is not None:
        found += plan_findings(plan, len(inputs[0]) if num_examples is None else num_examples)
    return make_report(module, found, engine=type(engine).__name__, by=by, unused=unused, size=size)


def _static(module: nn.Module, rows: Rows) -> Findings:
    found = parameter_findings(module)
    for look in (lambda: device_findings(module, rows), lambda: layer_findings(module)):
        if not found.problems:
            found += look()
    return found if found.problems else found + data_findings(rows)


def _dynamic(
    subject: Subject, engine: GradientEngine, limits: FirstExamples
) -> tuple[Findings, tuple[str, ...]]:
    """Passes of the model; each check needs what the one before established."""
    found = first_pass_findings(subject)
    if found.problems:
        return found, ()
    subject, random = with_dropout(subject, subject.draws)
    if random.problems:
        return random, ()
    found = state_findings(subject)
    if found.problems:
        return found, ()
    wide, seconds = in_double(subject)
    slow = _PASSES * seconds > limits.max_seconds
    mixed = independence_findings(subject if slow else wide)
    if slow and mixed.problems:
        mixed = independence_findings(wide)  # float32 may have rounded more than is usual
    found += mixed
    reached, unused = reach_findings(subject)
    found += reached
    if found.problems:
        return found, unused
    if slow or wide is subject:
        return found + _engine(subject, engine, limits, limits.engine_examples), unused
    # In its own precision the engine must run; in float64 it must be exact.
    found += _engine(subject, engine, limits, 1)
    if not found.problems:
        found += _engine(wide, _apart(engine, subject, wide), limits, limits.engine_examples)
    return found, unused


def _apart(engine: GradientEngine, subject: Subject, wide: Subject) -> GradientEngine:
    """The engine for the float64 copy: what an engine keeps of a model must not outlive the copy."""
    if isinstance(engine, GraphEngine):
        # Studied once: the comparison with the loop tells whether the plan fits the copy.
        mine, copied = (({n: p[None] for n, p in s.params.items()}, s.rows.batch()) for s in (subject, wide))
        known = engine.study(subject.loss, *mine)
        if known.plan is not None:
            return engine.for_copy(known, wide.loss, *copied)
    return replace(engine) if is_dataclass(engine) and not isinstance(engine, type) else engine


def _engine(subject: Subject, engine: GradientEngine, limits: FirstExamples, examples: int) -> Findings:
    return engine_findings(
        subject, engine, max_examples=examples, max_seconds=limits.max_seconds, together=examples > 1
    )


__all__ = ["Checks", "FirstExamples", "NoChecks", "check"]
