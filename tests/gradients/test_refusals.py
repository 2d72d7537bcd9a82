"""What every engine refuses before it looks at the data."""

import pytest
import torch

from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, TapeEngine, UnsupportedModule, VmapEngine
from clifftop.gradients.base import stack_runs, trainable_parameters


@pytest.mark.parametrize("engine", [LoopEngine(), VmapEngine(), TapeEngine()], ids=lambda e: type(e).__name__)
def test_complex_parameters_are_refused_because_their_norm_would_be_wrong(engine):
    class Rotation(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.phase = torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))

        def forward(self, x):
            return (x * self.phase).real

    module = Rotation()
    batch = Batch(
        inputs=(torch.ones(1, 2, 3),), targets=(torch.ones(1, 2, 3),), mask=torch.ones(1, 2, dtype=torch.bool)
    )
    loss = PerExampleLoss(module=module, criterion=lambda out, target: (out - target).square().sum(-1))
    params = stack_runs([trainable_parameters(module)])
    with pytest.raises(UnsupportedModule, match=r"must be real, found 'phase' with dtype=torch.complex64"):
        engine(loss, params, batch, {"phase": 0})
