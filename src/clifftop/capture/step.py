"""The bare step: one private update on a batch that the caller drew, at the least cost."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from clifftop.capture.function import StepFunction, tensors_of, with_tensors
from clifftop.capture.graphs import Graphs
from clifftop.capture.tracing import Captured
from clifftop.events import DpEvent, NoOp
from clifftop.flow import Batch, ClippedSum, DrawStream
from clifftop.gradients.base import Criterion, PerExampleLoss, constant_tensors
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.graph.engine import Known
from clifftop.gradients.randomness import draw_uniforms
from clifftop.noise import RunStreams, Secure, StreamKind
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
        steps_done: steps taken.

    Raises:
        ValueError: the plan has no expected batch size, or the parts do not fit.

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
    PoissonSampled(event=Gaussian(noise_multiplier=2.0), sampling_prob=0.25)
    """

    module: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    plan: PrivacyPlan
    seed: int | None = None
    streams: StreamKind = field(default_factory=Secure)
    engine: GraphEngine = field(default_factory=GraphEngine)
    graphs: Graphs | None = field(default_factory=Graphs)
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.plan.expected_batch_size is None:
            raise ValueError(
                "a step of your own needs a public batch size, found expected_batch_size=None; "
                "set it in the plan"
            )
        self._parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.seed = secrets.randbits(128) if self.seed is None else self.seed
        self._streams: RunStreams = self.streams.open([self.seed])
        self._state = initial_state([self.plan], next(iter(self._parameters.values())))
        self._quick: dict[object, _Quick | None] = {}
        self._decisive = _Decisive(self.module)
        self._std: Tensor | None = None

    def __call__(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """One step on one batch: inputs and targets ``(B, ...)``, B of any size, 0 too.

        Raises:
            UnsupportedModule: no engine can make the module private.
        """
        noisy = self._by_graph(inputs, targets) if self.graphs is not None else None
        if noisy is None:
            noisy = self._by_engine(inputs, targets)
        # Counted before the release: an interrupted step may cost privacy that it never used, not less.
        self.steps_done += 1
        for name, parameter in self._parameters.items():
            parameter.grad = noisy[name]
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

    def _by_engine(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Mapping[str, Tensor]:
        noisy, self._state, _ = private_gradient(
            plan=self.plan,
            engine=self.engine,
            loss=self._loss(),
            params={name: p.detach()[None] for name, p in self._parameters.items()},
            batch=_padded(inputs, targets),
            state=self._state,
            streams=self._streams.at(self.steps_done),
            diagnose=False,
        )
        return {name: value[0] for name, value in noisy.value.items()}

    def _by_graph(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Mapping[str, Tensor] | None:
        if len(inputs[0]) < 2:
            return None
        key = (*((x.shape, x.dtype, x.device) for x in (*inputs, *targets)), self._decisive())
        if key not in self._quick:
            self._quick[key] = self._captured(inputs, targets)
        quick = self._quick[key]
        at = self._streams.at(self.steps_done)
        found = None if quick is None else quick.run(inputs, targets, at, self._state.clipping)
        if quick is None or found is None:
            return None
        clipped, clipping = found
        flat, bound = clipped
        if clipping is not self._state.clipping or self._std is None:
            # What noise to add changes only with the rule's state.
            self._std = self.plan.noise.independent_std(bound, self._state.noise)
        if self._std is not None:
            self._streams.add_into(self.steps_done, flat, self._std)
        else:
            total = ClippedSum(value={_ALL: flat}, norm_bound=bound)
            noisy, noise = self.plan.noise(total, self._state.noise, at)
            self._state, flat = replace(self._state, noise=noise), noisy.value[_ALL]
        self._state = replace(self._state, clipping=clipping)
        return quick.parts(flat[0])

    def _captured(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> _Quick | None:
        if len({p.dtype for p in self._parameters.values()}) > 1:
            return None
        assert self.graphs is not None
        assert self.plan.expected_batch_size is not None
        batch = _whole(inputs, targets)
        step = StepFunction(
            plan=self.plan,
            loss=self._loss(),
            params={name: p.detach()[None] for name, p in self._parameters.items()},
            batch=batch,
            mask=None,
            state=self._state.clipping,
            diagnose=False,
            scale=1 / self.plan.expected_batch_size,
        )
        known, graph = self.graphs.graph(step, self.engine, self._streams.at(self.steps_done))
        return None if graph is None else _Quick(step, known, graph, self._parameters, self.module)

    def _loss(self) -> PerExampleLoss:
        constants = {name: value[None] for name, value in constant_tensors(self.module).items()}
        return PerExampleLoss(module=self.module, criterion=self.criterion, constants=constants)


_ALL = "all"


@final
class _Quick:
    """A captured step with its arguments at hand."""

    def __init__(
        self,
        step: StepFunction,
        known: Known,
        graph: Captured,
        parameters: Mapping[str, Tensor],
        module: nn.Module,
    ) -> None:
        self._graph, self._draws, self._size = graph, known.draws, step.batch.padded_size
        self._parameters, self._scale = parameters, step.scale or 1.0
        self._constants = list(step.loss.constants)
        self._module = module
        self._sizes = [p.numel() for p in parameters.values()]

    def run(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor], streams: DrawStream, state: Any
    ) -> tuple[tuple[Tensor, Tensor], Any] | None:
        """The clipped sum ``(1, P)`` over the expected batch size, and its bound.

        None if a number is not finite: then rows must be looked at, which a graph does not.
        """
        uniforms = draw_uniforms(self._draws, self._size, streams) if self._draws else ()
        constants = constant_tensors(self._module) if self._constants else {}
        found = self._graph(
            [
                *self._parameters.values(),
                *(constants[name].clone() for name in self._constants),
                *inputs,
                *targets,
                *(u[0] for u in uniforms),
                *tensors_of(state),
            ]
        )
        count = len(self._sizes)
        norm_bound, total = found[count], found[count + 4]
        if not math.isfinite(total.item()):
            return None
        flat = torch.cat([part.reshape(-1) for part in found[:count]])
        return (flat[None], norm_bound * self._scale), with_tensors(state, found[count + 5 :])

    def parts(self, flat: Tensor) -> dict[str, Tensor]:
        """The parameters' own parts of a flat tensor, as views."""
        parts = flat.split_with_sizes(self._sizes)
        return {name: x.view(p.shape) for (name, p), x in zip(self._parameters.items(), parts, strict=True)}


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


@final
class _Decisive:
    """What a module's Python code may decide by: modes, and attributes that are plain values."""

    def __init__(self, module: nn.Module) -> None:
        self._slots = [
            (own, name)
            for own in (vars(layer) for layer in module.modules())
            for name, value in own.items()
            if isinstance(value, (bool, int, float, str, tuple))
        ]

    def __call__(self) -> tuple[object, ...]:
        """Their values now."""
        return tuple([own.get(name) for own, name in self._slots])


def _whole(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Batch:
    size = len(inputs[0])
    return Batch(
        inputs=tuple(x[None] for x in inputs),
        targets=tuple(y[None] for y in targets),
        mask=torch.ones(1, size, dtype=torch.bool, device=inputs[0].device),
    )


def _padded(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Batch:
    """The batch; an empty one as a row of zeros that does not count."""
    if len(inputs[0]):
        return _whole(inputs, targets)
    rows = [x.new_zeros((1, *x.shape[1:])) for x in (*inputs, *targets)]
    batch = _whole(rows[: len(inputs)], rows[len(inputs) :])
    return replace(batch, mask=torch.zeros_like(batch.mask))
