"""Where the examples lie in a tensor: an axis of their own, or one that other axes were merged into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Axis ``axis`` has size ``before * B * after``, the examples in the middle.

    >>> Layout(axis=0, before=1, after=2).examples_first(torch.arange(6), 3).tolist()
    [[0, 1], [2, 3], [4, 5]]
    """

    axis: int
    before: int
    after: int

    @property
    def merged(self) -> bool:
        """Whether the axis holds more than the examples."""
        return self.before * self.after > 1

    def split(self, x: Tensor, size: int) -> Tensor:
        """The axis in three: before, examples, after."""
        return x.unflatten(self.axis, (self.before, size, self.after))

    def examples_first(self, x: Tensor, size: int) -> Tensor:
        """``(B, ...)`` with what was merged left in its place as one axis, if anything was."""
        if self.axis == 0 and self.before == 1:
            return x if self.after == 1 else x.unflatten(0, (size, self.after))
        x = self.split(x, size).movedim(self.axis + 1, 0)
        if self.merged:
            return x.flatten(self.axis + 1, self.axis + 2)
        return x.squeeze(self.axis + 2).squeeze(self.axis + 1)

    def per_element(self, weights: Tensor, dim: int) -> Tensor:
        """``(B,)`` weights spread along the axis, to be multiplied with a tensor of ``dim`` axes."""
        row = weights.repeat_interleave(self.after).repeat(self.before)
        return row.reshape(-1, *[1] * (dim - 1 - self.axis))


def layouts(two: tuple[int, ...], three: tuple[int, ...]) -> Iterator[Layout]:
    """Layouts that a tensor may have, from its shapes for two examples and for three."""
    if len(two) != len(three):
        return
    axes = [i for i, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(axes) != 1:
        return
    (axis,) = axes
    if two[axis] % 2 or three[axis] * 2 != two[axis] * 3:
        return
    merged = two[axis] // 2
    for before in range(1, merged + 1):
        if merged % before == 0:
            yield Layout(axis=axis, before=before, after=merged // before)


def find_layout(
    two: tuple[int, ...], three: tuple[int, ...], plain: Tensor, weighted: Tensor, weights: Tensor
) -> Layout | None:
    """The layout in which ``weighted`` is ``plain`` times each example's weight; None where none is.

    Scaling one example's loss scales just that example's part of every gradient. ``plain`` and
    ``weighted`` are gradients at one place for three examples, ``weights`` ``(3,)``. None also where
    the gradients are too sparse to tell two layouts apart.
    """
    if not torch.isfinite(plain).all() or not torch.isfinite(weighted).all():
        return None
    fitting = [layout for layout in layouts(two, three) if fits(layout, plain, weighted, weights)]
    return fitting[0] if len(fitting) == 1 else None


def fits(layout: Layout, plain: Tensor, weighted: Tensor, weights: Tensor) -> bool:
    """Whether ``weighted`` is ``plain`` times the weight of each example, were they laid out so."""
    if plain.shape[layout.axis] != layout.before * len(weights) * layout.after:
        return False
    tolerance = 1e-7 if plain.dtype == torch.float64 else 2e-3
    gap = weighted - plain * layout.per_element(weights.to(plain), plain.dim())
    return bool(gap.abs().max() <= tolerance * plain.abs().max())
