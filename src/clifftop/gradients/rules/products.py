"""Products of matrices by the quicker of two libraries, chosen by shape alone.

PyTorch hands products of float32 matrices on a processor to the BLAS that it was built with, and its own
convolutions to oneDNN. On processors that the BLAS was not written for, oneDNN is more than twice as
quick (measured: 205 against 88 GFLOP/s on one core), and costs some microseconds more to call. What is
chosen depends on nothing but shapes, dtype, device and PyTorch's own settings, so a step repeats bit
for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

# Below this many operations oneDNN's longer call costs more than it saves.
_WORTH_A_CALL = 4_000_000


def contract(left: Tensor, right: Tensor) -> Tensor:
    """``left.T @ right``: ``(l, r)`` from ``(n, l)`` and ``(n, r)``.

    >>> contract(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[13., 16.]])
    """
    if not _onednn_suits(left, right, left.numel() * right.shape[1]):
        return left.T @ right
    # oneDNN is up to twice as quick with the smaller side first.
    if left.shape[1] <= right.shape[1]:
        return _onednn(left.T, right.T)
    return _onednn(right.T, left.T).T


def grams(a: Tensor) -> Tensor:
    """``a @ a.mT`` for each of a stack: ``(..., T, T)`` from ``(..., T, d)``."""
    positions = a.shape[-2]
    if a.dim() < 3 or not _onednn_suits(a, a, positions * positions * a.shape[-1]):
        return a @ a.mT
    each = [_onednn(x, x) for x in a.flatten(0, -3)]
    return torch.stack(each).view(*a.shape[:-1], positions)


def outers(a: Tensor, g: Tensor) -> Tensor:
    """``a.mT @ g`` for each of a stack: ``(..., d, p)`` from ``(..., T, d)`` and ``(..., T, p)``."""
    if a.dim() < 3 or not _onednn_suits(a, g, a.shape[-2] * a.shape[-1] * g.shape[-1]):
        return a.mT @ g
    each = [contract(x, y) for x, y in zip(a.flatten(0, -3), g.flatten(0, -3), strict=True)]
    return torch.stack(each).view(*a.shape[:-2], a.shape[-1], g.shape[-1])


@dataclass(frozen=True, kw_only=True)
class Pointwise:
    """A function of each number, which a product may do in the same pass.

    Attributes:
        name: what oneDNN calls it.
        of: the function.
        back: the gradient at the input, from that at the output and the output.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, then: Pointwise | None = None) -> Tensor:
    """``x @ weight.T + bias``: ``(n, p)`` from ``(n, d)`` and ``(p, d)``; and ``then`` of each number.

    >>> affine(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([[11.5000]])
    """
    if _onednn_suits(x, weight, x.numel() * weight.shape[0]):
        name = "none" if then is None else then.name
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], "")  # noqa: SLF001  no public name
    out = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
    return out if then is None else then.of(out)


TANH = Pointwise(name="tanh", of=torch.tanh, back=torch.ops.aten.tanh_backward)
RELU = Pointwise(name="relu", of=torch.relu, back=lambda g, y: torch.ops.aten.threshold_backward(g, y, 0))
SIGMOID = Pointwise(name="sigmoid", of=torch.sigmoid, back=torch.ops.aten.sigmoid_backward)


def is_quick(a: Tensor, multiplications: int) -> bool:
    """Whether a product of so many multiplications goes to oneDNN."""
    return _onednn_suits(a, a, multiplications)


def _onednn_suits(a: Tensor, b: Tensor, multiplications: int) -> bool:
    return (
        2 * multiplications >= _WORTH_A_CALL
        and a.device.type == b.device.type == "cpu"
        and a.dtype == b.dtype == torch.float32
        and bool(torch.backends.mkldnn.enabled)
        and _HAS_ONEDNN
    )


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.T``."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # noqa: SLF001  no public name


_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def with_plain_products(graph: fx.GraphModule) -> None:
    """Turn oneDNN's products in a traced graph into ordinary ones: PyTorch's compiler knows only these."""
    for node in list(graph.graph.nodes):
        if _HAS_ONEDNN and node.target is torch.ops.mkldnn._linear_pointwise.default:  # noqa: SLF001
            with graph.graph.inserting_before(node):
                right = graph.graph.call_function(torch.ops.aten.t.default, (node.args[1],))
                plain = graph.graph.call_function(torch.ops.aten.mm.default, (node.args[0], right))
            node.replace_all_uses_with(plain)
            graph.graph.erase_node(node)
    graph.recompile()
