"""What a run is: its moving parts as plain values, and what must agree before another takes them over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from clifftop.codec import CodecError, encode
from clifftop.gradients import GradientEngine
from clifftop.gradients.graph import Measured
from clifftop.noise import StreamKind
from clifftop.plan import PrivacyPlan


def described(value: object) -> Any:
    """A frozen value as plain data, so that two can be compared field by field.

    Canonical JSON, or the text of a value whose class another process could not find.
    """
    try:
        return encode(value)
    except CodecError:
        return repr(value)


def differences(saved: object, here: object, path: str = "") -> Iterator[str]:
    """Where two descriptions differ: ``plan.noise.noise_multiplier=1.0 there and 2.0 here``."""
    if isinstance(saved, Mapping) and isinstance(here, Mapping):
        for key in {**saved, **here}:
            name = f"{path}.{key}" if path else str(key)
            if key not in saved or key not in here:
                yield f"{name} only {'here' if key in here else 'there'}"
            else:
                yield from differences(saved[key], here[key], name)
    elif saved != here:
        yield f"{path}={_plain(saved)} there and {_plain(here)} here"


def require_alike(saved: object, here: object) -> None:
    """Errors: ValueError that names where two descriptions differ, the first three places."""
    found = list(differences(saved, here))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ValueError(
            f"a run resumes in a trainer that is constructed alike, found {'; '.join(found[:3])}{more}; "
            "construct the Trainer as the one that was saved"
        )


def claims_of(
    *,
    plan: PrivacyPlan,
    num_examples: int,
    streams: StreamKind,
    trained: Iterable[str],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None,
    tables: Iterable[str],
) -> dict[str, Any]:
    """What two trainers must have in common to train together, or one after the other."""
    return {
        "plan": described(plan),
        "num_examples": num_examples,
        "streams": described(streams),
        "trained": dict.fromkeys(trained, True),
        "module": tensors_of(module),
        "optimizer": type(optimizer).__name__,
        "optimizer_groups": [len(group["params"]) for group in optimizer.param_groups],
        "scheduler": None if scheduler is None else type(scheduler).__name__,
        "deferred": list(tables),
    }


def state_of(value: object) -> Any:
    """The state of a clipping rule or a noise mechanism, as tensors and plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: state_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: state_of(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [state_of(item) for item in value]
    return value


def state_like(template: Any, saved: Any) -> Any:
    """The inverse of `state_of`, given the state of a run that has not begun."""
    if is_dataclass(template) and not isinstance(template, type):
        names = [field.name for field in fields(template)]
        return replace(template, **{n: state_like(getattr(template, n), saved[n]) for n in names})
    if isinstance(template, Mapping):
        return {key: state_like(template.get(key), item) for key, item in saved.items()}
    if isinstance(template, (list, tuple)):
        inner = [*template, *[None] * (len(saved) - len(template))]
        return type(template)(state_like(t, item) for t, item in zip(inner, saved, strict=False))
    if isinstance(template, Tensor):
        return torch.as_tensor(saved).to(template.device)
    return saved


def tensors_of(module: nn.Module) -> dict[str, str]:
    """The names, shapes and dtypes in a module's state, by its own names."""
    return {name: _tensor(value) for name, value in module.state_dict().items()}


def _tensor(value: object) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def measurements_of(engine: GradientEngine) -> dict[str, Any] | None:
    """What an engine has measured to choose its ways by; two ways differ in rounding."""
    choices = getattr(engine, "choices", None)
    return choices.state_dict() if isinstance(choices, Measured) else None


def take_measurements(engine: GradientEngine, state: Mapping[str, Any] | None) -> None:
    """Let an engine choose as the saved run did; without measurements it chooses by itself."""
    choices = getattr(engine, "choices", None)
    if isinstance(choices, Measured) and state is not None:
        choices.load_state_dict(state)
