"""The law of the lab: run r of a cohort equals the same spec trained alone."""

import dataclasses
import io
import sys
import types

import numpy as np
import pytest
import torch

from clifftop.clipping import Automatic, Flat, PerLayer
from clifftop.datasets import Rows, RowsDataset
from clifftop.events import NeighboringRelation
from clifftop.lab.cohort import Block, cohort_size, static_key, train_cohort
from clifftop.lab.cohort.members import Members
from clifftop.lab.cohort.size import microbatch_size
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
    few = cohort_size(small, budget_bytes=1 << 18)
    assert 8 < few < 256
    assert cohort_size(small, budget_bytes=1 << 19) == pytest.approx(2 * few, rel=0.2)
    assert cohort_size(small, budget_bytes=1) == 1
    if _images():
        # A convolutional chain goes run by run: a run costs its parameters, and the first its slices too.
        assert cohort_size(large, budget_bytes=1 << 26) < cohort_size(large, budget_bytes=1 << 28) <= 256


def test_a_budget_too_small_for_a_batch_parts_it_and_changes_no_number():
    whole = train(MIXED[:2])
    parted = train(MIXED[:2], budget_bytes=1 << 12)
    assert microbatch_size(Members(MIXED[:2], device=torch.device("cpu")), MIXED[0], 1 << 12) in range(1, 9)
    for name, (_, values) in whole.metrics.items():
        assert parted.metrics[name][1] == pytest.approx(values, rel=1e-5), name
    for name, values in whole.trace.items():
        assert np.allclose(values, parted.trace[name], rtol=1e-4, atol=1e-6, equal_nan=True), name


BAD = spec(seed=3, sigma=1.0, clip=1e10, lr=3e38)
"""Its steps overflow the parameters by the first evaluation, at step 5 of 12."""


def test_a_diverged_run_ends_early_and_the_neighbours_do_not_notice():
    blocks = list(train_cohort([MIXED[1], BAD, MIXED[2]]))
    assert [(b.step, b.finished) for b in blocks] == [(5, False), (12, True)]
    assert [b.diverged.tolist() for b in blocks] == [[False, True, False]] * 2
    assert [b.trained.tolist() for b in blocks] == [[True] * 3, [True, False, True]]
    assert np.isnan(blocks[1].trace["loss"][1]).all()
    for row, one in ((0, MIXED[1]), (2, MIXED[2])):
        alone = train([one])
        losses = np.concatenate([b.metrics["loss"][1][row] for b in blocks])
        assert losses == pytest.approx(alone.metrics["loss"][1][0], rel=1e-5)


def test_a_cohort_resumed_at_any_step_around_a_divergence_ends_bit_for_bit_alike():
    momentum = {"momentum": 0.9}
    specs = [
        dataclasses.replace(s, optimizer=dataclasses.replace(s.optimizer, options=momentum))
        for s in (MIXED[1], BAD, MIXED[2])
    ]
    whole = list(train_cohort(specs))
    assert len(whole) == 2
    for stop in range(1, 12):
        state, seen = None, []
        while not seen or not seen[-1].finished:
            for block in train_cohort(specs, state=state, checkpoint_seconds=0.0):
                seen.append(block)
                state = block.state
                if block.step == stop:
                    break
        last = {name: values[:, -1] for name, (_, values) in seen[-1].metrics.items()}
        for name, (_, values) in whole[-1].metrics.items():
            assert np.array_equal(last[name], values[:, -1], equal_nan=True), (stop, name)


def test_a_cohort_ends_when_all_its_runs_have_diverged():
    blocks = list(train_cohort([BAD, BAD]))
    assert [(b.step, b.finished, b.diverged.all()) for b in blocks] == [(5, True, True)]


def test_parameters_come_with_the_last_block_where_they_are_asked_for():
    assert all(b.parameters is None for b in train_cohort(MIXED[:1], checkpoint_seconds=0.0))
    blocks = list(train_cohort([MIXED[1], BAD, MIXED[2]], keep_parameters=True))
    assert blocks[0].parameters is None
    found = blocks[-1].parameters
    assert found is not None
    assert {n: v.shape for n, v in found.items()} == {
        "0.weight": (3, 8, 10),
        "0.bias": (3, 8),
        "2.weight": (3, 5, 8),
        "2.bias": (3, 5),
    }
    alone = train([MIXED[2]], keep_parameters=True).parameters
    for name, value in found.items():
        assert np.isnan(value[1]).all()
        assert value[2] == pytest.approx(alone[name][0], rel=1e-4, abs=1e-6)


def test_a_checkpoint_of_the_first_format_goes_on():
    whole = train(MIXED)
    half = next(b for b in train_cohort(MIXED, checkpoint_seconds=0.0) if b.step == 6)
    assert half.state is not None
    saved = torch.load(io.BytesIO(half.state), weights_only=True)
    old = io.BytesIO()
    torch.save({"step": saved["step"], **saved["members"]}, old)
    resumed = train(MIXED, state=old.getvalue())
    assert np.array_equal(resumed.metrics["loss"][1][:, -1], whole.metrics["loss"][1][:, -1])


def test_runs_may_share_their_order_and_have_noise_of_their_own():
    """One seed, three noises: batches agree, noise does not; each equals the same spec alone."""
    specs = [dataclasses.replace(spec(seed=3), noise_seed=k) for k in (3, 2**200, 7)]
    assert len({static_key(s) for s in specs}) == 1
    assert static_key(specs[0]) != static_key(spec(seed=3))
    together = train(specs)
    for name in ("loss", "norm_median"):
        assert np.ptp(together.trace[name][:, 0]) == 0  # one batch, one initialisation
    assert len(set(together.trace["noise_norm"][:, 0].tolist())) == 3
    for r, one in enumerate(specs):
        assert np.allclose(together.trace["loss"][r], train([one]).trace["loss"][0], rtol=1e-4)
    # A noise seed equal to the seed gives the noise that the seed itself gives.
    assert np.array_equal(together.trace["noise_norm"][0], train([spec(seed=3)]).trace["noise_norm"][0])


@pytest.mark.parametrize("rule", [Automatic(clip_norm=0.5), PerLayer(clip_norm=0.5)], ids=["auto", "layers"])
def test_every_clipping_rule_trains_in_a_cohort(rule):
    plans = [
        dataclasses.replace(MIXED[1].plan, clipping=dataclasses.replace(rule, clip_norm=c))
        for c in (0.1, 0.5)
    ]
    specs = [dataclasses.replace(MIXED[1], plan=plan) for plan in plans]
    assert len({static_key(s) for s in specs}) == 1
    together = train(specs)
    for r, one in enumerate(specs):
        assert np.allclose(together.trace["loss"][r], train([one]).trace["loss"][0], rtol=1e-4)


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
    with pytest.raises(SpecError, match=r"data must load, found target='builtins:dict'"):
        train([dataclasses.replace(MIXED[0], data=Factory(target="builtins:dict"))])


def _images() -> bool:
    from pathlib import Path

    from clifftop.datasets.fashion_mnist import DEBIAN_FOLDER

    return Path(DEBIAN_FOLDER).exists()


# ------------------------------------------------------------------ any model, any loss, any shape of data


class Recurrent(torch.nn.Module):
    """Steps through 10 numbers as a sequence; torch cannot map its kernel over runs."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRU(1, 6, batch_first=True)
        self.head = torch.nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.cell(x[..., None])[0][:, -1])


class TwoInputs(torch.nn.Module):
    """A number for a row of floats and a class index; in a sweep, a regression."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(4, 3)
        self.out = torch.nn.Linear(6, 1)

    def forward(self, x, k):
        return self.out(torch.cat([x, self.table(k)], -1))


def two_inputs(*, rows: int) -> RowsDataset:
    rng = np.random.default_rng(0)

    def split(n: int) -> Rows:
        x, k = rng.normal(size=(n, 3)).astype(np.float32), rng.integers(0, 4, n)
        return Rows(inputs=(x, k), targets=((x.sum(1) + k).astype(np.float32),))

    return RowsDataset(train=split(rows), test=split(40))


def named(monkeypatch, **members) -> str:
    """A module that factories can name, with these members."""
    module = types.ModuleType("clifftop_cohort_factories")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_model_that_cannot_be_mapped_over_runs_trains_run_by_run(monkeypatch):
    home = named(monkeypatch, Recurrent=Recurrent)
    specs = [dataclasses.replace(s, model=Factory(target=f"{home}:Recurrent")) for s in MIXED[1:3]]
    together = train(specs)
    for r, one in enumerate(specs):
        assert together.metrics["loss"][1][r] == pytest.approx(train([one]).metrics["loss"][1][0], rel=1e-5)


def test_several_inputs_another_loss_and_other_metrics(monkeypatch):
    home = named(monkeypatch, TwoInputs=TwoInputs, two_inputs=two_inputs)
    specs = [
        dataclasses.replace(
            s,
            model=Factory(target=f"{home}:TwoInputs"),
            data=Factory(target=f"{home}:two_inputs", options={"rows": 60}),
            criterion=Factory(target="clifftop.criteria:squared_error"),
            metrics=(Factory(target="clifftop.criteria:absolute_error"),),
            steps=80,
            evaluate_every=20,
        )
        for s in (spec(seed=3, sigma=0.0, clip=1e3, lr=0.05), spec(seed=4, sigma=1.0, clip=0.5, lr=0.05))
    ]
    together = train(specs)
    assert set(together.metrics) == {"loss", "absolute_error"}
    first, last = together.metrics["loss"][1][0][[0, -1]]
    assert last < 0.5 * first
    for r, one in enumerate(specs):
        assert together.metrics["absolute_error"][1][r] == pytest.approx(
            train([one]).metrics["absolute_error"][1][0], rel=1e-4
        )


def test_metrics_of_one_name_are_refused():
    twice = (Factory(target="clifftop.criteria:accuracy"), Factory(target="my.module:accuracy"))
    with pytest.raises(SpecError, match="metrics must have names of their own, other than loss, found acc"):
        dataclasses.replace(MIXED[0], metrics=twice)
