"""From a point to the run that stands there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

from clifftop.accounting.calibration import Unreachable
from clifftop.clipping import Automatic, ClippingRule, Flat, PerLayer
from clifftop.lab.spec import OptimizerSpec, RunSpec
from clifftop.lab.sweep.choices import SharingMode
from clifftop.lab.sweep.errors import SweepFault
from clifftop.lab.sweep.privacy import noise_for
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import BatchSampler, FixedOrder, Poisson

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep
    from clifftop.lab.sweep.search import Point


@final
@dataclass(frozen=True)
class Sampling:
    """A sampler by what a sweep knows: the batch size B and N examples.

    Attributes:
        build: the sampler for (B, N).
        steps_of: the steps of one epoch for (B, N), as an exact number.
    """

    build: Callable[[int, int], BatchSampler]
    steps_of: Callable[[int, int], Fraction]


SAMPLINGS: Mapping[str, Sampling] = {
    "poisson": Sampling(lambda b, n: Poisson(sampling_prob=b / n), lambda b, n: Fraction(n, b)),
    "fixed-order": Sampling(
        lambda b, _: FixedOrder(batch_size=b),
        lambda b, n: Fraction(FixedOrder(batch_size=b).steps_per_epoch(n)),
    ),
}
CLIPPING_RULES: Mapping[str, Callable[[float], ClippingRule[Any]]] = {
    "flat": lambda norm: Flat(clip_norm=norm),
    "automatic": lambda norm: Automatic(clip_norm=norm),
    "per-layer": lambda norm: PerLayer(clip_norm=norm),
}


def build_spec(
    sweep: Sweep, point: Point, *, num_examples: int, seed: int | None = None, noise_seed: int | None = None
) -> RunSpec:
    """See `clifftop.lab.sweep.Sweep.spec`."""
    spec = _unshared(sweep, point, num_examples, seed)
    plan = replace(spec.plan, clipping=_clipping(sweep, point))
    spec = replace(spec, plan=_with_noise(sweep, point, plan, steps=spec.steps, num_examples=num_examples))
    return shared_draws(sweep, spec, seed=seed, noise_seed=noise_seed)


def build_baseline(sweep: Sweep, point: Point, *, num_examples: int) -> RunSpec:
    """The run at a point with neither clipping nor noise: it is not private."""
    return shared_draws(sweep, _unshared(sweep, point, num_examples, None))


def steps_of(sweep: Sweep, point: Point, num_examples: int) -> int:
    """Optimiser steps at a point: those asked for, or ``ceil(epochs * steps of an epoch)``."""
    steps = sweep.value("steps", point)
    return (
        int(steps)
        if steps is not None
        else _in_steps(sweep, point, sweep.value("epochs", point), num_examples)
    )


def _in_steps(sweep: Sweep, point: Point, epochs: Any, num_examples: int) -> int:
    size = int(_number(sweep, "expected_batch_size", point))
    # As it was written: 0.1 epochs of 1000 steps are 100, and not the 101 of the nearest binary number.
    return math.ceil(Fraction(repr(float(epochs))) * SAMPLINGS[sweep.sampler].steps_of(size, num_examples))


def _unshared(sweep: Sweep, point: Point, num_examples: int, seed: int | None) -> RunSpec:
    """The run at a point, without clipping and noise, whose draws all follow its seed."""
    size = int(_number(sweep, "expected_batch_size", point))
    if size > num_examples:
        raise SweepFault(
            "expected_batch_size",
            f"must be at most the {num_examples} training rows, found {size}; ask for a smaller batch",
        )
    plan = PrivacyPlan(
        sampler=SAMPLINGS[sweep.sampler].build(size, num_examples),
        clipping=Flat(clip_norm=math.inf),
        noise=Gaussian(noise_multiplier=0.0),
        neighboring_relation=_relation(sweep),
        expected_batch_size=float(size),
    )
    options = {name.partition(".")[2]: v for name, v in point.items() if name.startswith("optimizer.")}
    every = sweep.evaluate_every or _in_steps(sweep, point, sweep.evaluate_every_epochs or 1, num_examples)
    return RunSpec(
        model=sweep.model_at(point),
        data=sweep.data_at(point),
        plan=plan,
        optimizer=OptimizerSpec(
            name=str(sweep.value("optimizer", point)),
            lr=_number(sweep, "lr", point),
            options={**sweep.optimizer_options, **options},
        ),
        steps=steps_of(sweep, point, num_examples),
        evaluate_every=every,
        seed=int(_number(sweep, "seed", point)) if seed is None else seed,
        streams=Keyed(),
        criterion=sweep.criterion,
        metrics=sweep.metrics,
    )


def _clipping(sweep: Sweep, point: Point) -> ClippingRule[Any]:
    return CLIPPING_RULES[str(sweep.value("clipping", point))](_number(sweep, "clip_norm", point))


def _with_noise(
    sweep: Sweep, point: Point, plan: PrivacyPlan, *, steps: int, num_examples: int
) -> PrivacyPlan:
    target = sweep.value("target_epsilon", point)
    if target is None:
        return replace(plan, noise=Gaussian(noise_multiplier=_number(sweep, "noise_multiplier", point)))
    template = replace(plan, clipping=plan.clipping.template())  # its numbers change no epsilon
    try:
        sigma = noise_for(
            template,
            target_epsilon=_number(sweep, "target_epsilon", point),
            delta=sweep.delta,
            steps=steps,
            num_examples=num_examples,
        )
    except Unreachable as error:
        raise SweepFault("target_epsilon", f"{error}; found at {dict(point)}") from error
    return replace(plan, noise=Gaussian(noise_multiplier=sigma))


def shared_draws(
    sweep: Sweep, spec: RunSpec, *, seed: int | None = None, noise_seed: int | None = None
) -> RunSpec:
    """The run with draws of its own, as far as the mode wants; they follow from what the run is."""
    if noise_seed is not None:
        return replace(spec, noise_seed=noise_seed)
    if sweep.sharing is SharingMode.ORDER:
        # Beside a secret the seed only tells runs apart, and has the bits that are left for it.
        return replace(spec, noise_seed=_key(spec, "noise", bits=63 if sweep.secret_seeds else 256))
    if sweep.sharing is SharingMode.INDEPENDENT and seed is None:
        return replace(spec, seed=_key(spec, "seed", bits=63))
    return spec


def _key(spec: RunSpec, purpose: str, *, bits: int) -> int:
    digest = hashlib.sha256(f"clifftop/sweep/{purpose}/{spec.canonical}".encode()).digest()
    return int.from_bytes(digest, "big") >> (256 - bits)


def _number(sweep: Sweep, name: str, point: Point) -> float:
    value = sweep.value(name, point)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SweepFault(
            name, f"must have a value at every point, found {value!r} at {dict(point)}; add it to the point"
        )
    return value


def _relation(sweep: Sweep) -> Any:
    assert sweep.neighboring_relation is not None
    return sweep.neighboring_relation
