"""The law of the lab: run r of a cohort equals the same spec trained alone."""

import dataclasses

import numpy as np
import pytest
import torch

from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.lab.cohort import Block, cohort_size, static_key, train_cohort
from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec, SpecError
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson
from clifftop.studies import Axes, get


def spec(*, seed=0, sigma=1.0, clip=1.0, lr=0.3, steps=12, optimizer="sgd") -> RunSpec:
    return RunSpec(
        model=Factory(target="clifftop.studies.no_cliff.model:mlp", options={"hidden": 8}),
        data=Factory(
            target="clifftop.datasets:gaussian_clusters", options={"per_class": 20, "num_train": 60}
        ),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=0.2),
            clipping=Flat(clip_norm=clip),
            noise=Gaussian(noise_multiplier=sigma),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=12.0,
        ),
        optimizer=OptimizerSpec(name=optimizer, lr=lr),
        steps=steps,
        evaluate_every=5,
        seed=seed,
        streams=Keyed(),
    )


MIXED = [
    spec(seed=3, sigma=0.0, clip=float("inf")),
    spec(seed=3, sigma=0.5, clip=0.1, lr=1.0),
    spec(seed=4, sigma=2.0, clip=5.0, lr=0.01),
    spec(seed=3, sigma=4.0, clip=1.0, lr=0.1),
]


def train(specs, **options) -> Block:
    blocks = list(train_cohort(specs, **options))
    assert blocks[-1].finished
    return blocks[-1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_equals_the_same_spec_trained_alone(optimizer):
    """Up to the round-off of a batched product; which product a library picks depends on R."""
    specs = [
        dataclasses.replace(s, optimizer=dataclasses.replace(s.optimizer, name=optimizer)) for s in MIXED
    ]
    together = train(specs)
    for r, one in enumerate(specs):
        alone = train([one])
        for name in ("accuracy", "loss"):
            assert together.metrics[name][1][r] == pytest.approx(
                alone.metrics[name][1][0], rel=1e-5, abs=1e-6
            )
        for name, values in together.trace.items():
            assert np.allclose(values[r], alone.trace[name][0], rtol=1e-4, atol=1e-6, equal_nan=True), name


def test_the_published_runs_are_alike_alone_and_together():
    study = get("no-cliff")
    grid = study.grid(dataclasses.replace(study.defaults, seeds=(123,), clip_norms=(1.0,)))
    specs = list(study.specs(grid))
    together = train(specs).metrics["accuracy"][1][:, -1]
    assert [train([s]).metrics["accuracy"][1][0, -1] for s in specs] == together.tolist()


def test_a_resumed_cohort_ends_with_the_same_numbers_bit_for_bit():
    whole = train(MIXED)
    blocks = []
    state = None
    for _ in range(MIXED[0].steps):
        block = next(iter(train_cohort(MIXED, state=state, checkpoint_seconds=0.0)))
        blocks.append(block)
        state = block.state
    assert blocks[-1].finished
    assert [b.step for b in blocks] == list(range(1, 13))
    for name, values in whole.trace.items():
        assert np.array_equal(values, np.concatenate([b.trace[name] for b in blocks], 1), equal_nan=True)
    for name, (steps, values) in whole.metrics.items():
        parts = [b.metrics[name] for b in blocks if name in b.metrics]
        assert np.array_equal(steps, np.concatenate([s for s, _ in parts]))
        assert np.array_equal(values, np.concatenate([v for _, v in parts], 1))


def test_evaluations_come_every_so_many_steps_and_at_the_end():
    assert train(MIXED[:1]).metrics["accuracy"][0].tolist() == [5, 10, 12]


def test_only_static_differences_part_runs():
    assert len({static_key(s) for s in MIXED}) == 1
    others = [
        dataclasses.replace(MIXED[0], steps=13),
        dataclasses.replace(MIXED[0], optimizer=OptimizerSpec(name="adam", lr=0.3)),
        dataclasses.replace(MIXED[0], model=Factory(target="clifftop.studies.no_cliff.model:mlp")),
        dataclasses.replace(MIXED[0], plan=dataclasses.replace(MIXED[0].plan, expected_batch_size=13.0)),
    ]
    assert len({static_key(s) for s in [MIXED[0], *others]}) == 5


def test_a_cohorts_size_follows_the_memory_of_a_run():
    small, large = spec(), get("fashion-cnn").template
    assert cohort_size(small) == 256
    assert cohort_size(small, budget_bytes=1 << 20) < 256
    assert 1 <= cohort_size(large) < 64 if _images() else True


def test_divergence_is_a_result():
    """A step of length 1e38 overflows the logits; the neighbours do not notice."""
    bad = spec(seed=3, sigma=1.0, clip=1e30, lr=1e30)
    block = train([MIXED[1], bad])
    assert block.diverged.tolist() == [False, True]
    alone = train([MIXED[1]])
    assert block.metrics["loss"][1][0] == pytest.approx(alone.metrics["loss"][1][0], rel=1e-5)


def test_a_loss_that_is_not_finite_at_the_end_is_divergence_too():
    """The published study without privacy at lr = 10: finite parameters, logits that overflow."""
    study = get("no-cliff")
    specs = list(study.specs(study.grid(Axes(lrs=(10.0,), seeds=tuple(range(40)), clip_norms=(1.0,)))))
    baselines = [s for s in specs if s.clip_norm == float("inf")]
    block = train(baselines)
    losses = block.metrics["loss"][1][:, -1]
    assert not np.isfinite(losses).all()
    assert (block.diverged >= ~np.isfinite(losses)).all()


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    train(MIXED[:2])
    assert torch.equal(torch.get_rng_state(), before)


def test_factories_that_give_something_else_are_named():
    with pytest.raises(SpecError, match=r"model must be a torch.nn.Module, found float from math:hypot"):
        train([dataclasses.replace(MIXED[0], model=Factory(target="math:hypot"))])
    with pytest.raises(SpecError, match=r"data must be an ArrayDataset, found dict from builtins:dict"):
        train([dataclasses.replace(MIXED[0], data=Factory(target="builtins:dict"))])


def _images() -> bool:
    from pathlib import Path

    from clifftop.datasets.fashion_mnist import DEBIAN_FOLDER

    return Path(DEBIAN_FOLDER).exists()
