"""What one run is, as a value: a frozen description whose content gives its name.

A spec names its model and data by a `Factory` ("module:callable" and options), so it can be written
to a store, hashed, and sent to another process. Nothing is imported until a trainer resolves it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard, final

from clifftop.codec import CodecError, canonical_json, content_id

if TYPE_CHECKING:
    from clifftop.plan import PrivacyPlan

Scalar = str | int | float | bool | None
Option = Scalar | tuple["Option", ...]

_LARGEST_SEED = 2**63 - 1  # what a store's integer column holds
_LARGEST_NOISE_SEED = 2**256 - 1  # it may be a secret, as strong as a key


class SpecError(ValueError):
    """A spec that describes no run, or that names something that is not there."""


@final
class Options(Mapping[str, Option]):
    """A mapping that cannot change and can be hashed; lists in it become tuples.

    >>> Options({"hidden": [64, 32]})["hidden"]
    (64, 32)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._items: dict[str, Option] = {name: _option(name, value) for name, value in (items or {}).items()}

    def __getitem__(self, name: str) -> Option:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@final
@dataclass(frozen=True, kw_only=True)
class Factory:
    """Names a callable that builds a model or data.

    Attributes:
        target: ``"module:callable"``; dots after the colon reach into a class.
        options: the callable's keyword arguments, JSON scalars or lists of them (a list arrives as a
            tuple). An option has no declared type, so 1 and 1.0 are different contents.

    Raises:
        SpecError: ``target`` has another form, or an option is not JSON.

    >>> Factory(target="math:hypot").resolve()(3, 4)
    5.0
    """

    target: str
    options: Mapping[str, Option] = field(default_factory=Options)

    def __post_init__(self) -> None:
        module_name, _, path = self.target.partition(":")
        if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
            raise SpecError(f"target must be 'module:callable', found target={self.target!r}")
        object.__setattr__(self, "options", Options(self.options))

    def resolve(self) -> Callable[..., Any]:
        """Import the module and return the callable; this executes the module's code.

        Raises:
            SpecError: no such module, no such attribute, or not callable.
        """
        module_name, _, path = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            raise SpecError(
                f"target must name a module that imports, found target={self.target!r} ({error}); "
                "install it or add its folder to PYTHONPATH"
            ) from error
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise SpecError(
                    f"target must name a callable of its module, found target={self.target!r} ({error})"
                ) from error
        if not callable(found):
            raise SpecError(
                f"target must name a callable, found target={self.target!r} "
                f"of type {type(found).__qualname__}"
            )
        return found


@final
@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """Names an optimiser and its settings.

    Attributes:
        name: the optimiser's name, such as ``"sgd"``.
        lr: learning rate, finite and > 0.
        options: its other settings, JSON scalars.
    """

    name: str = "sgd"
    lr: float
    options: Mapping[str, Option] = field(default_factory=Options)

    def __post_init__(self) -> None:
        if not (_is_number(self.lr) and math.isfinite(self.lr) and self.lr > 0):
            raise SpecError(
                f"lr must be finite and > 0, found lr={self.lr!r}; pass a learning rate such as 0.1"
            )
        if not (isinstance(self.name, str) and self.name):
            raise SpecError(
                f"name must be an optimiser's name, found name={self.name!r}; pass for example 'sgd'"
            )
        options = Options(self.options)
        for name, value in options.items():
            if isinstance(value, tuple):
                raise SpecError(f"an optimiser's option must be a scalar, found {name}={value!r}")
        object.__setattr__(self, "options", options)


@final
@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that decides one run's numbers.

    Attributes:
        model: builds the model.
        data: builds the training and test data.
        plan: sampler, clipping and noise. A baseline has clip norm infinity and noise multiplier 0.
        optimizer: the optimiser and its learning rate.
        steps: optimiser steps, >= 1.
        evaluate_every: steps between evaluations, >= 1.
        seed: whole number in [0, 2**63); keys every random draw of the run.
        streams: a frozen dataclass that says which random streams the run draws from.
        criterion: names the per-example loss, called as ``(output, *targets) -> (B,)``; its options are
            keyword arguments of that call.
        metrics: names scores of the same form; their means over the test examples are recorded under the
            callables' own names, beside ``loss``.
        noise_seed: whole number in [0, 2**256) that keys the noise alone, so that runs with one ``seed``
            may share their data order and each have noise of its own; None draws the noise from ``seed``.

    Raises:
        SpecError: a field outside its range, or two metrics of one name.
        CodecError: a part that has no canonical JSON (found when `id` or `canonical` is asked for).
    """

    model: Factory
    data: Factory
    plan: PrivacyPlan
    optimizer: OptimizerSpec
    steps: int
    evaluate_every: int
    seed: int
    streams: Any
    criterion: Factory = Factory(target="clifftop.criteria:cross_entropy")
    metrics: tuple[Factory, ...] = (Factory(target="clifftop.criteria:accuracy"),)
    noise_seed: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, _LARGEST_SEED),
            ("evaluate_every", 1, _LARGEST_SEED),
            ("seed", 0, _LARGEST_SEED),
            ("noise_seed", 0, _LARGEST_NOISE_SEED),
        ):
            value = getattr(self, name)
            if name == "noise_seed" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise SpecError(f"{name} must be a whole number in [{low}, {high}], found {name}={value!r}")
        for name in ("plan", "streams"):
            value = getattr(self, name)
            if not is_dataclass(value) or isinstance(value, type):
                raise SpecError(f"{name} must be a frozen dataclass, found {name}={value!r}")
        names = ("loss", *self.metric_names)
        if len(set(names)) < len(names):
            raise SpecError(
                f"metrics must have names of their own, other than loss, found {', '.join(names[1:])}; "
                "give each callable another name"
            )

    @cached_property
    def canonical(self) -> str:
        """The spec as canonical JSON (`clifftop.codec`)."""
        return canonical_json(self)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for the same content in any process."""
        return content_id(self.canonical)

    @property
    def noise_key(self) -> int:
        """What keys the noise: runs with equal keys share it, up to its scale."""
        return self.seed if self.noise_seed is None else self.noise_seed

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names under which the metrics are recorded, in their order."""
        return tuple(metric.target.rpartition(":")[2].rpartition(".")[2] for metric in self.metrics)

    @property
    def noise_multiplier(self) -> float | None:
        """``plan.noise.noise_multiplier``, or None if the plan's noise has none."""
        return _axis(self.plan, "noise", "noise_multiplier")

    @property
    def clip_norm(self) -> float | None:
        """``plan.clipping.clip_norm``, or None if the plan's clipping has none."""
        return _axis(self.plan, "clipping", "clip_norm")


def _axis(plan: object, part: str, name: str) -> float | None:
    value = getattr(getattr(plan, part, None), name, None)
    return float(value) if _is_number(value) else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _option(name: str, value: Any) -> Option:
    if isinstance(value, (list, tuple)):
        return tuple(_option(name, item) for item in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise SpecError(f"an option must be a JSON scalar or a list, found {name}={value!r}")


__all__ = ["CodecError", "Factory", "OptimizerSpec", "Option", "Options", "RunSpec", "Scalar", "SpecError"]
