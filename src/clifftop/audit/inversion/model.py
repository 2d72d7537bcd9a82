"""What is attacked: the gradient that one private step releases, and all that an attacker knows beside it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.flow import Batch
from clifftop.gradients import Criterion, GradientEngine, PerExampleLoss
from clifftop.gradients.base import call_with, constant_tensors, num_groups, trainable_parameters
from clifftop.gradients.graph import GraphEngine
from clifftop.noise import Gaussian, Keyed, StreamKind
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.sampling import Poisson

Gradient = dict[str, Tensor]
"""Parameter name to the gradient of that parameter, in its own shape."""


@final
@dataclass(frozen=True, kw_only=True)
class Release:
    """What one private step hands out, and what is public about it.

    Attributes:
        gradient: the noisy clipped sum over the batch size.
        plan: clipping, noise and divisor, which are public.
        size: B, how many examples are in it, which the attacker is taken to know.
        noise_std: standard deviation of the noise in each number of ``gradient``.
    """

    gradient: Gradient
    plan: PrivacyPlan
    size: int
    noise_std: float

    def flat(self) -> Tensor:
        """All numbers, ``(P,)``, in the order of the parameters."""
        return torch.cat([value.flatten() for value in self.gradient.values()])


@final
@dataclass(frozen=True, kw_only=True)
class AttackedModel:
    """The model as an attacker knows it, weights and all, and the form of one example.

    A copy of the module is kept, with its dropout off.

    Attributes:
        module: called as ``module(inputs)``.
        criterion: ``criterion(output, targets) -> (B,)``.
        input_shape: of one example.
        num_classes: K, where targets are class numbers that an attacker may have to find; else None.

    Errors: ValueError where the module has no parameter that is trained.
    """

    module: nn.Module
    criterion: Criterion
    input_shape: tuple[int, ...]
    num_classes: int | None = None
    loss: PerExampleLoss = field(init=False, repr=False)

    def __post_init__(self) -> None:
        module = copy.deepcopy(self.module)
        for layer in module.modules():
            if isinstance(layer, _DropoutNd):
                layer.eval()
        if not trainable_parameters(module):
            raise ValueError(
                f"a gradient needs a parameter, found none that is trained in {type(module).__name__}; "
                "set requires_grad"
            )
        constants = {name: value[None] for name, value in constant_tensors(module).items()}
        loss = PerExampleLoss(module=module, criterion=self.criterion, constants=constants)
        object.__setattr__(self, "module", module)
        object.__setattr__(self, "loss", loss)

    @property
    def parameters(self) -> Gradient:
        """The trained parameters, detached."""
        return trainable_parameters(self.module)

    @property
    def like(self) -> Tensor:
        """A tensor with the parameters' dtype and device."""
        return next(iter(self.parameters.values()))

    def gradients(
        self, inputs: Tensor, targets: Tensor, plan: PrivacyPlan, *, keeps_graph: bool = True
    ) -> Gradient:
        """What a step would release of these examples without its noise, as a function that can be derived.

        Per-example gradients by autograd, weighted by the plan's own clipping rule, summed, over its
        divisor. With ``keeps_graph`` the result can be derived by inputs and targets.

        Args:
            inputs: ``(B, *input_shape)``.
            targets: ``(B,)`` class numbers, or any target of the criterion; ``(B, K)`` floats are
                probabilities of the classes, and the loss is its expectation over them.
            plan: what clips and divides.
            keeps_graph: whether the result can be derived.
        """
        params = {name: value.requires_grad_() for name, value in self.parameters.items()}
        total = {name: torch.zeros_like(value) for name, value in params.items()}
        for one in self._losses(params, inputs, targets):
            found = torch.autograd.grad(
                one, list(params.values()), create_graph=keeps_graph, retain_graph=True,
                materialize_grads=True,
            )  # fmt: skip
            grads = dict(zip(params, found, strict=True))
            weights = clip_weights(grads, plan)
            total = {name: total[name] + weights[name] * value for name, value in grads.items()}
        divisor = plan.expected_batch_size or max(1, len(inputs))
        return {name: value / divisor for name, value in total.items()}

    def _losses(self, params: Gradient, inputs: Tensor, targets: Tensor) -> Tensor:
        constants = {name: value[0] for name, value in self.loss.constants.items()}
        soft = self.num_classes is not None and targets.is_floating_point() and targets.dim() == 2
        if not soft:
            return self.loss(params, constants, (inputs,), (targets,))
        output = call_with(self.module, {**constants, **params}, (inputs,))
        classes = torch.arange(targets.shape[1], device=targets.device)
        by_class = [self.criterion(output, k.expand(len(inputs))) for k in classes]
        return (targets * torch.stack(by_class, 1)).sum(1)


def clip_weights(grads: Gradient, plan: PrivacyPlan) -> Gradient:
    """The factor by which the plan's clipping rule scales one example's gradient, for each parameter."""
    first = next(iter(grads.values()))
    if not plan.clipping.bounds_examples:
        # The derivative of infinity over the norm would be infinite where its cut at 1 has none.
        return {name: torch.ones_like(first[..., :0].sum()) for name in grads}
    groups = plan.clipping.groups(grads)
    squares = [torch.zeros_like(first.flatten()[0]) for _ in range(num_groups(groups))]
    for name, value in grads.items():
        squares[groups[name]] = squares[groups[name]] + value.square().sum()
    mask = torch.ones(1, 1, dtype=torch.bool, device=first.device)
    state = plan.clipping.init(device_of=first)
    weights = plan.clipping.weights(torch.stack(squares)[None, None], mask, state)[0, 0]
    return {name: weights[groups[name]] for name in grads}


def one_step_plan(*, clip_norm: float, noise_multiplier: float, batch_size: int = 1) -> PrivacyPlan:
    """One step on the whole of a data set of ``batch_size`` examples: what inversion is tried on.

    Every example is in the batch, so nothing is gained from sampling, and the event of one step is that of
    the Gaussian mechanism. ``clip_norm`` may be infinite where the noise is 0.

    >>> one_step_plan(clip_norm=1.0, noise_multiplier=0.5).event(steps=1, num_examples=1)
    SelfComposed(event=PoissonSampled(sampling_prob=1.0, event=Gaussian(noise_multiplier=0.5)), count=1)
    """
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=1.0),
        clipping=Flat(clip_norm=clip_norm),
        noise=Gaussian(noise_multiplier=noise_multiplier),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=batch_size,
    )


def release(
    model: AttackedModel,
    inputs: Tensor,
    targets: Tensor,
    *,
    plan: PrivacyPlan,
    seed: int,
    engine: GradientEngine | None = None,
    streams: StreamKind | None = None,
) -> Release:
    """What one private step releases of these examples together, through `private_gradient` itself.

    Args:
        model: the model.
        inputs: ``(B, *input_shape)``.
        targets: ``(B, ...)``.
        plan: clipping, noise and divisor; the batch is all of the examples.
        seed: of the noise.
        engine: gives the per-example gradients; `GraphEngine` by default, as in a `Trainer`.
        streams: where noise comes from; `Keyed` by default, so that an audit can be repeated.
    """
    batch = inputs[None], targets[None]
    return _released(model, *batch, plan=plan, seeds=[seed], engine=engine, streams=streams)[0]


def release_each(
    model: AttackedModel,
    inputs: Tensor,
    targets: Tensor,
    *,
    plan: PrivacyPlan,
    seed: int,
    engine: GradientEngine | None = None,
    streams: StreamKind | None = None,
) -> list[Release]:
    """As `release`, each example by itself, with noise of its own: N steps with a batch of one."""
    seeds = np.random.default_rng(seed).integers(2**62, size=len(inputs)).tolist()
    batch = inputs[:, None], targets[:, None]
    return _released(model, *batch, plan=plan, seeds=seeds, engine=engine, streams=streams)


def _released(
    model: AttackedModel,
    inputs: Tensor,
    targets: Tensor,
    *,
    plan: PrivacyPlan,
    seeds: Sequence[int],
    engine: GradientEngine | None,
    streams: StreamKind | None,
) -> list[Release]:
    runs, size = inputs.shape[:2]
    if tuple(inputs.shape[2:]) != model.input_shape:
        raise ValueError(
            f"an example must have the shape {model.input_shape}, found {tuple(inputs.shape[2:])}; "
            "give inputs of (B, *input_shape)"
        )
    params = {name: value.expand(runs, *value.shape) for name, value in model.parameters.items()}
    constants = {name: value.expand(runs, *value.shape[1:]) for name, value in model.loss.constants.items()}
    mask = torch.ones(runs, size, dtype=torch.bool, device=inputs.device)
    noisy, _, _ = private_gradient(
        plan=plan,
        engine=GraphEngine() if engine is None else engine,
        loss=PerExampleLoss(module=model.module, criterion=model.criterion, constants=constants),
        params=params,
        batch=Batch(inputs=(inputs,), targets=(targets,), mask=mask),
        state=initial_state([plan] * runs, model.like),
        streams=(Keyed() if streams is None else streams).open(seeds).at(0),
        diagnose=False,
    )
    return [
        Release(
            gradient={name: value[run].detach() for name, value in noisy.value.items()},
            plan=plan,
            size=size,
            noise_std=std,
        )
        for run, std in enumerate(noisy.noise_std.tolist())
    ]
