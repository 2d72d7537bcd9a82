"""The conformance suite of gradient engines: an engine equals the loop, or refuses by name.

A new engine is held to it in a few lines::

    @pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
    def test_engine(problem):
        assert check_engine(MyEngine(), problem) is Outcome.EQUAL
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from clifftop.flow import Batch, GroupMap, Params, PerExampleGrads
from clifftop.gradients.base import (
    GradientEngine,
    PerExampleLoss,
    UnsupportedModule,
    constant_tensors,
    flat_groups,
    stack_runs,
    trainable_parameters,
)
from clifftop.gradients.instantiated import InstantiatedGrads, zero_where
from clifftop.gradients.loop import LoopEngine
from clifftop.testing.problem import Problem

TOLERANCE = 1e-10
"""Largest difference from the loop, relative to the largest entry compared, in float64."""


class Outcome(enum.Enum):
    """What an engine did with a problem, both allowed."""

    EQUAL = "equal"
    """Its results equal the loop's."""
    REFUSED = "refused"
    """It raised `UnsupportedModule` and named the layer and an engine that works, or said that none does."""


@dataclass(frozen=True, kw_only=True)
class SeededDraws:
    """Named uniform numbers for tests: run r's draws depend on its seed and the label alone."""

    seeds: tuple[int, ...]

    def uniform(self, label: str, shape: tuple[int, ...], *, offset: int = 0) -> Tensor:
        """Uniform numbers in [0, 1), ``(R, *shape)``, float64; with ``offset``, from that row on."""
        upto = (offset + shape[0], *shape[1:])
        rows = [
            np.random.default_rng([seed, zlib.crc32(label.encode())]).random(upto)[offset:]
            for seed in self.seeds
        ]
        return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem with its numbers: R initialisations of one module, a batch for each, a stream."""

    loss: PerExampleLoss
    params: Params
    batch: Batch
    draws: SeededDraws

    def run(self, r: int) -> Case:
        """Run r alone."""
        one = slice(r, r + 1)
        return Case(
            loss=replace(self.loss, constants={n: c[one] for n, c in self.loss.constants.items()}),
            params={n: p[one] for n, p in self.params.items()},
            batch=Batch(
                inputs=tuple(x[one] for x in self.batch.inputs),
                targets=tuple(y[one] for y in self.batch.targets),
                mask=self.batch.mask[one],
            ),
            draws=SeededDraws(seeds=self.draws.seeds[one]),
        )

    def first(self, size: int) -> Case:
        """The same runs on their first ``size`` examples."""
        batch = Batch(
            inputs=tuple(x[:, :size] for x in self.batch.inputs),
            targets=tuple(y[:, :size] for y in self.batch.targets),
            mask=self.batch.mask[:, :size],
        )
        return replace(self, batch=batch)

    def shared(self) -> Case:
        """The same runs, all on the first run's batch, held once."""
        shape = self.batch.mask.shape
        batch = Batch(
            inputs=tuple(x[:1].expand(shape[0], *x.shape[1:]) for x in self.batch.inputs),
            targets=tuple(y[:1].expand(shape[0], *y.shape[1:]) for y in self.batch.targets),
            mask=self.batch.mask[:1].expand(shape),
        )
        return replace(self, batch=batch)

    def gradients(self, engine: GradientEngine, groups: GroupMap | None = None) -> PerExampleGrads:
        """What ``engine`` gives, with one group for all parameters unless told."""
        groups = flat_groups(self.params) if groups is None else groups
        return engine(self.loss, self.params, self.batch, groups, self.draws)


def make_case(problem: Problem, *, num_runs: int = 3, batch_size: int = 5, seed: int = 0) -> Case:
    """Numbers for a problem in float64; every run has its own parameters, data and stream."""
    rng = torch.Generator().manual_seed(seed + zlib.crc32(problem.name.encode()))
    with torch.random.fork_rng(devices=[]):
        module = problem.build().to(torch.float64).train(problem.training)
    runs = [_redrawn(module, rng) for _ in range(num_runs)]
    inputs = [problem.inputs(rng, batch_size) for _ in range(num_runs)]
    targets = [problem.targets(rng, batch_size) for _ in range(num_runs)]
    return Case(
        loss=PerExampleLoss(
            module=module,
            criterion=problem.criterion,
            constants=stack_runs(constants for _, constants in runs) if runs[0][1] else {},
        ),
        params=stack_runs(trainable for trainable, _ in runs),
        batch=Batch(
            inputs=tuple(torch.stack(x) for x in zip(*inputs, strict=True)),
            targets=tuple(torch.stack(y) for y in zip(*targets, strict=True)),
            mask=torch.ones(num_runs, batch_size, dtype=torch.bool),
        ),
        draws=SeededDraws(seeds=tuple(range(seed, seed + num_runs))),
    )


def check_engine(
    engine: GradientEngine, problem: Problem, *, num_runs: int = 3, batch_size: int = 5, seed: int = 0
) -> Outcome:
    """Hold an engine to the loop on one problem, or to a refusal that helps.

    Compared, in float64: losses, squared norms and weighted sums, in one group and in one group a
    parameter; weights of 0, also on rows that are NaN; padding filled with NaN, one run all padding;
    each run alone; fewer examples; runs that share a batch. The engine must leave the module, the
    tensors and the global generator as they were.

    Raises:
        AssertionError: what differed, by how much.
    """
    case = make_case(problem, num_runs=num_runs, batch_size=batch_size, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    with unchanged(case):
        try:
            case.gradients(engine)
        except UnsupportedModule as refusal:
            _require_helpful(str(refusal), case.loss.module, case.params)
            return Outcome.REFUSED
        truth = case.gradients(LoopEngine())
        assert isinstance(truth, InstantiatedGrads)
        _check_groups(engine, case, truth, rng)
        _check_padding(engine, case, truth, rng)
        _check_poison(engine, case, truth, rng)
        _check_independence(engine, case, truth)
        shared = case.shared()
        _compare(shared.gradients(engine), shared.gradients(LoopEngine()), rng, "runs that share a batch")
    return Outcome.EQUAL


def check_refuses(engine: GradientEngine, problem: Problem, *, num_runs: int = 2, seed: int = 0) -> str:
    """Require that an engine refuses a problem, and leaves everything as it was; gives the message.

    Raises:
        AssertionError: the engine gave gradients, or its message names nothing.
    """
    case = make_case(problem, num_runs=num_runs, seed=seed)
    with unchanged(case):
        try:
            case.gradients(engine)
        except UnsupportedModule as refusal:
            _require_helpful(str(refusal), case.loss.module, case.params)
            return str(refusal)
    raise AssertionError(f"{engine} must refuse '{problem.name}', found that it gives gradients")


@contextmanager
def unchanged(case: Case) -> Iterator[None]:
    """Require that nothing outside the block can tell that the block ran."""
    before, tensors = _footprint(case.loss.module), _tensors(case)
    copies = {name: x.clone() for name, x in tensors.items()}
    generator = torch.get_rng_state()
    grad_enabled = torch.is_grad_enabled()
    yield
    _require(torch.equal(generator, torch.get_rng_state()), "the global generator must not move")
    _require(torch.is_grad_enabled() == grad_enabled, "grad mode must stay as it was")
    after = _footprint(case.loss.module)
    for what, value in before.items():
        _require(
            after.get(what) == value, f"{what} must stay as it was, found {after.get(what)}, was {value}"
        )
    _require(len(after) == len(before), f"nothing may be added, found {sorted(after.keys() - before.keys())}")
    for name, x in tensors.items():
        same = torch.equal(x.nan_to_num(0), copies[name].nan_to_num(0))
        _require(same and not x.requires_grad and x.grad is None, f"{name} must stay as it was")


def _check_groups(engine: GradientEngine, case: Case, truth: InstantiatedGrads, rng: torch.Generator) -> None:
    _compare(case.gradients(engine), truth, rng, "one group")
    groups = {name: i for i, name in enumerate(reversed(case.params))}
    _compare(case.gradients(engine, groups), replace(truth, groups=groups), rng, "one group a parameter")


def _check_padding(
    engine: GradientEngine, case: Case, truth: InstantiatedGrads, rng: torch.Generator
) -> None:
    """Padding is NaN where it can be; the first of several runs has nothing else."""
    mask = torch.rand(case.batch.mask.shape, generator=rng) < 0.6
    mask[:, 1] = True
    mask[0] &= len(mask) == 1
    padded = replace(case, batch=replace(_poisoned(case.batch, ~mask), mask=mask))
    rows = {name: zero_where(row, ~mask) for name, row in truth.rows.items()}
    expected = replace(truth, losses=zero_where(truth.losses, ~mask), rows=rows)
    found = padded.gradients(engine)
    _compare(found, expected, rng, "padding")
    _require(bool((found.losses[~mask] == 0).all()), "the loss of padding must be exactly 0")
    _require(bool((found.sq_norms()[~mask] == 0).all()), "the norm of padding must be exactly 0")
    _require_zero(found.weighted_sum((~mask).double().unsqueeze(-1)), "the weighted sum of padding")


def _check_poison(engine: GradientEngine, case: Case, truth: InstantiatedGrads, rng: torch.Generator) -> None:
    """A row of weight 0 adds exactly nothing, even when it is NaN."""
    where = torch.zeros_like(case.batch.mask)
    where[-1, 0] = True
    poisoned = replace(case, batch=_poisoned(case.batch, where))
    weights = torch.randn((*where.shape, 1), generator=rng, dtype=torch.float64).masked_fill(
        where.unsqueeze(-1), 0
    )
    found = poisoned.gradients(engine)
    _close_all(found.weighted_sum(weights), truth.weighted_sum(weights), "a NaN row of weight 0")
    _require_zero(found.weighted_sum(torch.zeros_like(weights)), "the weighted sum of zero weights")


def _check_independence(engine: GradientEngine, case: Case, truth: InstantiatedGrads) -> None:
    """A run does not depend on the other runs, nor an example on the others in its batch."""
    weights = torch.linspace(-1, 2, case.batch.padded_size, dtype=torch.float64).reshape(1, -1, 1)
    expected = truth.weighted_sum(weights.expand(case.batch.num_runs, -1, -1))
    for r in range(case.batch.num_runs):
        alone = case.run(r).gradients(engine)
        what = f"run {r} alone"
        _close(alone.sq_norms(), truth.sq_norms()[r : r + 1], f"squared norms of {what}")
        _close_all(alone.weighted_sum(weights), {n: s[r : r + 1] for n, s in expected.items()}, what)
    # As many examples as runs: an engine that mixes up the two axes cannot hide behind their sizes.
    for size in (1, case.batch.num_runs, case.batch.padded_size - 1):
        few = case.first(size).gradients(engine)
        _close(few.sq_norms(), truth.sq_norms()[:, :size], f"squared norms of the first {size} examples")


def _compare(found: PerExampleGrads, expected: PerExampleGrads, rng: torch.Generator, what: str) -> None:
    """Losses, norms, and sums with weights of either sign, some of them 0."""
    _close(found.losses, expected.losses, f"losses, {what}")
    norms = expected.sq_norms()
    _close(found.sq_norms(), norms, f"squared norms, {what}")
    weights = torch.randn(norms.shape, generator=rng, dtype=torch.float64)
    weights = weights.masked_fill(torch.rand(norms.shape, generator=rng) < 0.3, 0)
    _close_all(found.weighted_sum(weights), expected.weighted_sum(weights), f"weighted sum, {what}")


def _close_all(found: Params, expected: Params, what: str) -> None:
    _require(found.keys() == expected.keys(), f"{what} must name every parameter once, found {list(found)}")
    scale = max(float(x.abs().max()) for x in expected.values())
    for name, value in expected.items():
        _close(found[name], value, f"{what}, {name}", scale=scale)


def _close(found: Tensor, expected: Tensor, what: str, *, scale: float | None = None) -> None:
    _require(
        found.shape == expected.shape and found.dtype == expected.dtype,
        f"{what}: must have shape {tuple(expected.shape)} and dtype {expected.dtype}, "
        f"found {tuple(found.shape)} and {found.dtype}",
    )
    _require(not found.requires_grad, f"{what}: must be detached")
    scale = float(expected.abs().max()) if scale is None else scale
    gap = float((found - expected).abs().max())
    _require(
        gap <= TOLERANCE * scale, f"{what}: must equal the loop's, found gap={gap:.3g} at scale={scale:.3g}"
    )


def _require_zero(total: Params, what: str) -> None:
    for name, value in total.items():
        _require(
            bool((value == 0).all()), f"{what} must be exactly 0, found {float(value.abs().max())} in {name}"
        )


def _require(holds: bool, message: str) -> None:  # noqa: FBT001  reads as assert does
    if not holds:
        raise AssertionError(message)


def _require_helpful(message: str, module: nn.Module, params: Params) -> None:
    layers = [word for path, layer in module.named_modules() for word in (f"'{path}'", type(layer).__name__)]
    named = any(word in message for word in (*layers, *params, "criterion"))
    _require(named, f"a refusal must name the layer, its class or the criterion, found: {message}")
    helps = any(word in message for word in ("LoopEngine()", "VmapEngine()", "no engine can"))
    _require(helps, f"a refusal must name an engine that works or say that none can, found: {message}")


def _poisoned(batch: Batch, where: Tensor) -> Batch:
    """The batch with NaN in the marked rows of its floating-point inputs and targets."""

    def spoil(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        return x.masked_fill(where.reshape(*where.shape, *[1] * (x.dim() - 2)), float("nan"))

    return replace(batch, inputs=tuple(map(spoil, batch.inputs)), targets=tuple(map(spoil, batch.targets)))


def _redrawn(module: nn.Module, rng: torch.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One run's trainable and constant tensors: fresh values for parameters, buffers as built."""
    fresh = {
        name: 0.6 * torch.randn(p.shape, generator=rng, dtype=p.dtype)
        for name, p in module.named_parameters()
    }
    trainable = {name: fresh[name] for name in trainable_parameters(module)}
    constants = {name: fresh.get(name, value).clone() for name, value in constant_tensors(module).items()}
    return trainable, constants


def _tensors(case: Case) -> dict[str, Tensor]:
    """Every tensor that the caller gave, by a name for messages."""
    batch = {
        f"{kind} {i}": x
        for kind, tensors in (("input", case.batch.inputs), ("target", case.batch.targets))
        for i, x in enumerate(tensors)
    }
    params: Mapping[str, Tensor] = {f"parameter {name}": p for name, p in case.params.items()}
    constants = {f"constant {name}": c for name, c in case.loss.constants.items()}
    own = {f"the module's own {name}": x for name, x in _state(case.loss.module)}
    return {**batch, **params, **constants, **own, "mask": case.batch.mask}


def _state(module: nn.Module) -> Sequence[tuple[str, Tensor]]:
    return [(name, x.detach()) for name, x in module.state_dict(keep_vars=True).items()]


def _footprint(module: nn.Module) -> dict[str, object]:
    """What an engine might leave behind: hooks, flags, attributes, gradients."""
    found: dict[str, object] = {}
    for path, layer in module.named_modules():
        own = vars(layer)
        found[f"attributes of '{path}'"] = sorted(own)
        found[f"training flag of '{path}'"] = layer.training
        for name, value in own.items():
            if name.endswith("_hooks"):
                found[f"{name} of '{path}'"] = list(value)
    for name, p in module.named_parameters(remove_duplicate=False):
        found[f"parameter '{name}'"] = (id(p), p.requires_grad, p.grad is None, sorted(vars(p)))
    return found
