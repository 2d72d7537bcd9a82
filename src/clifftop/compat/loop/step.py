"""What happens between the loop's ``backward()`` and the optimiser's update: clip, add up, add noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from clifftop.clipping import Flat
from clifftop.compat.loop.draws import Draw
from clifftop.compat.loop.errors import LoopError
from clifftop.compat.loop.recorder import OutputRecorder
from clifftop.flow import ClippedSum, Params
from clifftop.noise import Gaussian, RunStreams


class Charge(Protocol):
    """Notes that a batch of an epoch is about to be released, with this noise."""

    def __call__(self, *, noise_multiplier: float, epoch: int) -> None:
        """Called before the release."""
        ...


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """What the loop's loss is, to get each example's own loss from it and the step's size back.

    Attributes:
        averaged: the loss is the mean of the examples' losses, not their sum.
        expected_batch_size: what the noisy sum is divided by where losses are averaged; a public number.
    """

    averaged: bool
    expected_batch_size: float

    @property
    def divisor(self) -> float:
        """What the noisy sum is divided by."""
        return self.expected_batch_size if self.averaged else 1.0

    def of_one(self, size: int) -> float:
        """What the gradient of the loss of a batch is multiplied by to get that of one example's own loss."""
        return float(size) if self.averaged else 1.0


@final
class PrivateStep:
    """A hook before an optimiser's step that puts a private gradient in ``p.grad``.

    The optimiser's attributes ``noise_multiplier`` and ``max_grad_norm`` are read at every step, so that
    a schedule may change them as a public function of the step.

    Args:
        module: what is trained.
        optimizer: any optimiser of torch that skips parameters without gradient, as those of torch do.
        recorder: of the module's outputs.
        scale: what the loop's loss is.
        streams: where the noise comes from, named by the step.
        charge: called before each release.
    """

    def __init__(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        recorder: OutputRecorder,
        scale: LossScale,
        streams: RunStreams,
        charge: Charge,
    ) -> None:
        self.steps_done = 0
        self.after_step: list[Callable[[torch.optim.Optimizer], None]] = []
        self._module = module
        self._optimizer = optimizer
        self._recorder = recorder
        self._scale = scale
        self._streams = streams
        self._charge = charge
        self._draw: Draw | None = None
        self._sum: ClippedSum | None = None
        self._released: list[tuple[Tensor, Tensor]] = []
        self._handle = optimizer.register_step_pre_hook(self._before_step)

    def remove(self) -> None:
        """Leave the optimiser as it was."""
        self._handle.remove()

    def on_draw(self, draw: Draw) -> None:
        """The loop is about to see these examples; an empty batch gets its step at once.

        Raises:
            LoopError: the batch before went through ``backward()`` and was not stepped on.
        """
        if self._draw is not None and self._recorder.has_gradient:
            raise LoopError(
                "every batch must be followed by its own optimizer.step(), found a new batch after "
                "backward() without one; for batches that do not fit in memory use BatchMemoryManager"
            )
        self._recorder.begin(draw.size)
        for parameter, released in self._released:
            if parameter.grad is released:
                parameter.grad = None
        self._released = []
        self._draw = draw
        if draw.first:
            self._sum = None  # what a batch that was broken off left behind must not meet another one
        if draw.size == 0:
            self._optimizer.step()

    def _before_step(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        replaced = _with_closure_run(args, kwargs)
        draw, self._draw = self._draw, None
        if draw is None:
            raise LoopError(
                "each optimizer.step() must follow a new batch of the private data loader, found none since "
                "the last step; take batches from the loader that make_private returned, one step each"
            )
        params = owned_parameters(self._module, optimizer)
        self._refuse_direct_gradients()
        clip_norm = float(vars(optimizer)["max_grad_norm"])
        with torch.no_grad():
            part = self._clipped(draw, params, Flat(clip_norm=clip_norm))
            self._sum = part if self._sum is None else _added(self._sum, part)
            for p in params.values():
                p.grad = None  # a step without gradients changes nothing: that of a batch's first parts
            if draw.last:
                self._release(self._sum, params, optimizer, draw)
                self._sum = None
        return replaced

    def _clipped(self, draw: Draw, params: Mapping[str, Tensor], rule: Flat) -> ClippedSum:
        state = rule.init(device_of=next(iter(params.values())))
        if draw.size == 0:
            nothing = {name: torch.zeros_like(p)[None] for name, p in params.items()}
            return ClippedSum(value=nothing, norm_bound=rule.norm_bound(state))
        with torch.enable_grad():
            grads = self._recorder.gradients(self._scale.of_one(draw.size), rule.groups(params))
        self._recorder.end()
        mask = torch.ones((1, draw.size), dtype=torch.bool, device=state.clip_norm.device)
        return rule(grads, mask, state)[0]

    def _release(
        self,
        total: ClippedSum,
        params: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        draw: Draw,
    ) -> None:
        noise = Gaussian(noise_multiplier=float(vars(optimizer)["noise_multiplier"]))
        # Charged and counted before the release: an interrupted step may cost more than it gave, not less.
        self._charge(noise_multiplier=noise.noise_multiplier, epoch=draw.epoch)
        step, self.steps_done = self.steps_done, self.steps_done + 1
        state = noise.init(device_of=total.norm_bound)
        noisy, _ = noise(total, state, self._streams.at(step))
        for name, p in params.items():
            p.grad = (noisy.value[name][0] / self._scale.divisor).to(p.dtype)
            self._released.append((p, p.grad))
        for hook in self.after_step:
            hook(optimizer)

    def _refuse_direct_gradients(self) -> None:
        for name, p in self._module.named_parameters():
            if p.grad is not None and bool(p.grad.any()):
                raise LoopError(
                    "the loss must depend on parameters through the module's outputs alone, found a gradient "
                    f"at '{name}' from elsewhere: a penalty on weights belongs in the optimiser "
                    "(weight_decay), and the module must be called as a whole, in training mode"
                )


def owned_parameters(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The module's trainable parameters, by name.

    Raises:
        LoopError: the optimiser changes others, or not all.
    """
    params: dict[str, Tensor] = {n: p for n, p in module.named_parameters() if p.requires_grad}
    owned = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    missing = [name for name, p in params.items() if id(p) not in owned]
    foreign = len(owned - {id(p) for p in params.values()})
    if missing or foreign or not params:
        raise LoopError(
            "the optimiser must own exactly the module's trainable parameters, found "
            f"{len(missing)} of {len(params)} missing ({', '.join(missing[:3])}) and {foreign} foreign; "
            "freeze what is not trained with requires_grad_(False), and build the optimiser after any layer "
            "is replaced"
        )
    return params


def _added(a: ClippedSum, b: ClippedSum) -> ClippedSum:
    """Parts of one batch: each example is in one of them, so the larger bound holds for the sum."""
    value: Params = {name: a.value[name] + b.value[name] for name in a.value}
    return ClippedSum(value=value, norm_bound=torch.maximum(a.norm_bound, b.norm_bound))


def _with_closure_run(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Run the closure of ``optimizer.step(closure)`` now, and pass on one that knows the loss.

    The forward and backward pass must come before the private gradient is made.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if closure is None:
        return None
    with torch.enable_grad():
        loss = closure()
    rest = {name: value for name, value in kwargs.items() if name != "closure"}
    return args[:1], rest | {"closure": lambda: loss}
