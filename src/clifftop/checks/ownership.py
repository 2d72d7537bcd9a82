"""The optimiser must change exactly what the engine protects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from clifftop.checks.report import Findings, NotPrivate, listed, named_once, problem, warning
from clifftop.gradients.base import Criterion

_CHECK = "ownership"


def optimizer_findings(module: nn.Module, optimizer: torch.optim.Optimizer) -> Findings:
    """Missing, foreign and repeated parameters, and frozen ones that a stale gradient would change."""
    names = {id(p): name for name, _, p in named_once(module)}
    given: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    owned = {id(p) for p in given}
    missing = [name for name, _, p in named_once(module) if p.requires_grad and id(p) not in owned]
    foreign = len(owned - names.keys())
    found = Findings()
    if missing or foreign:
        found += problem(
            _CHECK,
            "the optimiser must own exactly the module's trainable parameters, found "
            f"{len(missing)} of them missing ({listed(missing) or 'none'}) and {foreign} foreign; "
            "build it from module.parameters()",
            missing,
        )
    repeated = [names.get(key, "a foreign one") for key, n in Counter(map(id, given)).items() if n > 1]
    if repeated:
        found += problem(
            _CHECK,
            f"the optimiser must own each parameter once, found {listed(repeated)} repeated: each step "
            "would apply its gradient again; give each parameter to one group",
            repeated,
        )
    frozen = [p for p in given if id(p) in names and not p.requires_grad]
    return found + _frozen(frozen, names)


def _frozen(frozen: list[Tensor], names: dict[int, str]) -> Findings:
    stale = [names[id(p)] for p in frozen if p.grad is not None]
    quiet = [names[id(p)] for p in frozen if p.grad is None]
    found = Findings()
    if stale:
        found += problem(
            _CHECK,
            f"a frozen parameter must not change, found that the optimiser owns {listed(stale)} with a "
            "gradient left from before, which it would apply at every step; call "
            "optimizer.zero_grad(set_to_none=True)",
            stale,
        )
    if quiet:
        found += warning(
            _CHECK,
            f"the optimiser owns the frozen {listed(quiet)}, which it will not change; to train them, set "
            "requires_grad before the first step",
            quiet,
        )
    return found


def criterion_findings(module: nn.Module, criterion: Criterion) -> Findings:
    """Parameters of the criterion that are not the module's: nothing protects or trains them."""
    if not isinstance(criterion, nn.Module):
        return Findings()
    own = {id(p) for p in module.parameters()}
    others = [name for name, p in criterion.named_parameters() if p.requires_grad and id(p) not in own]
    if not others:
        return Findings()
    return warning(
        _CHECK,
        f"the criterion's own {listed(others)} will not be trained, since only the module's parameters are "
        "protected; to train them, make them parameters of the module",
    )


def recheck(module: nn.Module, optimizer: torch.optim.Optimizer, *, protected: Iterable[str]) -> None:
    """Require that what is trained is still what was checked: call it at any later step.

    A parameter that is frozen, unfrozen, added or replaced in the middle of a run is trained by
    nothing, or by a gradient that nobody protects.

    Args:
        module: the module in training.
        optimizer: its optimiser.
        protected: the names that the engine gives gradients of.

    Raises:
        NotPrivate: the trainable parameters are others now, or the optimiser owns others.

    >>> layer = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> recheck(layer, optimizer, protected=["weight", "bias"])
    >>> _ = layer.bias.requires_grad_(False)
    >>> recheck(layer, optimizer, protected=["weight", "bias"])
    Traceback (most recent call last):
    clifftop.checks.report.NotPrivate: the trainable parameters must stay those of the first step, ...
    """
    now = {name for name, p in module.named_parameters() if p.requires_grad}
    before = set(protected)
    if now != before:
        raise NotPrivate(
            "the trainable parameters must stay those of the first step, found "
            f"{len(now - before)} more ({listed(sorted(now - before)) or 'none'}) and "
            f"{len(before - now)} fewer ({listed(sorted(before - now)) or 'none'}); set requires_grad "
            "before training and start a new run"
        )
    found = optimizer_findings(module, optimizer)
    if found.problems:
        raise NotPrivate(found.problems[0].message)
