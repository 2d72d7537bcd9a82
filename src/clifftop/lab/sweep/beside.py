"""The runs of a sweep: those asked for, and the counterfactuals beside them, each once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clifftop.clipping import Flat, Unclipped, WholeBatch
from clifftop.lab.spec import RunSpec
from clifftop.lab.sweep.building import build_baseline, build_spec, shared_draws
from clifftop.lab.sweep.choices import SharingMode
from clifftop.lab.sweep.knobs import NOISE_LEVELS, NOT_OF_A_BASELINE
from clifftop.noise import Gaussian
from clifftop.vocabulary import Arm

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep
    from clifftop.lab.sweep.search import Point


def runs_at(
    sweep: Sweep, points: tuple[Point, ...], num_examples: Callable[[Point], int]
) -> Iterator[tuple[RunSpec, Point]]:
    """Runs with their points; what stands beside a run comes before the first such run."""
    asked = [build_spec(sweep, point, num_examples=num_examples(point)) for point in points]
    known = {spec.id for spec in asked}  # a run that was asked for stands where it was asked for
    seen: set[tuple[object, ...]] = set()
    for point, spec in zip(points, asked, strict=True):
        for arm in _arms(sweep, spec):
            where = _point_of(arm, point)
            # Runs with seeds of their own have counterfactuals of their own.
            own = spec.seed if sweep.counterfactuals and sweep.sharing is SharingMode.INDEPENDENT else None
            key = (arm, own, *map(repr, where.items()))
            if key in seen:
                continue
            seen.add(key)
            found = _beside(sweep, arm, spec, where, num_examples(point))
            if found.id not in known:
                yield found, where
        yield spec, point


def _arms(sweep: Sweep, spec: RunSpec) -> Iterator[Arm]:
    """The counterfactuals of a run; one without privacy has no effect of clipping or noise to split."""
    if sweep.baselines or sweep.counterfactuals:
        yield Arm.NEITHER
    if sweep.counterfactuals and spec.plan.is_private:
        yield Arm.CLIPPING
        yield Arm.NOISE
    if sweep.original_model is not None:
        yield Arm.ORIGINAL


def _point_of(arm: Arm, point: Point) -> Point:
    """The axes on which a counterfactual has a place."""
    match arm:
        case Arm.CLIPPING:
            left_out: tuple[str, ...] = NOISE_LEVELS
        case Arm.NOISE:
            left_out = ("clipping",)
        case _:
            left_out = NOT_OF_A_BASELINE
    return {
        name: value
        for name, value in point.items()
        if name not in left_out and not (arm is Arm.ORIGINAL and name.startswith("model."))
    }


def _beside(sweep: Sweep, arm: Arm, spec: RunSpec, where: Point, num_examples: int) -> RunSpec:
    """A counterfactual of ``spec``: the same draws of batches, initialisation and noise."""
    match arm:
        case Arm.NOISE:
            return _with(spec, clipping=Unclipped(noise_scale=_clip_norm(spec)))
        case Arm.CLIPPING:
            found = _with(spec, noise=Gaussian(noise_multiplier=0.0))
        case Arm.ORIGINAL:
            assert sweep.original_model is not None
            found = _with(spec, clipping=WholeBatch(), noise=Gaussian(noise_multiplier=0.0))
            found = replace(found, model=sweep.original_model)
        case _ if not sweep.counterfactuals:
            return build_baseline(sweep, where, num_examples=num_examples)
        case _:
            found = _with(spec, clipping=Flat(clip_norm=math.inf), noise=Gaussian(noise_multiplier=0.0))
    if sweep.sharing is SharingMode.INDEPENDENT:
        return found
    # Without noise its seed changes nothing; it must not tell apart what many runs share.
    return shared_draws(sweep, replace(found, noise_seed=None))


def _with(spec: RunSpec, **parts: Any) -> RunSpec:
    return replace(spec, plan=replace(spec.plan, **parts))


def _clip_norm(spec: RunSpec) -> float:
    assert spec.clip_norm is not None
    return spec.clip_norm
