"""Bags of rows in every precision: PyTorch sums float32 and narrower ones by other code than float64."""

import pytest
import torch
from torch import nn

from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss
from clifftop.gradients.base import flat_groups, trainable_parameters
from clifftop.gradients.graph import GraphEngine

ROWS, WIDTH, SIZE, LOOKUPS = 9, 4, 5, 3


class Bags(nn.Module):
    """One bag an example, as rows of indices or as one row with offsets."""

    def __init__(self, *, mode: str, padding: int | None, offsets: bool, last: bool, weighted: bool) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(ROWS, WIDTH, mode=mode, padding_idx=padding, include_last_offset=last)
        self.offsets, self.last, self.weighted = offsets, last, weighted

    def forward(self, ids):
        weights = 1.5 * torch.ones_like(ids, dtype=self.bag.weight.dtype) if self.weighted else None
        if not self.offsets:
            return self.bag(ids, per_sample_weights=weights).square().sum(1)
        # The second bag of an example is empty.
        starts = torch.arange(len(ids)).repeat_interleave(2) * LOOKUPS
        starts[1::2] += LOOKUPS
        ends = starts.new_tensor([ids.numel()]) if self.last else starts[:0]
        flat = None if weights is None else weights.flatten()
        found = self.bag(ids.flatten(), torch.cat([starts, ends]), flat)
        return found.unflatten(0, (-1, 2)).square().sum((1, 2))


def error(output, target):
    return (output - target).square()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("form", ["rows", "offsets", "last offset"])
@pytest.mark.parametrize(("mode", "weighted"), [("sum", False), ("sum", True), ("mean", False)])
@pytest.mark.parametrize("padding", [None, 2])
def test_the_graph_engine_equals_the_loop(dtype, form, mode, weighted, padding):
    torch.manual_seed(0)
    model = Bags(
        mode=mode, padding=padding, offsets=form != "rows", last=form == "last offset", weighted=weighted
    ).to(dtype)
    ids = torch.randint(0, ROWS, (1, SIZE, LOOKUPS))
    batch = Batch(
        inputs=(ids,), targets=(torch.randn(1, SIZE).to(dtype),), mask=torch.ones(1, SIZE, dtype=torch.bool)
    )
    params = {name: p[None] for name, p in trainable_parameters(model).items()}
    loss = PerExampleLoss(module=model, criterion=error)
    ours, truth = (
        engine(loss, params, batch, flat_groups(params)) for engine in (GraphEngine(), LoopEngine())
    )
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 5e-2)
    torch.testing.assert_close(ours.sq_norms(), truth.sq_norms(), rtol=tolerance, atol=tolerance)
    weights = torch.linspace(-1, 1, SIZE).to(ours.sq_norms().dtype)[None, :, None]
    for name, found in truth.weighted_sum(weights).items():
        torch.testing.assert_close(ours.weighted_sum(weights)[name], found, rtol=tolerance, atol=tolerance)
