"""Scores of sets and of clipping are a run's own: alone and together, in any chunks, resumed or not."""

import dataclasses

import numpy as np
import pytest
import torch

from clifftop import criteria
from clifftop.clipping import Automatic, Flat, PerLayer, Unclipped
from clifftop.criteria import ClippingScore, ScoredExamples, SetScore
from clifftop.datasets import Rows, RowsDataset
from clifftop.events import NeighboringRelation
from clifftop.gradients.base import trainable_parameters
from clifftop.lab.cohort import train_cohort
from clifftop.lab.evaluate import build_metric, evaluate, passes
from clifftop.lab.spec import Factory, OptimizerSpec, RunSpec, SpecError
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson

CLASSES = 3
NAMES = ("ece", "equal_mass_ece", "accuracy_by_class", "accuracy_by_group", "worst_group_accuracy")


def factory(name, **options) -> Factory:
    return Factory(target=f"clifftop.criteria:{name}", options=options)


METRICS = (
    factory("accuracy"),
    *map(factory, NAMES),
    factory("clipped_by_class", num_examples=30),
    factory("clipped_by_group"),
)


def rows(*, seed):
    """Rows of a seed's own, the second group of which has inputs ten times as large."""
    rng = np.random.default_rng(seed)
    far = rng.random(150) < 0.2
    x = rng.normal(size=(150, 4)).astype(np.float32) * np.where(far, 10, 1)[:, None].astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 1)
    groups = np.where(far, "far", "near")
    train, test = slice(0, 100), slice(100, None)
    return RowsDataset(**{
        side: Rows(inputs=(x[part],), targets=(y[part],), groups=groups[part])
        for side, part in (("train", train), ("test", test))
    })  # fmt: skip


def net(*, dropout=0.0):
    return torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(8, CLASSES)
    )


def spec(*, seed=0, clipping=None, sigma=1.0, lr=0.3, metrics=METRICS, dropout=0.0) -> RunSpec:
    return RunSpec(
        model=Factory(target="own_scores:net", options={"dropout": dropout}),
        data=Factory(target="own_scores:rows"),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=0.2),
            clipping=clipping or Flat(clip_norm=1.0),
            noise=Gaussian(noise_multiplier=sigma),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=20.0,
        ),
        optimizer=OptimizerSpec(name="sgd", lr=lr),
        steps=6,
        evaluate_every=3,
        seed=seed,
        streams=Keyed(),
        metrics=metrics,
    )


@pytest.fixture(autouse=True)
def own_scores(monkeypatch):
    """This file's factories under a name that a spec can have."""
    import sys
    import types

    module = types.ModuleType("own_scores")
    for made in (rows, net, Margin, Twice):
        setattr(module, made.__name__, made)
    monkeypatch.setitem(sys.modules, "own_scores", module)


class Margin(SetScore):
    """A score of a user's own that keeps all outputs, and wants inputs and targets too."""

    def keep(self, output, *targets):
        return output

    def values(self, kept, rows):
        assert kept.shape == (len(rows.inputs[0]), CLASSES)
        own = kept[np.arange(len(kept)), rows.targets[0]]
        return {"margin": float((2 * own - kept.sum(1)).mean()), "width": float(np.abs(rows.inputs[0]).max())}


class Twice(ClippingScore):
    """Records what another score does."""

    def chosen(self, rows):
        return np.arange(5)

    def values(self, weights, rows):
        return {"accuracy": 0.0}


def train(specs, **options):
    *_, last = train_cohort(specs, **options)
    assert last.finished
    return last


MIXED = [
    spec(seed=3, clipping=Flat(clip_norm=float("inf")), sigma=0.0),
    spec(seed=3, clipping=Flat(clip_norm=0.1), lr=1.0),
    spec(seed=4, clipping=Flat(clip_norm=3.0), sigma=0.5),
    spec(seed=3, clipping=Flat(clip_norm=1.0), sigma=2.0),
]


def test_a_run_scores_the_same_alone_and_together():
    together = train(MIXED).metrics
    assert {"ece", "equal_mass_ece", "worst_group_accuracy"} <= together.keys()
    assert {f"{n}[group={g}]" for n in ("accuracy", "clipped") for g in ("far", "near")} <= together.keys()
    assert {f"clipped[class={k}]" for k in range(CLASSES)} <= together.keys()
    for r, one in enumerate(MIXED):
        for name, (steps, values) in train([one]).metrics.items():
            assert steps.tolist() == [3, 6]
            assert together[name][1][r] == pytest.approx(values[0], abs=1e-6), name
    assert not together["clipped[group=far]"][1][0].any()  # the baseline
    assert together["clipped[group=near]"][1][1, -1] > together["clipped[group=near]"][1][2, -1]
    assert together["clipped[group=far]"][1][3, -1] > together["clipped[group=near]"][1][3, -1] + 0.2


def test_looking_changes_nothing_and_a_resumed_cohort_sees_the_same():
    """With dropout, whose draws a look could use up."""
    specs = [spec(seed=s, dropout=0.3) for s in (1, 2)]
    plain = [dataclasses.replace(s, metrics=(factory("accuracy"),)) for s in specs]
    looked, unlooked = train(specs, keep_parameters=True), train(plain, keep_parameters=True)
    for name, values in unlooked.parameters.items():
        assert np.array_equal(values, looked.parameters[name])
    state, parts = None, []
    while not parts or not parts[-1].finished:
        parts.append(next(iter(train_cohort(specs, state=state, checkpoint_seconds=0.0))))
        state = parts[-1].state
    for name, (_, values) in looked.metrics.items():
        again = np.concatenate([part.metrics[name][1] for part in parts if name in part.metrics], 1)
        assert np.array_equal(values, again), name


RULES = [
    (Flat(clip_norm=1.0), lambda parts: np.sqrt((parts**2).sum()) > 1.0),
    (Automatic(clip_norm=1.0, stability=0.2), lambda parts: np.sqrt((parts**2).sum()) > 0.8),
    (PerLayer(clip_norm=1.0), lambda parts: bool((parts > 2**-0.5).any())),
    (Unclipped(noise_scale=1.0), lambda parts: False),
]


@pytest.mark.parametrize(("rule", "is_clipped"), RULES, ids=lambda x: type(x).__name__)
def test_the_clipped_share_is_that_of_gradients_taken_one_by_one(rule, is_clipped):
    run = spec(seed=5, clipping=rule)
    found = train([run], keep_parameters=True)
    model = net().eval()
    for name, parameter in model.named_parameters():
        parameter.data = torch.from_numpy(found.parameters[name][0])
    train_rows = rows(seed=5).train
    hit = {}
    for i in range(100):
        model.zero_grad()
        x, y = (torch.from_numpy(a[i : i + 1]) for a in (train_rows.inputs[0], train_rows.targets[0]))
        criteria.cross_entropy(model(x), y).backward()
        layers = [model[0], model[3]]
        parts = np.array([np.sqrt(sum(p.grad.square().sum().item() for p in m.parameters())) for m in layers])
        hit.setdefault(train_rows.groups[i], []).append(is_clipped(parts))
    for group, own in hit.items():
        assert found.metrics[f"clipped[group={group}]"][1][0, -1] == pytest.approx(np.mean(own), abs=1e-9)


def cnn():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(75, CLASSES)
    )


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(7, 5, batch_first=True)
        self.head = torch.nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.gru(x[:, 0])[0][:, -1])


def flat():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(49, CLASSES))


@pytest.mark.parametrize("build", [flat, cnn, Recurrent])
def test_chunks_of_rows_and_of_runs_do_not_matter(build, monkeypatch):
    """Mapped over runs, run by run with kernels of its own, and for a model that cannot be mapped."""
    torch.manual_seed(0)
    models = [build() for _ in range(3)]
    params = {n: torch.stack([dict(m.named_parameters())[n].detach() for m in models])
              for n in trainable_parameters(models[0])}  # fmt: skip
    x, y = torch.randn(40, 1, 7, 7), torch.randint(CLASSES, (40,))
    groups = np.arange(40) % 3
    seen = ScoredExamples(targets=(y.numpy(),), inputs=(x.numpy(),), groups=groups)
    sets = [criteria.ece(), criteria.equal_mass_ece(num_bins=5), criteria.accuracy_by_group, Margin()]

    def scored():
        return evaluate(
            models[0], {"loss": criteria.cross_entropy}, params, {},
            (x.expand(3, *x.shape),), (y.expand(3, -1),), sets=sets, rows=[seen] * 3,
        )  # fmt: skip

    whole = scored()
    for r, model in enumerate(models):
        with torch.no_grad():
            output = model.eval()(x)
        for score in sets[:3]:
            for name, value in score(output, y, groups=groups).items():
                assert whole[name][r].item() == pytest.approx(value, abs=1e-6), name
    calls = []
    monkeypatch.setattr(passes, "_ELEMENTS", 3 * 49 * 7)
    monkeypatch.setattr(passes, "_SLICE", 7)
    monkeypatch.setattr(passes, "_KEPT_BYTES", 2 * 40 * (2 + 2 + 1 + 3) * 4)
    original = passes._Scored.measure
    monkeypatch.setattr(passes._Scored, "measure", lambda *a: calls.append(len(a[-1])) or original(*a))
    parts = scored()
    assert calls == [2, 1]
    assert parts.keys() == whole.keys()
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values, rtol=0, atol=1e-6)


def test_a_part_that_only_one_runs_data_have_is_unknown_for_the_other():
    found = passes.tabulated([{"a": 1.0}, {"a": 2.0, "b": 3.0}])
    assert found["a"].tolist() == [1.0, 2.0]
    assert found["b"][1] == 3.0
    assert torch.isnan(found["b"][0])


def test_two_scores_of_one_name_are_refused():
    run = spec(metrics=(factory("accuracy"), Factory(target="own_scores:Twice")))
    with pytest.raises(SpecError, match="two scores named 'accuracy'"):
        train([run])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (factory("ece", bins=3), "clifftop.criteria:ece must take its options, found {'bins': 3}"),
        (factory("ece", num_bins=0), "num_bins must be a whole number"),
        (factory("accuracy_by_class", label="x"), "must have no options, found {'label': 'x'}"),
    ],
)
def test_a_metric_that_cannot_be_made_is_refused(made, message):
    with pytest.raises(SpecError, match=message):
        build_metric(made)


def test_the_id_of_a_run_of_old_is_what_it_was():
    """The canonical JSON that stored runs are named by knows nothing of scores."""
    assert set(dataclasses.asdict(spec())) == {
        "model", "data", "plan", "optimizer", "steps", "evaluate_every", "seed", "streams", "criterion",
        "metrics", "noise_seed",
    }  # fmt: skip
