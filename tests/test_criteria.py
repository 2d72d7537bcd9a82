"""The per-example loss equals torch's own, gradient included."""

import torch
import torch.nn.functional as F

from clifftop.criteria import cross_entropy


def test_cross_entropy_is_torchs_own():
    g = torch.Generator().manual_seed(0)
    logits = (30 * torch.randn(40, 7, generator=g, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(0, 7, (40,), generator=g)
    ours, theirs = cross_entropy(logits, targets), F.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.rand(40, generator=g, dtype=torch.float64)
    (a,) = torch.autograd.grad((ours * weights).sum(), logits)
    (b,) = torch.autograd.grad((theirs * weights).sum(), logits)
    assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)
