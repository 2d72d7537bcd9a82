"""A captured step with its arguments at hand, and the buffers that its sums are written into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, final

from torch import Tensor, nn

from clifftop.capture.function import StepFunction, tensors_of, with_tensors
from clifftop.capture.tracing import Captured
from clifftop.flow import DrawStream
from clifftop.gradients.base import constant_tensors
from clifftop.gradients.graph.engine import Known
from clifftop.gradients.randomness import draw_uniforms


@final
class Sums:
    """One tensor of all parameters' sums, ``(1, P)``, and a view of it for each.

    ``first`` is the part of the ``noisy`` parameters that come first.
    """

    def __init__(self, like: Sequence[Tensor], *, noisy: int) -> None:
        sizes = [x.numel() for x in like]
        self.flat = like[0].new_empty((1, sum(sizes)))
        self.first = self.flat[:, : sum(sizes[:noisy])]
        starts = accumulate(sizes, initial=0)
        self.parts = [
            self.flat[0, start : start + size].view(x.shape)
            for x, size, start in zip(like, sizes, starts, strict=False)
        ]


@final
class QuickStep:
    """A captured step with its arguments at hand.

    Args:
        step: what was captured.
        known: of the model.
        graph: the captured step.
        module: whose frozen parameters and buffers the step takes.
    """

    def __init__(self, step: StepFunction, known: Known, graph: Captured, module: nn.Module) -> None:
        self._call, self._draws, self._size = graph.call, known.draws, step.batch.padded_size
        self._constants = list(step.loss.constants)
        self._module = module
        self.num_operations = graph.num_operations

    def run(
        self,
        parameters: Sequence[Tensor],
        extra: Mapping[str, Tensor],
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        mask: Tensor | None,
        streams: DrawStream,
        state: Any,
        into: Sequence[Tensor],
    ) -> tuple[bool, Any]:
        """Write the clipped sum over the expected batch size ``into`` the parameters' parts.

        Args:
            parameters: as they are now, in the step's order.
            extra: constants of this step alone, by name.
            inputs: the batch's.
            targets: likewise.
            mask: ``(1, B)``, which rows count, if the step was captured with one.
            streams: named draws of the model.
            state: the clipping rule's.
            into: a tensor for each parameter.

        Returns:
            Whether all numbers were finite (if not, rows must be looked at, which a graph does not), and
            the rule's next state.
        """
        uniforms = [u[0] for u in draw_uniforms(self._draws, self._size, streams)] if self._draws else ()
        constants = self._own_constants(extra) if self._constants else ()
        masks = () if mask is None else (mask,)
        found = self._call(
            *parameters, *constants, *inputs, *targets, *uniforms, *masks, *tensors_of(state), *into
        )
        if not math.isfinite(found[0].item()):
            return False, state
        return True, with_tensors(state, found[1:]) if len(found) > 1 else state

    def _own_constants(self, extra: Mapping[str, Tensor]) -> list[Tensor]:
        # Of the step's own, since a forward pass may write into them.
        own = constant_tensors(self._module) if any(n not in extra for n in self._constants) else {}
        return [extra[n] if n in extra else own[n].clone() for n in self._constants]
