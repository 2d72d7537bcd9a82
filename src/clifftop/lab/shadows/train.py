"""Shadow models, trained as cohorts, and what each says of every record of the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from clifftop.audit.attacks import Observations, observations_of
from clifftop.audit.threads import on_one_thread
from clifftop.lab.cohort import train_cohort
from clifftop.lab.cohort.parts import build_model
from clifftop.lab.cohort.size import cohort_size
from clifftop.lab.shadows.halves import Pool, members, pool_of, shadow_spec
from clifftop.lab.spec import RunSpec, SpecError
from clifftop.noise.streams import generator

FEWEST = 8
MOST_AT_ONCE = 64
"""Models that train together: each holds its half of the pool."""
MOST_BYTES = 1 << 30
"""Of all halves that are held at once."""
MOST_PAIRS = 1 << 26
"""Of a model and a record: their outputs are held all at once."""
ROWS_AT_ONCE = 2048
Progress = Callable[[float, str], None]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Shadows:
    """Models on random halves of one pool, and what they say.

    Attributes:
        observations: of every model and record; one that diverged says the same of every class.
        test_accuracy: of each model on the half that it was not trained on.
        train_accuracy: on the half that it was.
        spec: of one of them.
        diverged: how many did.
    """

    observations: Observations
    test_accuracy: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    spec: RunSpec
    diverged: int


@on_one_thread
def train_shadows(
    spec: RunSpec,
    *,
    models: int,
    seed: int = 0,
    keep_probabilities: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Shadows:
    """Train models like ``spec`` on random halves of its pool, each with a seed of its own.

    The pool is all rows of the spec's data. A half is drawn by the model's seed, as are initialisation,
    batches and noise: models share nothing. The model must be a classifier: outputs ``(N, K)``, one target of
    classes.

    Args:
        spec: the setting; its plan may be private, clipped alone, or neither.
        models: M, at least 8.
        seed: names the models.
        keep_probabilities: whether observations keep those of all classes.
        device: where to train.
        progress: told the share that is done, and of what.

    Raises:
        SpecError: no classifier, fewer models than 8, more than can be held, or all but a few diverged.
    """
    if models < FEWEST:
        raise SpecError(
            f"models must be at least {FEWEST} to attack one with the others, found models={models}; "
            "64 is usual"
        )
    pool = pool_of(spec)
    if models * pool.size > MOST_PAIRS:
        raise SpecError(
            f"models must be at most {MOST_PAIRS // pool.size} for a pool of {pool.size} records, found "
            f"models={models}; train fewer"
        )
    seeds = generator(seed, "shadow models").integers(0, 2**62, size=models).tolist()
    specs = [shadow_spec(spec, seed=one) for one in seeds]
    logits = np.concatenate([part for part, _ in _trained(specs, pool, device, progress)])
    member = np.zeros((models, pool.size), dtype=np.bool_)
    for row, one in enumerate(seeds):
        member[row, members(one, pool.size)] = True
    fine = np.isfinite(logits).all(axis=(1, 2))
    # To leave a model out by what it became would be a choice by the outputs: it says nothing instead.
    logits[~fine] = 0.0
    if int(fine.sum()) < FEWEST:
        raise SpecError(
            f"{FEWEST} models or more must train without diverging, found {int(fine.sum())} of {models}; "
            "lower lr"
        )
    seen = observations_of(logits, _classes(pool, logits), member, keep_probabilities=keep_probabilities)
    inside = np.where(seen.member, seen.correct, False).sum(axis=1) / seen.member.sum(axis=1)
    outside = np.where(seen.member, False, seen.correct).sum(axis=1) / (~seen.member).sum(axis=1)
    return Shadows(
        observations=seen,
        test_accuracy=outside,
        train_accuracy=inside,
        spec=specs[0],
        diverged=models - int(fine.sum()),
    )


def _trained(
    specs: Sequence[RunSpec], pool: Pool, device: str, progress: Progress | None
) -> Iterator[tuple[NDArray[np.floating], int]]:
    """Logits ``(m, N, K)`` of some models at a time."""
    held = sum(array.nbytes for array in (*pool.rows.inputs, *pool.rows.targets)) // 2
    at_once = min(MOST_AT_ONCE, cohort_size(specs[0], device=device), max(1, MOST_BYTES // max(held, 1)))
    for start in range(0, len(specs), at_once):
        some = specs[start : start + at_once]
        if progress is not None:
            progress(
                start / len(specs), f"training models {start + 1} to {start + len(some)} of {len(specs)}"
            )
        *_, last = train_cohort(some, device=device, keep_parameters=True, checkpoint_seconds=float("inf"))
        assert last.parameters is not None
        yield np.stack([_logits(spec, last.parameters, row, pool) for row, spec in enumerate(some)]), start


def _logits(
    spec: RunSpec, parameters: Mapping[str, NDArray[np.floating]], row: int, pool: Pool
) -> NDArray[np.floating]:
    """``(N, K)`` outputs of one trained model on the whole pool, in evaluation mode."""
    model = build_model(spec).eval()
    own = {name: torch.from_numpy(value[row]) for name, value in parameters.items()}
    inputs = tuple(torch.from_numpy(array).split(ROWS_AT_ONCE) for array in pool.rows.inputs)
    with torch.no_grad():
        output = torch.cat([functional_call(model, own, part) for part in zip(*inputs, strict=True)])
    if output.ndim != 2 or output.shape[1] < 2:
        raise SpecError(
            "membership attacks need a classifier with outputs (N, K), K >= 2, found "
            f"{tuple(output.shape)} from {spec.model.target}; attack one that gives a logit a class"
        )
    return output.double().numpy()


def _classes(pool: Pool, logits: NDArray[np.floating]) -> NDArray[np.int64]:
    targets = pool.rows.targets
    if len(targets) != 1 or targets[0].ndim != 1 or targets[0].dtype != np.int64:
        raise SpecError(
            "membership attacks need one target of class numbers a record, found "
            f"{[(array.dtype.name, array.shape[1:]) for array in targets]}; attack a classifier"
        )
    if targets[0].min() < 0 or targets[0].max() >= logits.shape[2]:
        raise SpecError(
            f"classes must be 0 to {logits.shape[2] - 1}, found {targets[0].min()} to {targets[0].max()}; "
            "give the model an output a class"
        )
    return targets[0]
