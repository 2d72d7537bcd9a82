"""From the factory that a spec names to the rows that cohorts train on."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from clifftop.codec import canonical_json
from clifftop.datasets import Rows, RowsDataset, TrainTest
from clifftop.lab.materialise import rows_of_dataset, rows_of_mapping
from clifftop.lab.spec import Factory, SpecError

_KEPT = 2  # data sets: enough for a cohort and the next one, and no more memory than that
_FORMS = (
    "return a clifftop.datasets.ArrayDataset or RowsDataset, or a pair (train, test) of torch Datasets or of "
    "mappings with inputs and targets"
)


def load_data(factory: Factory, *, seed: int) -> TrainTest:
    """The data that ``factory`` builds, as rows.

    The callable gets its options, and ``seed=`` if it has a parameter of that name that no option sets.
    What was loaded for equal (target, options), and seed where it is taken, is the same object again: the
    last two data sets are kept. Python's, NumPy's and torch's global generators start from the seed that the
    callable was given, or from 0, and are given back, so that a random split is the same in every process. A
    factory may return

    - anything with ``train`` and ``test`` rows (`TrainTest`),
    - a pair ``(train, test)``, or a mapping with these names, of `Rows`, of map-style torch Datasets (read
      once, row by row: random augmentation is frozen), or of mappings with ``inputs`` and ``targets``
      and maybe ``groups``,
    - a mapping with ``train_inputs``, ``train_targets``, ``test_inputs`` and ``test_targets``: arrays or
      tensors, or tuples of them; maybe ``train_groups`` and ``test_groups`` too.

    Args:
        factory: names the callable.
        seed: the run's.

    Raises:
        SpecError: no such callable, one that raises, or one that returns no data; names the factory.
    """
    make = factory.resolve()
    own = seed if "seed" not in factory.options and _takes_seed(make) else None
    return _loaded(make, _Named(factory), own)


class _Named:
    """A factory that equals another only if their contents do: a plain one takes 1 and True for equal."""

    def __init__(self, factory: Factory) -> None:
        self.factory, self._content = factory, canonical_json(factory)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Named) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


@lru_cache(maxsize=_KEPT)
def _loaded(make: Callable[..., Any], named: _Named, seed: int | None) -> TrainTest:
    factory = named.factory
    options = dict(factory.options) if seed is None else {**factory.options, "seed": seed}
    try:
        with _generators_from(0 if seed is None else seed):
            return train_test(make(**options))
    except Exception as error:  # foreign code: whatever it raises, the factory is what a person can mend
        text = " ".join(str(error).split()) or "no message"
        raise SpecError(
            f"data must load, found target={factory.target!r} raising {type(error).__name__}: {text}"
        ) from error


def train_test(found: Any) -> TrainTest:
    """What a factory returned, as rows.

    Raises:
        ValueError: no form that `load_data` lists; the line says what to return.
    """
    if isinstance(found, Mapping):
        return _of_mapping(found)
    if isinstance(found, (tuple, list)):
        if len(found) != 2:
            raise ValueError(f"a pair must be (train, test), found {len(found)} parts; {_FORMS}")
        return RowsDataset(train=_rows("train", found[0]), test=_rows("test", found[1]))
    if isinstance(getattr(found, "train", None), Rows) and isinstance(getattr(found, "test", None), Rows):
        return found
    raise ValueError(f"a data factory must return data, found {type(found).__name__}; {_FORMS}")


def _of_mapping(found: Mapping[str, Any]) -> TrainTest:
    if {"train", "test"} <= found.keys():
        return RowsDataset(train=_rows("train", found["train"]), test=_rows("test", found["test"]))
    parts = {
        side: {name: found.get(f"{side}_{name}") for name in ("inputs", "targets", "groups")}
        for side in ("train", "test")
    }
    absent = [
        f"{side}_{name}"
        for side, part in parts.items()
        for name, x in part.items()
        if x is None and name != "groups"
    ]
    if absent:
        raise ValueError(
            f"a mapping must have train_inputs, train_targets, test_inputs and test_targets, or train and "
            f"test, found no {', '.join(absent)}; {_FORMS}"
        )
    return RowsDataset(
        train=rows_of_mapping("train", parts["train"]), test=rows_of_mapping("test", parts["test"])
    )


def _rows(side: str, found: Any) -> Rows:
    if isinstance(found, Rows):
        return found
    if isinstance(found, Mapping):
        return rows_of_mapping(side, found)
    return rows_of_dataset(side, found)


def torch_dataset(
    *,
    datasets: str,
    input_names: Sequence[str] | None = None,
    target_names: Sequence[str] = ("target",),
    **options: Any,
) -> TrainTest:
    """Torch Datasets whose rows are dicts: says which names are inputs and which are targets.

    Args:
        datasets: ``"module:callable"`` that returns a pair (train, test) of map-style Datasets, or a mapping
            with these names.
        input_names: the model's arguments in their order; by default every other name of the first row.
        target_names: the criterion's arguments after the output, in their order.
        options: the callable's keyword arguments.

    Raises:
        SpecError: no such callable.
        ValueError: it returns no pair of Datasets, or a row lacks a name.
    """
    found = Factory(target=datasets).resolve()(**options)
    if isinstance(found, Mapping) and {"train", "test"} <= found.keys():
        found = (found["train"], found["test"])
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise ValueError(
            f"datasets must return a pair (train, test) of torch Datasets, found {type(found).__name__} from "
            f"{datasets}"
        )
    train, test = (
        rows_of_dataset(side, dataset, input_names=input_names, target_names=target_names)
        for side, dataset in zip(("train", "test"), found, strict=True)
    )
    return RowsDataset(train=train, test=test)


@contextmanager
def _generators_from(seed: int) -> Generator[None, None, None]:
    """Global generators that start from ``seed``, and go on afterwards as if nothing had been drawn."""
    before, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(legacy)


def _takes_seed(make: Callable[..., Any]) -> bool:
    try:
        found = inspect.signature(make).parameters.get("seed")
    except (TypeError, ValueError):  # a callable written in C may have no signature
        return False
    return found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)


__all__ = ["load_data", "torch_dataset", "train_test"]
