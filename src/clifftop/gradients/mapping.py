"""One example of one run as a function, mapped by ``torch.func.vmap`` over examples and over runs.

Nested maps have a trap. Where parameters are mapped over runs only and data over both, some rules
of torch 2.13 (PReLU's backward) pair runs with examples: an error where the counts differ, silent
where they agree. Others (recurrent layers) fail at once. Mapping everything over both is slower and
right, so it is what is done wherever the quicker way fails or could mislead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from clifftop.flow import Params


@contextmanager
def slow_operations_allowed() -> Iterator[None]:
    """Silence PyTorch's hint that ``vmap`` runs an operation once an example: exact, only slower."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        yield


def over_runs_and_examples(
    function: Callable[[Params, Params, list[Tensor]], Any],
    params: Params,
    constants: Params,
    data: Sequence[Tensor],
    *,
    has_examples: Sequence[bool] | None = None,
    buffers: Collection[str] = (),
) -> Any:
    """``function(params, constants, data)`` for each example of each run.

    Args:
        function: takes tensors without the axes of runs and examples.
        params: ``(R, ...)`` tensors.
        constants: ``(R, ...)`` tensors.
        data: ``(R, B, ...)`` tensors, or ``(R, ...)`` where ``has_examples`` is False.
        has_examples: whether each of ``data`` carries the axis of examples; all do unless told.
        buffers: the constants that ``function`` may write into; it gets copies.

    Returns:
        What ``function`` returns, each tensor with ``(R, B)`` in front.

    Raises:
        RuntimeError: ``torch.func`` cannot map ``function``.
    """
    has = [True] * len(data) if has_examples is None else list(has_examples)
    num_runs, size = next(x for x, own in zip(data, has, strict=True) if own).shape[:2]
    with slow_operations_allowed():
        if num_runs == 1 or size not in (1, num_runs):
            try:
                per_run = vmap(function, in_dims=(None, None, [0 if own else None for own in has]))
                return vmap(per_run)(params, _copied(constants, buffers), list(data))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                pass
        everything = [x if own else _repeat(x, size) for x, own in zip(data, has, strict=True)]
        params = {name: _repeat(x, size) for name, x in params.items()}
        constants = {name: _repeat(x, size) for name, x in constants.items()}
        return vmap(vmap(function))(params, _copied(constants, buffers), everything)


def _repeat(x: Tensor, size: int) -> Tensor:
    """``(R, ...)`` as a view ``(R, size, ...)``."""
    return x.unsqueeze(1).expand(len(x), size, *x.shape[1:])


def _copied(constants: Params, buffers: Collection[str]) -> Params:
    return {
        name: x.clone(memory_format=torch.contiguous_format) if name in buffers else x
        for name, x in constants.items()
    }
