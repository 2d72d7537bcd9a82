"""Carrying a setting from one sweep to another, whose data may be of another size."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import final

from clifftop.lab.spec import Scalar
from clifftop.lab.sweep import Point, Sweep
from clifftop.lab.transfer.results import SIZES, Reached, Results, TransferError, level_name, number

_PARTS = ("model", "data", "optimizer")


class Keep(enum.StrEnum):
    """What stays when the number of examples changes. The passes over the data stay either way.

    The noise multiplier is calibrated to the target's own size, and the clip norm stays.
    """

    RATE = "rate"
    """The sampling probability and the steps: the batch grows with the data. At one epsilon the noise
    multiplier stays too, so each update has less noise."""
    BATCH = "batch"
    """The batch size: the steps grow with the data."""


class Lr(enum.StrEnum):
    """What becomes of the learning rate when the number of examples changes."""

    NOISE = "noise"
    """It grows as the noise of a whole training shrinks, like ``B / (sigma sqrt(T))``, so that the noise
    alone carries the parameters as far as it did (`clifftop.planning.advice`). For plain SGD; the steps of
    an adaptive optimiser do not grow with its gradients, so its learning rate stays."""
    KEPT = "kept"
    """It stays."""


@final
@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a setting is carried to data of another size: heuristics, measured in docs/planning.md."""

    keep: Keep = Keep.RATE
    lr: Lr = Lr.NOISE


USUAL = Rules()


@final
@dataclass(frozen=True, kw_only=True)
class Carried:
    """A setting that was carried.

    Attributes:
        level: the epsilon, or the noise multiplier, that was asked for.
        source: the setting in the sweep that it comes from.
        point: a value for each axis of the target but seeds.
    """

    level: float
    source: Reached
    point: Point


def choose(proxy: Results, target: Sweep, *, num_examples: int, rules: Rules = USUAL) -> tuple[Carried, ...]:
    """The proxy's best setting at each level of privacy that the target asks for, as a point of the target.

    Args:
        proxy: what was tuned, on public data.
        target: what it is for; its axes are what is taken over, and the values on them are not looked at, but
            for epsilons or noise multipliers.
        num_examples: N of the target.
        rules: what changes if the proxy has another N.

    Errors: TransferError for a proxy that is not declared public, for another metric, and as `carried`.
    """
    if not proxy.sweep.public:
        raise TransferError(
            "a proxy's data must be public, found public = false in sweep "
            f"{proxy.sweep.name!r}; what is tuned on private data costs privacy, which clifftop tune pays"
        )
    if proxy.sweep.goal != target.goal:
        raise TransferError(
            f"both sweeps must have one goal, found {proxy.sweep.goal.metric!r} and {target.goal.metric!r}; "
            "set the target's search.objective"
        )
    if proxy.level_name != level_name(target):
        raise TransferError(
            f"both sweeps must be given by {proxy.level_name}, found {level_name(target)} in the target; "
            "write the target's privacy as the proxy's"
        )
    return tuple(
        carried(proxy, proxy.best(level), target, level=level, num_examples=num_examples, rules=rules)
        for level in levels_of(target)
    )


def levels_of(sweep: Sweep) -> tuple[float, ...]:
    """The epsilons, or noise multipliers, that a sweep asks for."""
    name = level_name(sweep)
    if name in sweep.axes:
        return tuple(number(value) for value in sweep.axes_in_order.listed(name))
    return (number(getattr(sweep, name)),)


def carried(
    proxy: Results, cell: Reached, target: Sweep, *, level: float, num_examples: int, rules: Rules
) -> Carried:
    """One setting of the proxy as a point of the target.

    Errors: TransferError if the target fixes what the proxy tuned at another value, or leaves open what the
    proxy says nothing of.
    """
    _check_open(proxy, cell, target)
    ratio = num_examples / proxy.num_examples
    point: dict[str, Scalar] = {}
    for name in target.axes:
        if name == level_name(target):
            point[name] = level
        elif name in SIZES:
            point[name] = _size(proxy, cell, name, ratio=ratio, keep=rules.keep, most=num_examples)
        elif name != "seed":
            point[name] = _value(proxy.sweep, cell.point, name)
    plain = proxy.sweep.value("optimizer", cell.point) == "sgd"
    if rules.lr is Lr.NOISE and plain and "lr" in point and num_examples != proxy.num_examples:
        point["lr"] = _rescaled(proxy, cell, target, point, num_examples)
    return Carried(level=level, source=cell, point=point)


def _rescaled(proxy: Results, cell: Reached, target: Sweep, point: Point, num_examples: int) -> float:
    """The learning rate by `Lr.NOISE`, to six digits; as it was where there is no noise."""
    lr = number(point["lr"])
    spec = target.spec(point, num_examples=num_examples)
    before = number(proxy.sweep.value("expected_batch_size", cell.point)) / math.sqrt(cell.steps)
    after = (spec.plan.expected_batch_size or math.nan) / math.sqrt(spec.steps)
    if not (cell.noise_multiplier and spec.noise_multiplier):
        return lr
    ratio = (after / spec.noise_multiplier) / (before / cell.noise_multiplier)
    return float(f"{lr * ratio:.6g}")


def _check_open(proxy: Results, cell: Reached, target: Sweep) -> None:
    for name in proxy.sweep.axes:
        if name in target.axes or name in (*SIZES, "seed", proxy.level_name) or name.startswith("data."):
            continue
        tuned, fixed = _value(proxy.sweep, cell.point, name), _fixed(target, name)
        if tuned != fixed:
            raise TransferError(
                f"the target must leave {name} open, which the proxy tuned to {tuned!r}, found {fixed!r}; "
                f"make {name} one of the target's axes"
            )


def _value(sweep: Sweep, point: Point, name: str) -> Scalar:
    found = point[name] if name in point else _fixed(sweep, name)
    if found is None:
        raise TransferError(
            f"the proxy must say something of {name}, which the target leaves open, found nothing in sweep "
            f"{sweep.name!r}; fix it in the target"
        )
    return found


def _fixed(sweep: Sweep, name: str) -> Scalar:
    part, _, option = name.partition(".")
    if not option:
        return sweep.value(name, {})
    options = sweep.optimizer_options if part == "optimizer" else getattr(sweep, part).options
    found = options.get(option)
    return None if isinstance(found, tuple) else found


def _size(proxy: Results, cell: Reached, name: str, *, ratio: float, keep: Keep, most: int) -> Scalar:
    size = number(proxy.sweep.value("expected_batch_size", cell.point))
    if name == "expected_batch_size":
        return min(most, max(1, round(size * ratio if keep is Keep.RATE else size)))
    if name == "steps":
        return max(1, round(cell.steps if keep is Keep.RATE else cell.steps * ratio))
    epochs = proxy.sweep.value("epochs", cell.point)
    return epochs if epochs is not None else cell.steps * size / proxy.num_examples


def distance(one: Point, other: Point) -> float:
    """How far two points of one sweep are apart: logarithms of numbers; infinite where names differ."""
    total = 0.0
    for name, value in one.items():
        against = other.get(name)
        if value == against:
            continue
        if not (_is_positive(value) and _is_positive(against)):
            return math.inf
        total += abs(math.log(number(value) / number(against)))
    return total


def _is_positive(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
