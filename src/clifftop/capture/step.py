"""The bare step: one private update on a batch that the caller drew, at the least cost."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop.capture.buckets import bucket
from clifftop.capture.decisive import Decisive
from clifftop.capture.function import StepFunction
from clifftop.capture.graphs import Graphs
from clifftop.capture.quick import QuickStep, Sums
from clifftop.capture.rows import QuickLookups, RowTables
from clifftop.events import DpEvent, NoOp
from clifftop.flow import Batch, ClippedSum, Params
from clifftop.gradients.base import Criterion, PerExampleLoss, constant_tensors
from clifftop.gradients.graph import GraphEngine
from clifftop.noise import Gaussian, RunStreams, Secure, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient


@final
@dataclass(kw_only=True)
class PrivateStep:
    """Clips, adds noise and updates, for loops of your own; the whole of it one graph where that can be.

    The caller draws the batches, and answers for their law: epsilon holds if they come from
    ``plan.sampler``. `clifftop.training.Trainer` draws them itself, checks the model first, and resumes.

    Attributes:
        module: any ``nn.Module`` that treats its examples independently; called ``module(*inputs)``.
        criterion: ``criterion(output, *targets)`` gives one loss an example, ``(B,)``.
        optimizer: a torch optimiser over the module's trainable parameters.
        plan: sampler, clipping, noise; its ``expected_batch_size`` divides the noisy sum.
        seed: keys the noise; by default 128 bits from the operating system.
        streams: which random streams the run draws from.
        engine: gives the per-example gradients.
        graphs: captures the step; None runs every operation through autograd.
        tables: `clifftop.tables.DeferredTables` of the module and the optimiser: trained by the rows that a
            batch reads. A step by graph owes all rows of theirs its noise until they are next read, so
            what `DeferredTables` says of releases holds: flush before a weight is read.
        steps_done: steps taken.

    Raises:
        ValueError: the plan has no expected batch size, its noise cannot be owed, or the parts do not fit.

    >>> from clifftop import Flat, Gaussian, NeighboringRelation, Poisson
    >>> plan = PrivacyPlan(
    ...     sampler=Poisson(sampling_prob=0.25),
    ...     clipping=Flat(clip_norm=1.0),
    ...     noise=Gaussian(noise_multiplier=2.0),
    ...     neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    ...     expected_batch_size=8,
    ... )
    >>> model = nn.Linear(3, 2)
    >>> step = PrivateStep(
    ...     module=model,
    ...     criterion=nn.CrossEntropyLoss(reduction="none"),
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    ...     plan=plan,
    ... )
    >>> step((torch.eye(3),), (torch.zeros(3, dtype=torch.long),))
    >>> step.event(num_examples=32)
    SelfComposed(event=PoissonSampled(sampling_prob=0.25, event=Gaussian(noise_multiplier=2.0)), count=1)
    """

    module: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    plan: PrivacyPlan
    seed: int | None = None
    streams: StreamKind = field(default_factory=Secure)
    engine: GraphEngine = field(default_factory=GraphEngine)
    graphs: Graphs | None = field(default_factory=Graphs)
    tables: RowTables | None = None
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.plan.expected_batch_size is None:
            raise ValueError(
                "a step of your own needs a public batch size, found expected_batch_size=None; "
                "set it in the plan"
            )
        by_rows = () if self.tables is None else self.tables.names
        if self.tables is not None and not isinstance(self.plan.noise, Gaussian):
            raise ValueError(
                "deferred noise must be independent from step to step, found "
                f"{type(self.plan.noise).__name__}; use Gaussian, or train the tables densely"
            )
        self._parameters = {
            n: p for n, p in self.module.named_parameters() if p.requires_grad and n not in by_rows
        }
        self.seed = secrets.randbits(128) if self.seed is None else self.seed
        self._streams: RunStreams = self.streams.open([self.seed])
        self._state = initial_state([self.plan], next(p for p in self.module.parameters() if p.requires_grad))
        self._owned = list(self._parameters.values())
        self._quick: dict[object, QuickStep | None] = {}
        self._lookups: dict[object, QuickLookups] = {}
        self._decisive = Decisive(self.module)
        self._std: Tensor | None = None
        self._std_of: Any = None
        self._sums: dict[object, list[Sums]] = {}

    def __call__(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """One step on one batch: inputs and targets ``(B, ...)``, B of any size, 0 too.

        The gradients that it leaves in the parameters are memory that the step after next writes again.

        Raises:
            UnsupportedModule: no engine can make the module private.
        """
        noisy: Sequence[Tensor] | None = None
        if self.graphs is not None and len(inputs[0]) > 1:
            noisy = self._by_graph(inputs, targets)
        if noisy is None:
            noisy = self._by_engine(inputs, targets)
        for parameter, grad in zip(self._owned, noisy, strict=True):
            parameter.grad = grad
        self._update()

    def event(self, *, num_examples: int) -> DpEvent:
        """What has been released so far, if the batches came from the plan's sampler."""
        return (
            self.plan.event(steps=self.steps_done, num_examples=num_examples) if self.steps_done else NoOp()
        )

    def _update(self) -> None:
        optimizer = self.optimizer
        if not is_plain_sgd(optimizer):
            optimizer.step()
            return
        with torch.no_grad():
            for group in optimizer.param_groups:
                own = [p for p in group["params"] if p.grad is not None]
                torch._foreach_add_(own, [p.grad for p in own], alpha=-group["lr"])

    def _by_engine(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Tensor]:
        batch, loss = _padded(inputs, targets), self._loss()
        params = {name: p.detach()[None] for name, p in self._parameters.items()}
        reading: AbstractContextManager[None] = nullcontext()
        rows: Params = {}
        if self.tables is not None:
            rows = self.tables.begin(batch)
            loss, reading = self.tables.loss(loss), self.tables.reading()
        with reading:
            noisy, self._state, _ = private_gradient(
                plan=self.plan,
                engine=self.engine,
                loss=loss,
                params=params | rows,
                batch=batch,
                state=self._state,
                streams=self._streams.at(self.steps_done),
                diagnose=False,
            )
        # Counted before the release: an interrupted step may cost privacy that it never used, not less.
        self.steps_done += 1
        if self.tables is not None:
            self.tables.apply({name: noisy.value[name] for name in rows}, float(noisy.noise_std[0]))
        return [noisy.value[name][0] for name in params]

    @torch.no_grad()
    def _by_graph(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor] | None:
        inputs, targets, mask = _filled_up(inputs, targets)
        key = (
            mask is None,
            *[(x.shape, x.stride(), x.dtype, x.device) for x in (*inputs, *targets)],
            self._decisive(self.module),
        )
        rows: Params = {}
        if self.tables is not None:
            if key not in self._lookups:
                self._forget_oldest(self._lookups)
                self._lookups[key] = QuickLookups(self.tables, inputs)
            rows = self.tables.read(inputs, self._lookups[key](inputs))
            key = (*key, *[x.shape for x in rows.values()])
        if key not in self._quick:
            self._forget_oldest(self._quick)
            self._quick[key] = self._captured(inputs, targets, rows, mask)
        quick = self._quick[key]
        if quick is None:
            return None
        parameters = [*self._owned, *rows.values()] if rows else self._owned
        keys = self.tables.keys() if self.tables is not None else {}
        sums = self._next_sums(parameters, rows)
        before = self._state.clipping
        at = self._streams.at(self.steps_done)
        finite, clipping = quick.run(parameters, keys, inputs, targets, mask, at, before, sums.parts)
        if not finite:
            return None
        self._add_noise(sums.first, before)
        if clipping is not before:
            self._state = replace(self._state, clipping=clipping)
        self.steps_done += 1  # before the release, as above
        if self.tables is not None:
            assert self._std is not None
            gradients = dict(zip(rows, sums.parts[len(self._owned) :], strict=True))
            self.tables.apply(gradients, float(self._std), noise_owed=True)
        return sums.parts[: len(self._owned)] if rows else sums.parts

    def _next_sums(self, parameters: Sequence[Tensor], rows: Params) -> Sums:
        """Buffers by turns: the parameters never hold a sum that has no noise yet."""
        key = tuple([x.shape for x in rows.values()])
        pair = self._sums.get(key)
        if pair is None:
            self._forget_oldest(self._sums)
            pair = self._sums[key] = [Sums(parameters, noisy=len(self._owned)) for _ in range(2)]
        if not self._owned or self._owned[0].grad is not pair[1].parts[0]:
            pair.reverse()
        return pair[0]

    def _forget_oldest(self, kept: dict[object, Any]) -> None:
        assert self.graphs is not None
        while len(kept) >= self.graphs.max_graphs:
            del kept[next(iter(kept))]

    def _add_noise(self, flat: Tensor, clipping: Any) -> None:
        """Noise in place for a sum of the bound that the rule's state ``clipping`` gives."""
        if self._std is None or self._std_of is not clipping:
            # What noise to add changes only with the rule's state.
            self._std_of = clipping
            assert self.plan.expected_batch_size is not None
            scale = self.plan.clipping.noise_scale_of(clipping) / self.plan.expected_batch_size
            self._std = self.plan.noise.independent_std(scale, self._state.noise)
            if self._std is None:
                bound = self.plan.clipping.norm_bound(clipping) / self.plan.expected_batch_size
                total = ClippedSum(value={_ALL: flat}, norm_bound=bound, noise_scale=scale)
                at = self._streams.at(self.steps_done)
                noisy, noise = self.plan.noise(total, self._state.noise, at)
                self._state = replace(self._state, noise=noise)
                flat.copy_(noisy.value[_ALL])
                return
        self._streams.add_into(self.steps_done, flat, self._std)

    def _captured(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor], rows: Params, mask: Tensor | None
    ) -> QuickStep | None:
        if len({p.dtype for p in (*self._owned, *rows.values())}) > 1:
            return None
        assert self.graphs is not None
        assert self.plan.expected_batch_size is not None
        batch, loss = _whole(inputs, targets), self._loss()
        reading: AbstractContextManager[None] = nullcontext()
        if self.tables is not None:
            loss, reading = self.tables.loss(loss), self.tables.reading()
        step = StepFunction(
            plan=self.plan,
            loss=loss,
            params={name: p.detach()[None] for name, p in (self._parameters | rows).items()},
            batch=batch,
            mask=mask,
            state=self._state.clipping,
            diagnose=False,
            scale=1 / self.plan.expected_batch_size,
            sums_only=True,
        )
        with reading:
            known, graph = self.graphs.graph(step, self.engine, self._streams.at(self.steps_done))
        return None if graph is None else QuickStep(step, known, graph, self.module)

    def _loss(self) -> PerExampleLoss:
        constants = {name: value[None] for name, value in constant_tensors(self.module).items()}
        return PerExampleLoss(module=self.module, criterion=self.criterion, constants=constants)


_ALL = "all"


def is_plain_sgd(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step is ``p -= lr * p.grad`` and nothing else: no momentum, decay, hooks or wrappers."""
    if type(optimizer) is not torch.optim.SGD or "step" in vars(optimizer):
        return False
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:  # noqa: SLF001
        return False
    return not any(
        group["momentum"] or group["weight_decay"] or group["maximize"] or isinstance(group["lr"], Tensor)
        for group in optimizer.param_groups
    )


def _whole(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Batch:
    size = len(inputs[0])
    return Batch(
        inputs=tuple(x[None] for x in inputs),
        targets=tuple(y[None] for y in targets),
        mask=torch.ones(1, size, dtype=torch.bool, device=inputs[0].device),
    )


def _filled_up(
    inputs: Sequence[Tensor], targets: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor], Tensor | None]:
    """The batch with its first rows again, up to one of a few sizes, and which rows count if not all do."""
    size = len(inputs[0])
    longer = bucket(size)
    if longer == size:
        return inputs, targets, None
    mask = (torch.arange(longer, device=inputs[0].device) < size)[None]
    filled = [torch.cat([x, x[:1].expand(longer - size, *x.shape[1:])]) for x in (*inputs, *targets)]
    return filled[: len(inputs)], filled[len(inputs) :], mask


def _padded(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Batch:
    """The batch; an empty one as a row of zeros that does not count."""
    if len(inputs[0]):
        return _whole(inputs, targets)
    rows = [x.new_zeros((1, *x.shape[1:])) for x in (*inputs, *targets)]
    batch = _whole(rows[: len(inputs)], rows[len(inputs) :])
    return replace(batch, mask=torch.zeros_like(batch.mask))
