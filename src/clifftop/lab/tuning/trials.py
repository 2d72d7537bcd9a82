"""The trials of a tuning: how many, with which settings and seeds; drawn once, from a secret."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

from clifftop.lab.spec import Options, RunSpec
from clifftop.lab.tuning.design import Design
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.streams import SecretStreams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.random import Generator

    from clifftop.lab.spec import Option

SECRET_BITS, SEED_BITS = 256, 63


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: where its setting was drawn, and the run there."""

    point: Mapping[str, Option]
    spec: RunSpec = field(repr=False)


def new_secret() -> int:
    """256 bits from the operating system."""
    return secrets.randbits(SECRET_BITS)


def secret_generator(secret: int, purpose: str, step: int = 0) -> Generator:
    """A generator that nobody without the secret can foresee; purposes and steps give independent ones."""
    from clifftop.noise.bits import KeystreamGenerator
    from clifftop.noise.keystream import Keystreams

    return KeystreamGenerator(Keystreams().at(seed=secret, purpose=f"tuning/{purpose}", step=step))


def draw_trials(design: Design, secret: int) -> tuple[Trial, ...]:
    """All trials of a tuning: K of them, each with a setting and a seed drawn by itself.

    The same secret gives the same trials. None of it looks at the data.
    """
    count = design.trials.draw(secret_generator(secret, "number of trials"))
    return tuple(_draw(design, secret, number) for number in range(count))


def _draw(design: Design, secret: int, number: int) -> Trial:
    rng = secret_generator(secret, "setting", number)
    point = design.sweep.draw(rng)
    seed = int(rng.integers(0, 1 << SEED_BITS, dtype="uint64"))
    spec = replace(design.spec(point, seed=seed), streams=SecretStreams(secret))
    return Trial(point=Options(point), spec=spec)


def require_sound(design: Design, trials: Sequence[Trial]) -> None:
    """Refuse trials to which the theorem does not apply, however they came about.

    Raises:
        TuneError: two share batches or noise, or one costs more than was priced.
    """
    from clifftop.lab.tuning.covering import setting_of

    keys = {(trial.spec.streams, trial.spec.noise_key) for trial in trials}
    seeds = {(trial.spec.streams, trial.spec.seed) for trial in trials}
    if len(keys) < len(trials) or len(seeds) < len(trials):
        raise TuneError("trials must be independent, found two that share a seed; begin the tuning anew")
    for trial in trials:
        setting = setting_of(trial.spec, num_examples=design.num_examples)
        least = design.least_noise.get((setting.sampling_prob, setting.steps))
        if least is None or setting.noise_multiplier < least:
            raise TuneError(
                "trials must cost no more than was priced, found one that does; begin the tuning anew"
            )
