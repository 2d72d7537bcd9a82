"""Per-example gradients by ``torch.func``: ``vmap`` over runs of ``vmap`` over examples of ``grad``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from clifftop.flow import Batch, DrawStream, GroupMap, Params
from clifftop.gradients.base import (
    PerExampleLoss,
    UnsupportedModule,
    innermost_layer,
    refuse_shared_statistics,
    with_own_buffers,
)
from clifftop.gradients.instantiated import InstantiatedGrads, no_examples, without_padding, zero_where
from clifftop.gradients.mapping import slow_operations_allowed
from clifftop.gradients.randomness import Draw, DropoutFromUniforms, draw_uniforms, find_draws


@dataclass(frozen=True)
class VmapEngine:
    """Per-example gradients of any model that ``torch.func`` can transform, all rows in memory.

    Each example passes as a batch of one, so its gradient cannot depend on its neighbours. Memory
    is ``R x B`` times the parameters. Buffers that the model writes are thrown away.

    Attributes:
        chunk_size: how many examples to transform at once; None for all. Speed and peak memory
            only, never the result.

    Raises:
        UnsupportedModule: what `LoopEngine` refuses, and what ``torch.func`` cannot transform
            (control flow on data, checkpointing, custom functions without ``setup_context``).
    """

    chunk_size: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(
                f"chunk_size must be None or at least 1, found chunk_size={self.chunk_size}; "
                "pass None to transform all examples at once"
            )

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> InstantiatedGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        refuse_shared_statistics(loss.module)
        filled = without_padding(batch)
        if filled is None:
            return no_examples(params, batch, groups)
        dropouts = find_draws(loss, params, filled)
        uniforms = draw_uniforms(dropouts, batch.padded_size, draws)
        data = (*filled.inputs, *filled.targets, *uniforms)
        per_example = grad_and_value(_example_loss(loss, dropouts, len(filled.inputs), len(filled.targets)))
        chunks = zip(*(x.split(self.chunk_size or batch.padded_size, dim=1) for x in data), strict=True)
        try:
            with slow_operations_allowed():
                parts = [_map(per_example, loss, params, [x.contiguous() for x in chunk]) for chunk in chunks]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise UnsupportedModule(_cannot_transform(loss.module, error)) from error
        padding = ~batch.mask
        rows = {
            name: zero_where(torch.cat([part[name] for part, _ in parts], dim=1), padding) for name in params
        }
        losses = zero_where(torch.cat([part for _, part in parts], dim=1), padding)
        return InstantiatedGrads(losses=losses, rows=rows, groups=groups)


def _map(
    per_example: Callable[..., Any], loss: PerExampleLoss, params: Params, data: Sequence[Tensor]
) -> tuple[Params, Tensor]:
    """Gradients ``(R, B, ...)`` and losses ``(R, B)``, detached."""
    num_runs, size = data[0].shape[:2]
    # Parameters mapped over runs only are quicker. But torch.func has rules (PReLU's backward in
    # 2.13) that then pair runs with examples: an error where the counts differ, silent where not.
    if num_runs == 1 or size not in (1, num_runs):
        try:
            per_run = vmap(per_example, in_dims=(None, None, [0] * len(data)))
            return _detached(vmap(per_run)(params, with_own_buffers(loss), list(data)))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            # Recurrent layers fail too, and map well where everything is mapped alike.
            pass
    constants = _for_each(with_own_buffers(loss), size)
    for name, _ in loss.module.named_buffers():
        constants[name] = constants[name].contiguous()
    return _detached(vmap(vmap(per_example))(_for_each(params, size), constants, list(data)))


def _for_each(tensors: Params, size: int) -> Params:
    """Each ``(R, ...)`` as a view ``(R, size, ...)``."""
    return {name: x.unsqueeze(1).expand(len(x), size, *x.shape[1:]) for name, x in tensors.items()}


def _detached(result: tuple[Params, Tensor]) -> tuple[Params, Tensor]:
    gradients, losses = result
    return {name: value.detach() for name, value in gradients.items()}, losses.detach()


def _example_loss(
    loss: PerExampleLoss, dropouts: Sequence[Draw], num_inputs: int, num_targets: int
) -> Callable[..., Tensor]:
    """The loss of one example without its batch axis, as a function ``torch.func`` can transform."""

    def one(params: Params, constants: Params, data: Sequence[Tensor]) -> Tensor:
        alone = [x.unsqueeze(0) for x in data[: num_inputs + num_targets]]
        uniforms = data[num_inputs + num_targets :]
        placed = [u.unsqueeze(draw.axis) for u, draw in zip(uniforms, dropouts, strict=True)]
        with DropoutFromUniforms(placed):
            return loss(params, constants, alone[:num_inputs], alone[num_inputs:]).squeeze(0)

    return one


def _cannot_transform(module: nn.Module, error: RuntimeError) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return (
        "torch.func must be able to transform the model, found that it cannot transform "
        f"{innermost_layer(module, reversed(frames))} ({reason.rstrip('.')}); use LoopEngine()"
    )
