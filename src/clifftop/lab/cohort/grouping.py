"""Which runs may train together."""

from __future__ import annotations

from dataclasses import replace

from clifftop.lab.spec import RunSpec


def static_key(spec: RunSpec) -> str:
    """Specs with equal keys may train as one cohort."""
    plan = replace(spec.plan, clipping=spec.plan.clipping.template(), noise=spec.plan.noise.template())
    own_noise = None if spec.noise_seed is None else 0
    optimizer = replace(spec.optimizer, lr=1.0)
    return replace(spec, seed=0, noise_seed=own_noise, optimizer=optimizer, plan=plan).id
