"""Per-example gradients by ``torch.func``: ``vmap`` over runs of ``vmap`` over examples of ``grad``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad_and_value

from clifftop.flow import Batch, DrawStream, GroupMap, Params
from clifftop.gradients.base import (
    PerExampleLoss,
    UnsupportedModule,
    failed_layer,
    refuse_unprotectable,
)
from clifftop.gradients.instantiated import InstantiatedGrads, no_examples, without_padding, zero_where
from clifftop.gradients.mapping import over_runs_and_examples
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
        refuse_unprotectable(loss.module)
        filled = without_padding(batch)
        if filled is None:
            return no_examples(params, batch, groups)
        dropouts = find_draws(loss, params, filled)
        uniforms = draw_uniforms(dropouts, batch.padded_size, draws)
        data = (*filled.inputs, *filled.targets, *uniforms)
        per_example = grad_and_value(_example_loss(loss, dropouts, len(filled.inputs), len(filled.targets)))
        buffers = {name for name, _ in loss.module.named_buffers()}
        chunks = zip(*(x.split(self.chunk_size or batch.padded_size, dim=1) for x in data), strict=True)
        parts: list[tuple[Params, Tensor]] = []
        try:
            for chunk in chunks:
                rows = [x.contiguous() for x in chunk]
                parts.append(
                    over_runs_and_examples(per_example, params, loss.constants, rows, buffers=buffers)
                )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise UnsupportedModule(
                "torch.func must be able to transform the model, found that it cannot transform "
                f"{failed_layer(loss.module, error)}; use LoopEngine()"
            ) from error
        return _joined(parts, batch, groups)


def _joined(parts: Sequence[tuple[Params, Tensor]], batch: Batch, groups: GroupMap) -> InstantiatedGrads:
    """The chunks one after another, with zeros at padding."""
    padding = ~batch.mask
    rows = {
        name: zero_where(torch.cat([gradients[name] for gradients, _ in parts], dim=1).detach(), padding)
        for name in parts[0][0]
    }
    losses = zero_where(torch.cat([losses for _, losses in parts], dim=1).detach(), padding)
    return InstantiatedGrads(losses=losses, rows=rows, groups=groups)


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
