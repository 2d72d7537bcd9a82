"""Which parameters the losses of the first examples depend on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clifftop.checks.report import Findings, listed, problem, warning
from clifftop.checks.subject import Subject, copies, nearby
from clifftop.gradients.randomness import DropoutFromUniforms


def reach_findings(subject: Subject) -> tuple[Findings, tuple[str, ...]]:
    """A problem where no parameter has a gradient, a warning where some have none, and the names of those.

    The losses are added up with weights of no pattern, so that the sum's gradient is zero only where
    every example's is. A parameter counts as without gradient where that holds near the parameters
    too: an adapter that starts at zero hides the layer before it, but not for long.
    """
    here = _without_gradient(subject, subject.params)
    if not here:
        return Findings(), ()
    near = nearby(subject.params, torch.Generator().manual_seed(3))
    unused = tuple(name for name in _without_gradient(subject, near) if name in here)
    count = f"{subject.rows.size} example(s)"
    if len(unused) == len(subject.params):
        found = problem(
            "reach",
            f"the loss must depend on the parameters, found no gradient in any of {len(unused)} on "
            f"{count}; look for detach(), no_grad(), integers or argmax on the way, or a criterion that "
            "ignores the output",
        )
        return found, unused
    found = Findings()
    if len(here) == len(subject.params):
        found += warning(
            "reach",
            f"no parameter has a gradient at the values that training starts from, on {count}, though "
            "some have one nearby: the first steps are noise alone; initialise them away from zero",
        )
    if unused:
        found += warning(
            "reach",
            f"{len(unused)} parameter(s) have no gradient on {count}: {listed(unused)}; where that stays "
            "so they get noise and nothing else, so freeze what is not used",
            unused,
        )
    return found, unused


def _without_gradient(subject: Subject, params: Mapping[str, Tensor]) -> tuple[str, ...]:
    gradients = _gradients(subject, params)
    return tuple(name for name, g in gradients.items() if g is None or not bool((g != 0).any()))


def _gradients(subject: Subject, params: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    live = {name: p.detach().requires_grad_() for name, p in params.items()}
    rows = subject.rows
    uniforms = [u.movedim(0, d.axis) for u, d in zip(rows.uniforms, subject.dropouts, strict=True)]
    with torch.enable_grad(), DropoutFromUniforms(uniforms):
        losses = subject.loss(live, subject.constants(), copies(rows.inputs), copies(rows.targets))
        if not losses.requires_grad:
            return dict.fromkeys(live)
        weights = torch.rand(len(losses), generator=torch.Generator().manual_seed(2)) + 0.5
        found = torch.autograd.grad(
            (losses * weights.to(losses)).sum(), list(live.values()), allow_unused=True
        )
    dense = [g.to_dense() if g is not None and g.is_sparse else g for g in found]
    return dict(zip(live, dense, strict=True))
