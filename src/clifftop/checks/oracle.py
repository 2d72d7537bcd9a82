"""The engine against the oracle, one example at a time, on a few real examples."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.checks.forward import tolerance_of
from clifftop.checks.report import Findings, listed, problem, warning
from clifftop.checks.subject import FAILURES, Rows, Subject
from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads
from clifftop.gradients import GradientEngine, LoopEngine, UnsupportedModule, VmapEngine
from clifftop.gradients.base import failed_layer, flat_groups

_SLACK = 10.0
"""Gradients may differ by this many times what losses may: a backward pass is longer than a forward."""


@final
@dataclass(frozen=True, kw_only=True)
class _Truth:
    """What the loop gives for some examples, at float64 weights of either sign.

    Attributes:
        rows: the examples.
        losses: ``(B,)``.
        sq_norms: ``(B, P)`` squared norms, example by parameter, float64.
        weights: ``(B, P)`` the weights of `sums`.
        sums: the weighted sum of each parameter's gradients.
        tolerance: relative, from the precision that the model computes in.
    """

    rows: Rows
    losses: Tensor
    sq_norms: Tensor
    weights: Tensor
    sums: Mapping[str, Tensor]
    tolerance: float


@final
@dataclass(frozen=True, kw_only=True)
class _OneRow:
    """The draws of one example of a batch, for the loop to use alone."""

    draws: DrawStream
    row: int

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Row ``row`` of what the whole batch draws, ``(R, 1, ...)``."""
        return self.draws.uniform(label, (1, *shape[1:]), offset=self.row + offset)


def engine_findings(
    subject: Subject, engine: GradientEngine, *, max_examples: int, max_seconds: float, together: bool
) -> Findings:
    """Compare losses, norms and weighted sums of ``engine`` with the loop's.

    Args:
        subject: the model and its examples.
        engine: the engine that training will use.
        max_examples: how many examples to compare at most.
        max_seconds: no further example is begun after this long.
        together: whether to compare norms over all parameters too, by one more call of the engine.
    """
    if isinstance(engine, LoopEngine):
        return Findings()
    try:
        truth = _truth(subject, max_examples=max_examples, max_seconds=max_seconds)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        return problem("engine", _refusal(subject, error, "LoopEngine", "no engine can differentiate it"))
    if not bool(torch.isfinite(truth.sq_norms).all()):
        return _not_finite(subject, truth)
    try:
        gap = _gap(subject, engine, truth, together=together)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        remedy = f"use {_working(subject, engine, truth)}"
        return problem("engine", _refusal(subject, error, type(engine).__name__, remedy))
    if gap is None:
        return Findings()
    name, what = gap
    return problem(
        "engine",
        f"{type(engine).__name__} must give each example's own gradient, found {what} that differs from "
        f"the loop's by more than {truth.tolerance:.0e} of it; use {_working(subject, engine, truth)}",
        None if name is None else (name,),
    )


def _working(subject: Subject, engine: GradientEngine, truth: _Truth) -> str:
    """An engine that gives what the loop gives, for the message."""
    if not isinstance(engine, VmapEngine):
        try:
            if _gap(subject, VmapEngine(), truth, together=True) is None:
                return "VmapEngine(), which agrees with the loop here"
        except torch.OutOfMemoryError:
            raise
        except FAILURES:
            pass
    return "LoopEngine(), which runs one example at a time"


def _refusal(subject: Subject, error: BaseException, engine: str, remedy: str) -> str:
    """An engine's own refusal, or what made it fail."""
    if isinstance(error, UnsupportedModule):
        return str(error)
    where = failed_layer(subject.loss.module, error)
    return f"{engine} must run on the model, found that it fails in {where}; {remedy}"


def _not_finite(subject: Subject, truth: _Truth) -> Findings:
    finite = torch.isfinite(truth.sq_norms).all(dim=0).tolist()
    names = [name for name, ok in zip(subject.params, finite, strict=True) if not ok]
    return warning(
        "finite",
        f"per-example gradients should be finite, found some of {listed(names)} that are not although "
        "the losses are, so those examples would add nothing; look for sqrt, norm or division at 0",
        names,
    )


def _truth(subject: Subject, *, max_examples: int, max_seconds: float) -> _Truth:
    """One example after another, so that no more than one gradient is in memory beside the sums."""
    rows = subject.rows.take(range(min(max_examples, subject.rows.size)))
    params = {name: p[None] for name, p in subject.params.items()}
    groups = _one_group_each(params)
    rng = torch.Generator().manual_seed(1)
    weights = torch.randn((rows.size, len(groups)), generator=rng, dtype=torch.float64)
    losses: list[Tensor] = []
    norms: list[Tensor] = []
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in subject.params.items()}
    started = time.monotonic()
    for b in range(rows.size):
        if losses and time.monotonic() - started > max_seconds:
            break
        draws = _OneRow(draws=subject.draws, row=b)
        grads = LoopEngine()(subject.loss, params, rows.take([b]).batch(), groups, draws)
        losses.append(grads.losses[0])
        norms.append(grads.sq_norms()[0].double().cpu())
        for name, g in groups.items():
            sums[name] += float(weights[b, g]) * grads.rows[name][0, 0].double()
    return _Truth(
        rows=rows.take(range(len(losses))),
        losses=torch.cat(losses),
        sq_norms=torch.cat(norms),
        weights=weights[: len(losses)],
        sums=sums,
        tolerance=_SLACK * tolerance_of(subject.precision()),
    )


def _gap(
    subject: Subject, engine: GradientEngine, truth: _Truth, *, together: bool
) -> tuple[str | None, str] | None:
    """The first thing in which ``engine`` differs, and the parameter in which it does; None if equal."""
    params = {name: p[None] for name, p in subject.params.items()}
    batch = _padded(truth.rows)
    groups = _one_group_each(params)
    apart = engine(subject.loss, params, batch, groups, subject.draws)
    size = truth.rows.size
    scale = truth.losses.abs().max()
    if _beyond(apart.losses[0, :size] - truth.losses, truth.tolerance * scale):
        return None, "a loss"
    total = truth.sq_norms.sum(dim=1)
    norms = apart.sq_norms()[0].double().cpu()
    for name, g in groups.items():
        if _beyond(norms[:size, g] - truth.sq_norms[:, g], truth.tolerance * total):
            return name, f"a norm of parameter '{name}'"
    if bool((norms[size:] != 0).any()):
        return None, "a norm of padding, which must be 0,"
    if together:
        whole = engine(subject.loss, params, batch, flat_groups(params), subject.draws)
        if _beyond(whole.sq_norms()[0, :size, 0].double().cpu() - total, truth.tolerance * total):
            return None, "a norm over all parameters"
    return _gap_of_sums(apart, params, truth, groups)


def _gap_of_sums(
    grads: PerExampleGrads, params: Params, truth: _Truth, groups: GroupMap
) -> tuple[str | None, str] | None:
    """Padding has a weight too: it must add nothing."""
    weights = torch.cat([truth.weights, torch.ones_like(truth.weights[:1])])[None]
    like = next(iter(params.values()))
    found = grads.weighted_sum(weights.to(device=like.device, dtype=grads.sq_norms().dtype))
    scale = (truth.weights.abs().amax(dim=1) * truth.sq_norms.sum(dim=1).sqrt()).sum()
    for name in groups:
        gap = (found[name][0].double() - truth.sums[name]).norm().cpu()
        if _beyond(gap, truth.tolerance * scale):
            return name, f"a weighted sum of parameter '{name}'"
    return None


def _padded(rows: Rows) -> Batch:
    """The examples and one row of padding."""
    batch = rows.take([*range(rows.size), 0]).batch()
    batch.mask[0, -1] = False
    return batch


def _one_group_each(params: Params) -> dict[str, int]:
    return {name: i for i, name in enumerate(params)}


def _beyond(gap: Tensor, most: Tensor) -> bool:
    # Not "greater": a NaN is beyond everything.
    return not bool((gap.abs() <= most.to(gap)).all())
