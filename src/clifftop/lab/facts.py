"""What a results folder knows about the making of its runs: rows, parameters, versions, device, times.

`keep_facts` is called by `clifftop.lab.sweep.train_sweep`; `read_facts` needs no torch and imports nothing
that the folder names. Several processes may keep facts of one folder: what each knows is added to the rest.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, TypeVar, final

from clifftop import __version__
from clifftop.codec import CodecError, canonical_json, from_json
from clifftop.lab.contract import RunStore, StoreError
from clifftop.lab.spec import Factory, Option, Options

if TYPE_CHECKING:
    from clifftop.lab.sweep.base import Sweep
    from clifftop.lab.sweep.fit import Loaded
    from clifftop.lab.sweep.search import Point

FACTS_ARTIFACT = "facts.json"
_PACKAGES = ("torch", "numpy", "scipy")
_Size = TypeVar("_Size", "DataSize", "ModelSize")


@final
@dataclass(frozen=True, kw_only=True)
class DataSize:
    """The rows that a data factory gives, those of its first seed.

    Attributes:
        factory: names it.
        num_train: training rows.
        num_test: test rows.
    """

    factory: Factory
    num_train: int
    num_test: int


@final
@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A model's trained parameters, as numbers; frozen ones are not counted."""

    factory: Factory
    num_parameters: int


@final
@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a process trained with.

    Attributes:
        device: as torch names it; that of the call, also where workers elsewhere trained.
        machine: system and processor architecture.
        versions: of Python, Clifftop and the packages that compute.
    """

    device: str
    machine: str
    versions: Mapping[str, Option] = field(default_factory=Options)

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", Options(self.versions))


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a results folder knows about the making of its runs.

    Attributes:
        data: every data factory that a run was made for.
        models: every model factory.
        environments: of the processes that trained, in order of first appearance.
        started: when training first began, UTC, ISO 8601; None before.
        finished: when a call to train last came to its end; None before.
    """

    data: tuple[DataSize, ...] = ()
    models: tuple[ModelSize, ...] = ()
    environments: tuple[Environment, ...] = ()
    started: str | None = None
    finished: str | None = None

    @property
    def num_train(self) -> int | None:
        """Training rows, where all data have as many."""
        return _one(size.num_train for size in self.data)

    @property
    def num_test(self) -> int | None:
        """Test rows, where all data have as many."""
        return _one(size.num_test for size in self.data)

    @property
    def num_parameters(self) -> int | None:
        """Trained parameters, where all models have as many."""
        return _one(size.num_parameters for size in self.models)

    def size_of(self, data: Factory) -> DataSize | None:
        """The rows of one data factory."""
        wanted = canonical_json(data)
        return next((size for size in self.data if canonical_json(size.factory) == wanted), None)

    def parameters_of(self, model: Factory) -> int | None:
        """The trained parameters of one model factory."""
        wanted = canonical_json(model)
        found = (size.num_parameters for size in self.models if canonical_json(size.factory) == wanted)
        return next(found, None)

    def joined(self, other: Facts) -> Facts:
        """What both know; where they differ about one factory, ``other`` is right."""
        return Facts(
            data=_joined(self.data, other.data),
            models=_joined(self.models, other.models),
            environments=tuple(dict.fromkeys((*self.environments, *other.environments))),
        )


def read_facts(store: RunStore) -> Facts | None:
    """What a store knows about the making of its runs; None for one that no facts were kept in.

    Raises:
        StoreError: the facts are damaged, or of a newer version.
    """
    kept = _kept(store)
    if kept is None:
        return None
    ((started, finished),) = store.query(
        "SELECT min(CASE kind WHEN 'sweep_started' THEN at END), "
        "max(CASE kind WHEN 'sweep_ended' THEN at END) FROM event"
    )
    return replace(kept, started=started, finished=finished)


def keep_facts(store: RunStore, sweep: Sweep, points: Sequence[Point], *, data: Loaded, device: str) -> None:
    """Add what is known of these points, and of this process, to a store's facts."""
    by_data = {canonical_json(sweep.data_at(point)): point for point in reversed(points)}
    models = {canonical_json(sweep.model_at(point)): sweep.model_at(point) for point in points}
    add_facts(
        store,
        Facts(
            data=tuple(
                DataSize(
                    factory=sweep.data_at(point),
                    num_train=data.count(point),
                    num_test=data.count_test(point),
                )
                for point in reversed(by_data.values())
            ),
            models=tuple(
                ModelSize(factory=model, num_parameters=_num_parameters(model)) for model in models.values()
            ),
            environments=(environment(device),),
        ),
    )


def add_facts(store: RunStore, facts: Facts) -> None:
    """Add to a store's facts; what another process adds at the same time is not lost."""
    with _alone(store):
        known = _kept(store)
        content = canonical_json(facts if known is None else known.joined(facts)).encode("ascii")
        store.query(
            "INSERT OR REPLACE INTO artifact (name, at, content) "
            "VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?)",
            (FACTS_ARTIFACT, content),
        )


def environment(device: str) -> Environment:
    """What this process trains with on a device."""
    found = {name: metadata.version(name) for name in _PACKAGES if _is_installed(name)}
    return Environment(
        device=device,
        machine=f"{platform.system()} {platform.machine()}",
        versions={"python": platform.python_version(), "clifftop": __version__, **found},
    )


def _kept(store: RunStore) -> Facts | None:
    content = store.artifact(FACTS_ARTIFACT)
    if content is None:
        return None
    try:
        return from_json(content.decode(), Facts)
    except (CodecError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{FACTS_ARTIFACT} must hold facts that this version knows, found {error}; update clifftop"
        ) from error


@contextmanager
def _alone(store: RunStore) -> Iterator[None]:
    """Nobody else writes to the store inside."""
    store.query("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        store.query("ROLLBACK")
        raise
    store.query("COMMIT")


def _num_parameters(model: Factory) -> int:
    import torch
    from torch import nn

    make = model.resolve()
    with torch.random.fork_rng(devices=[]):
        built = None
        with suppress(Exception), torch.device("meta"):  # shapes without memory, where the factory bears it
            built = make(**model.options)
        if built is None:
            built = make(**model.options)
    assert isinstance(built, nn.Module)  # it was built before, and checked
    return sum(parameter.numel() for parameter in built.parameters() if parameter.requires_grad)


def _joined(first: Sequence[_Size], second: Sequence[_Size]) -> tuple[_Size, ...]:
    return tuple({canonical_json(size.factory): size for size in (*first, *second)}.values())


def _one(values: Iterator[int]) -> int | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
