"""A data set as one pool, and a model's own random half of it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from clifftop.codec import canonical_json, decode
from clifftop.datasets import Rows, RowsDataset, TrainTest
from clifftop.lab.data import load_data
from clifftop.lab.spec import Factory, RunSpec
from clifftop.noise.streams import generator

HALF = "clifftop.lab.shadows.halves:half_of"


@final
class Pool:
    """The train and test rows of a data set, one after the other; an odd last row is left out."""

    def __init__(self, data: TrainTest) -> None:
        self.size = 2 * ((len(data.train) + len(data.test)) // 2)
        self.rows = Rows(
            inputs=tuple(map(self._joined, data.train.inputs, data.test.inputs)),
            targets=tuple(map(self._joined, data.train.targets, data.test.targets)),
        )

    def _joined(self, train: NDArray[np.generic], test: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([train, test])[: self.size]

    def part(self, places: NDArray[np.int64]) -> Rows:
        """The rows at these places."""
        return Rows(
            inputs=tuple(array[places] for array in self.rows.inputs),
            targets=tuple(array[places] for array in self.rows.targets),
        )


def pool_of(spec: RunSpec) -> Pool:
    """The pool of a spec's own data, as its own seed draws them."""
    return _pool(canonical_json(spec.data), spec.seed)


@lru_cache(maxsize=4)
def _pool(data: str, seed: int) -> Pool:
    return Pool(load_data(decode(json.loads(data), Factory), seed=seed))


def members(seed: int, size: int) -> NDArray[np.int64]:
    """The places of the records that the model with this seed is trained on: half of ``size``, in order.

    >>> members(1, 6).tolist() == members(1, 6).tolist(), len(members(1, 6))
    (True, 3)
    """
    drawn = generator(seed, "half of a pool").permutation(size)[: size // 2]
    return np.sort(drawn).astype(np.int64)


def half_of(*, pool: str, pool_seed: int, seed: int) -> TrainTest:
    """A data factory: the half of a pool that ``seed`` draws to train on, the other half to test on."""
    found = _pool(pool, pool_seed)
    inside = members(seed, found.size)
    outside = np.setdiff1d(np.arange(found.size), inside)
    return RowsDataset(train=found.part(inside), test=found.part(outside))


def shadow_spec(spec: RunSpec, *, seed: int) -> RunSpec:
    """The same run on a random half of its pool, with a seed of its own.

    Under Poisson sampling its event stays what it was: sampling probability, noise, clip norm, steps and
    learning rate stay. A divisor that was the expected batch size becomes that of the half.
    """
    pool = pool_of(spec)
    num_train = len(load_data(spec.data, seed=spec.seed).train)
    divisor = spec.plan.expected_batch_size
    plan = spec.plan
    if divisor is not None:
        plan = replace(plan, expected_batch_size=divisor * (pool.size // 2) / num_train)
    options = {"pool": canonical_json(spec.data), "pool_seed": spec.seed}
    return replace(
        spec,
        data=Factory(target=HALF, options=options),
        plan=plan,
        seed=seed,
        noise_seed=None,
        evaluate_every=spec.steps,
    )
