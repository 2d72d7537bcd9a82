"""Which runs may train together."""

from __future__ import annotations

from dataclasses import replace

from clifftop.lab.spec import RunSpec


def static_key(spec: RunSpec) -> str:
    """Specs with equal keys may train as one cohort."""
    clipping, noise = spec.plan.clipping.template(), spec.plan.noise
    # Beside a rule that noise cannot be in proportion to, there is none, and it is no data.
    plan = replace(spec.plan, clipping=clipping, noise=noise.template() if clipping.scales_noise else noise)
    own_noise = None if spec.noise_seed is None else 0
    optimizer = replace(spec.optimizer, lr=1.0)
    return replace(spec, seed=0, noise_seed=own_noise, optimizer=optimizer, plan=plan).id
