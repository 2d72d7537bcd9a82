"""What can be said of a module, an optimiser and a plan without running anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clifftop.checks.report import Findings, listed, problem, warning
from clifftop.checks.subject import Rows
from clifftop.gradients.base import UnsupportedModule, refuse_unprotectable
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson

_HALF = {torch.float16, torch.bfloat16}


def parameter_findings(module: nn.Module) -> Findings:
    """Parameters that do not exist yet, have no numbers, or too few digits."""
    everything = list(module.named_parameters())
    lazy = [name for name, p in everything if is_lazy(p)]
    if lazy:
        return problem(
            "parameters",
            f"every parameter must have its shape before training, found {listed(lazy)} not initialised; "
            "run the module once on a few examples, then build the optimiser",
            lazy,
        )
    trained = {name: p for name, p in everything if p.requires_grad}
    if not trained:
        return problem(
            "parameters",
            f"the module must have a parameter to train, found 0 of {len(everything)} with "
            "requires_grad=True; unfreeze some before the optimiser is built",
        )
    wrong = [n for n, p in trained.items() if p.device.type != "meta" and not bool(torch.isfinite(p).all())]
    if wrong:
        return problem(
            "parameters",
            f"parameters must be finite, found NaN or infinity in {listed(wrong)}; initialise or load "
            "them again",
            wrong,
        )
    half = [name for name, p in trained.items() if p.dtype in _HALF]
    if not half:
        return Findings()
    return warning(
        "parameters",
        f"trained parameters have half precision ({listed(half)}), where a small update rounds to "
        "nothing; hold them in float32 and run the forward pass under torch.autocast",
        half,
    )


def device_findings(module: nn.Module, rows: Rows) -> Findings:
    """Parameters on several devices, and data on another than theirs."""
    homes: dict[torch.device, list[str]] = {}
    for name, x in (*module.named_parameters(), *module.named_buffers()):
        homes.setdefault(x.device, []).append(name)
    if len(homes) > 1:
        where = ", ".join(f"{listed(names, most=1)} on {device}" for device, names in homes.items())
        return problem(
            "devices",
            f"parameters and buffers must lie on one device, found {len(homes)} ({where}); move the "
            "module with .to(device), then build the optimiser",
        )
    home = next(iter(homes), torch.device("cpu"))
    if home.type == "meta":
        return problem(
            "devices",
            "parameters must hold numbers, found them on the meta device; call "
            "module.to_empty(device=...) and load or initialise them",
        )
    away = sorted({str(x.device) for x in (*rows.inputs, *rows.targets) if x.device != home})
    if away:
        return problem(
            "devices",
            f"data must lie where the parameters are, found data on {', '.join(away)} and parameters on "
            f"{home}; move one of them with .to(...)",
        )
    return Findings()


def layer_findings(module: nn.Module) -> Findings:
    """Layers and parameters that no engine can protect, known by their type."""
    try:
        refuse_unprotectable(module)
    except UnsupportedModule as refusal:
        return problem("layers", str(refusal))
    return Findings()


def data_findings(rows: Rows) -> Findings:
    """Examples that hold NaN or infinity."""
    kinds = (("inputs", rows.inputs), ("targets", rows.targets))
    wrong = [kind for kind, tensors in kinds if not all(map(_finite, tensors))]
    if not wrong:
        return Findings()
    return problem(
        "data",
        f"examples must be finite, found NaN or infinity in the {' and '.join(wrong)}; replace missing "
        "values before training",
        (),
    )


def plan_findings(plan: PrivacyPlan, num_examples: int) -> Findings:
    """What the plan says against what the data set's size says."""
    try:
        plan.event(steps=1, num_examples=num_examples)
    except ValueError as refusal:
        return problem("plan", str(refusal), ())
    found = Findings()
    if not plan.is_private:
        found += warning(
            "plan", "nothing can be claimed of this plan: it has no noise, or no finite clip norm"
        )
    realised = _typical_batch_size(plan, num_examples)
    if realised is None:
        return found
    size = plan.expected_batch_size
    if size is not None and abs(size - realised) > 0.01 * realised:
        found += warning(
            "plan",
            f"the noisy sum is divided by expected_batch_size={size:g}, but a batch has {realised:g} of "
            f"num_examples={num_examples} examples on average: the step is {realised / size:.3g} times "
            "the mean gradient; set expected_batch_size to sampling_prob * num_examples",
        )
    if realised < 2:
        found += warning(
            "plan",
            f"a batch has {realised:g} example(s) on average, so the noise outweighs the gradient in "
            "every step; use a larger sampling_prob or batch_size",
        )
    return found


def _typical_batch_size(plan: PrivacyPlan, num_examples: int) -> float | None:
    match plan.sampler:
        case Poisson(sampling_prob=q):
            return q * num_examples
        case FixedOrder(batch_size=size):
            return float(size)
        case _:
            return None


def _finite(x: Tensor) -> bool:
    return not x.is_floating_point() or bool(torch.isfinite(x).all())
