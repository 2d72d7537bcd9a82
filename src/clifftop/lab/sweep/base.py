"""A sweep as a value: one run's settings, the axes that vary, and what is to become of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from clifftop.codec import canonical_json
from clifftop.events import NeighboringRelation
from clifftop.lab.spec import Factory, Option, Options, RunSpec, Scalar
from clifftop.lab.sweep.axes import Axes
from clifftop.lab.sweep.checking import checked
from clifftop.lab.sweep.choices import Goal, Release, SharingMode
from clifftop.lab.sweep.errors import SweepFault
from clifftop.lab.sweep.search import REPEATS, Fixed, Grid, Point, Search, draw

if TYPE_CHECKING:
    import numpy as np

_CROSS_ENTROPY = Factory(target="clifftop.criteria:cross_entropy")
_ACCURACY = Factory(target="clifftop.criteria:accuracy")
_DEFAULTS: Mapping[str, Scalar] = {"seed": 0, "clipping": "flat", "optimizer": "sgd"}


@final
@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Many runs of one model on one data set, as a value.

    A setting is either fixed here or an axis, and exactly one of the two if it has no default. A factory
    may be written as its target, an axis as a list of values or as a table.

    Attributes:
        name: of the sweep; a results folder belongs to one name.
        model: builds the model.
        data: builds training and test data.
        delta: at which epsilon is reported, in (0, 1).
        criterion: per-example loss.
        metrics: per-example scores.
        sampler: ``poisson`` or ``fixed-order``.
        neighboring_relation: by default add-or-remove-one for Poisson sampling, zero-out for a fixed order.
        expected_batch_size: whole number of examples a step.
        noise_multiplier: sigma; exclusive with ``target_epsilon``.
        target_epsilon: the noise is the least whose certified epsilon is at most this.
        clip_norm: C.
        clipping: ``flat`` (the default), ``automatic`` or ``per-layer``.
        optimizer: by default ``sgd``.
        optimizer_options: its settings but the learning rate.
        lr: learning rate.
        epochs: passes over the data, on average; exclusive with ``steps``.
        steps: optimiser steps.
        evaluate_every: steps between evaluations; exclusive with ``evaluate_every_epochs``.
        evaluate_every_epochs: the same in epochs; by default 1.
        seed: by default 0.
        sharing: what runs of one seed share.
        baselines: whether each setting also gets a run without clipping and noise. Such a run is not private.
        counterfactuals: whether each private run also gets three runs of the same draws: one with neither
            clipping nor noise (the baseline), one that is clipped and not noised, one that is noised and not
            clipped. They say what of the loss is clipping's and what noise's, and are not private either.
        original_model: builds the model as it was before it was made fit for privacy, with BatchNorm and
            the like; each setting also gets a run of it, trained on whole batches and not private.
        per_layer: whether a run's diagnostics are also recorded layer by layer.
        public: whether the data are public, so that no run costs privacy.
        secret_seeds: whether all draws hang on a secret that the results folder keeps, besides the seed.
            Without it whoever has the sweep can draw the noise again, so that nothing may be released.
        release: which runs are to be released; more than one takes ``secret_seeds`` and noise of their own.
        objective: the metric that the best run is chosen by; by default the first metric, or the loss.
        maximize: whether more of it is better; by default, unless its name ends in loss, error or entropy.
        axes: what varies, by name.
        search: which points of the axes are trained.

    Raises:
        SweepFault: a setting that cannot be.

    >>> sweep = Sweep(
    ...     name="example",
    ...     model=Factory(target="clifftop.studies.no_cliff.model:mlp"),
    ...     data=Factory(target="clifftop.datasets:gaussian_clusters"),
    ...     delta=1e-5,
    ...     expected_batch_size=64,
    ...     epochs=20,
    ...     clip_norm=1.0,
    ...     lr=0.5,
    ...     axes={"target_epsilon": [1, 8], "seed": {"stop": 3}},
    ... )
    >>> sweep.points()[-1]
    {'seed': 2, 'target_epsilon': 8.0}
    >>> run = sweep.spec(sweep.points()[-1], num_examples=400)
    >>> run.steps, run.noise_multiplier
    (125, 1.3296167)
    """

    name: str
    model: Factory
    data: Factory
    delta: float
    criterion: Factory = _CROSS_ENTROPY
    metrics: tuple[Factory, ...] = (_ACCURACY,)
    sampler: str = "poisson"
    neighboring_relation: NeighboringRelation | None = None
    expected_batch_size: int | None = None
    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    clip_norm: float | None = None
    clipping: str | None = None
    optimizer: str | None = None
    optimizer_options: Mapping[str, Option] = field(default_factory=Options)
    lr: float | None = None
    epochs: float | None = None
    steps: int | None = None
    evaluate_every: int | None = None
    evaluate_every_epochs: float | None = None
    seed: int | None = None
    sharing: SharingMode = SharingMode.COMMON
    baselines: bool = False
    counterfactuals: bool = False
    original_model: Factory | None = None
    per_layer: bool = False
    public: bool = False
    secret_seeds: bool = False
    release: Release = Release.ONE_FIXED_BEFOREHAND
    objective: str | None = None
    maximize: bool | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    search: Search = field(default_factory=Grid)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in checked(given).items():
            object.__setattr__(self, name, value)

    @cached_property
    def canonical(self) -> str:
        """The sweep as canonical JSON (`clifftop.codec`)."""
        return canonical_json(self)

    @property
    def goal(self) -> Goal:
        """What the best run is chosen by."""
        assert self.objective is not None
        assert self.maximize is not None
        return Goal(metric=self.objective, maximize=self.maximize)

    def value(self, name: str, point: Point) -> Scalar:
        """A setting at a point: the axis's value, or what is fixed, or the default."""
        found = point.get(name, getattr(self, name))
        return _DEFAULTS.get(name) if found is None else found

    def model_at(self, point: Point) -> Factory:
        """What builds the model at a point."""
        return _with_options(self.model, "model", point)

    def data_at(self, point: Point) -> Factory:
        """What builds the data at a point."""
        return _with_options(self.data, "data", point)

    def points(self) -> tuple[Point, ...]:
        """Every point that will be trained, each once.

        Raises:
            SweepFault: the search finds its points one by one.
        """
        if not isinstance(self.search, Fixed):
            raise SweepFault(
                "search",
                f"must know its points beforehand, found {type(self.search).__name__}; train the sweep",
            )
        return self.search.points(self.axes_in_order)

    @property
    def axes_in_order(self) -> Axes:
        """The axes, checked and in the order of a grid."""
        assert isinstance(self.axes, Axes)
        return self.axes

    def draw(self, rng: np.random.Generator) -> Point:
        """One point from the axes' laws, each axis by itself; seeds are left out."""
        return draw(self.axes_in_order.without(REPEATS), rng)

    def spec(
        self, point: Point, *, num_examples: int, seed: int | None = None, noise_seed: int | None = None
    ) -> RunSpec:
        """The run at a point.

        Args:
            point: a value for each axis.
            num_examples: N, the training rows.
            seed: replaces the point's seed, and what the sharing mode makes of it.
            noise_seed: replaces what the sharing mode gives.

        Raises:
            SweepFault: there is no such run on N rows.
        """
        from clifftop.lab.sweep.building import build_spec

        return build_spec(self, point, num_examples=num_examples, seed=seed, noise_seed=noise_seed)

    def entries(
        self, points: tuple[Point, ...], num_examples: Callable[[Point], int]
    ) -> Iterator[tuple[RunSpec, Point]]:
        """Runs with their points, each counterfactual before the first run that it stands beside."""
        from clifftop.lab.sweep.beside import runs_at

        return runs_at(self, points, num_examples)

    def specs(self, num_examples: int) -> list[RunSpec]:
        """Every run on N training rows, each once, counterfactuals included."""
        found = {spec.id: spec for spec, _ in self.entries(self.points(), lambda _: num_examples)}
        return list(found.values())


def _with_options(factory: Factory, part: str, point: Point) -> Factory:
    own = {name.partition(".")[2]: value for name, value in point.items() if name.startswith(f"{part}.")}
    return Factory(target=factory.target, options={**factory.options, **own}) if own else factory
