"""Ordinary layers called in odd ways: other shapes, moved rows, nested and repeated calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from clifftop.testing.problem import Problem, classes, floats, image, regression, squared_error, tokens


@final
class Around(nn.Module):
    """``function(layers, x)``: what is done around the layers, and how they are called."""

    def __init__(self, layers: nn.Module, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = layers
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the function gives."""
        return self.function(self.layers, x)


def _stack() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4))


def _around(
    name: str,
    function: Callable[[nn.Module, Tensor], Tensor],
    inputs: tuple[int, ...] = (4,),
    outputs: tuple[int, ...] = (4,),
    build: Callable[[], nn.Module] = _stack,
) -> Problem:
    return regression(name, lambda: Around(build(), function), inputs, outputs)


def _three_shapes(layers: nn.Module, x: Tensor) -> Tensor:
    flat, grid = layers(x[:, 0]), layers(x.unflatten(1, (1, 3)))
    return layers(x) * flat.unsqueeze(1) + grid.squeeze(1)


def _both_views(layers: nn.Module, x: Tensor) -> Tensor:
    first, second = layers(torch.cat([x, torch.sin(x)])).chunk(2)
    return first * second


def _views_beside(layers: nn.Module, x: Tensor) -> Tensor:
    both = layers(torch.stack([x, torch.sin(x)], dim=1).flatten(0, 1))
    return both.unflatten(0, (-1, 2)).prod(dim=1)


def _augmented(layers: nn.Module, x: Tensor) -> Tensor:
    copies = x.repeat_interleave(3, dim=0)
    turns = torch.arange(3, dtype=x.dtype, device=x.device).repeat(len(x)).unsqueeze(1)
    return layers(copies + turns).unflatten(0, (-1, 3)).mean(dim=1)


def _tiled(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(torch.tanh(x).repeat(3, 1)).unflatten(0, (3, -1)).prod(dim=0)


def _image_views(layers: nn.Module, x: Tensor) -> Tensor:
    first, second = layers(torch.cat([x, x.flip(3)])).tensor_split(2)
    return first + second.square()


def _time_first(layers: nn.Module, x: Tensor) -> Tensor:
    merged = x.transpose(0, 1).reshape(-1, x.shape[2])
    return layers(merged).reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)


def _merged(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _rolled(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(x.roll(1, dims=0)).roll(-1, dims=0)


def _reversed(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(x.flip(0)).flip(0)


def _sorted(layers: nn.Module, x: Tensor) -> Tensor:
    order = x[:, 0].argsort()
    return layers(x[order])[order.argsort()]


def _swapped_halves(layers: nn.Module, x: Tensor) -> Tensor:
    # The second and the first half of the batch change places and come back.
    half = len(x) // 2
    out = layers(torch.cat([x[half:], x[:half]]))
    back = len(x) - half
    return torch.cat([out[back:], out[:back]])


def _selected_rows(layers: nn.Module, x: Tensor) -> Tensor:
    chosen = x[:, 0].abs() < 0.7
    out = torch.zeros_like(x)
    out[chosen] = layers(x[chosen])
    return out


def _selected_tokens(layers: nn.Module, x: Tensor) -> Tensor:
    chosen = x[..., 0] > 0
    return torch.zeros_like(x).index_put((chosen,), layers(x[chosen]))


def _one_by_one(layers: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([layers(row) for row in x.split(1)])


def _one_by_one_alone(layers: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([layers(row) for row in x])


def _scaled_weights(layers: nn.Module, x: Tensor) -> Tensor:
    scaled = {name: 0.5 * value for name, value in layers.named_parameters()}
    return functional_call(layers, scaled, (torch.tanh(functional_call(layers, scaled, (x,))),))


def _in_place_residual(layers: nn.Module, x: Tensor) -> Tensor:
    hidden = layers(x)
    hidden += x
    hidden[:, :2] *= 2.0
    return torch.tanh(hidden)


def _until_long(layers: nn.Module, x: Tensor) -> Tensor:
    for _ in range(3):
        x = torch.tanh(layers(x))
    return x


def _all_outputs(layers: nn.Module, x: Tensor) -> Tensor:
    first = layers(x)
    return first * layers(first.detach()) + layers(x).square()


def _checkpointed_twice(layers: nn.Module, x: Tensor) -> Tensor:
    x = checkpoint(layers, x, use_reentrant=False)
    return checkpoint(layers, torch.tanh(x), use_reentrant=False)


def _conv_stack() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 2))


@final
class Named(nn.Module):
    """Three inputs; a dictionary with a tuple in it comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)
        self.table = nn.Embedding(5, 4)

    def forward(self, x: Tensor, y: Tensor, ids: Tensor) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        """``(B, 3)``, ``(B, 2)`` and ``(B,)`` to a dictionary of ``(B, 4)``."""
        left, right, rows = self.left(x), self.right(y), self.table(ids)
        return {"product": torch.tanh(left) * rows, "pair": (right, torch.sin(right * rows))}


def _named_loss(output: dict[str, Tensor | tuple[Tensor, Tensor]], target: Tensor, scale: Tensor) -> Tensor:
    pair = output["pair"]
    assert isinstance(pair, tuple)
    product = output["product"]
    assert isinstance(product, Tensor)
    return scale.square() * squared_error(product, target) + squared_error(pair[0] * pair[1], target)


def _mixed_inputs(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return floats((3,), (2,))(rng, size) + tokens(5)(rng, size)


@final
class SkippedLayer(nn.Module):
    """A layer that only some examples reach, chosen by a mask and not by control flow."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 4)`` to ``(B, 3)``."""
        return torch.where(x[:, :1] > 0, self.sometimes(x), self.always(x))


CALL_PROBLEMS: tuple[Problem, ...] = (
    _around("three shapes", _three_shapes, (3, 4), (3, 4)),
    _around("two views", _both_views),
    _around("two views side by side", _views_beside),
    _around("augmented copies", _augmented),
    _around("tiled copies", _tiled),
    image("two views of an image", lambda: Around(_conv_stack(), _image_views), (2, 5, 5)),
    _around("merged by time", _time_first, (3, 4), (3, 4)),
    _around("merged axes around a stack", _merged, (3, 4), (3, 4)),
    image(
        "frames merged with examples",
        lambda: Around(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2)), _merged),
        (2, 1, 4, 4),
    ),
    _around("rows rolled and back", _rolled),
    _around("rows reversed and back", _reversed),
    _around("rows sorted and back", _sorted),
    _around("halves swapped and back", _swapped_halves),
    _around("selected rows", _selected_rows),
    _around("selected tokens", _selected_tokens, (3, 4), (3, 4)),
    _around("one by one", _one_by_one),
    _around("one by one without their axis", _one_by_one_alone),
    _around("nested functional call", _scaled_weights),
    _around("in-place residual", _in_place_residual),
    _around("stack three times", _until_long),
    _around("stack on its own output", _all_outputs),
    _around("checkpointed twice", _checkpointed_twice),
    Problem(
        name="named outputs",
        build=Named,
        inputs=_mixed_inputs,
        targets=floats((4,), ()),
        criterion=_named_loss,
    ),
    regression("skipped layer", SkippedLayer, (4,), (3,)),
    classes(
        "logits of a frozen head",
        lambda: nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3).requires_grad_(requires_grad=False)
        ),
        floats((4,)),
    ),
    image(
        "unfolded patches",
        lambda: Around(nn.Linear(8, 3), lambda layer, x: layer(F.unfold(x, 2, stride=2).transpose(1, 2))),
        (2, 4, 4),
    ),
)
"""Layers called several times, on merged or moved rows, by other means than a plain call."""
