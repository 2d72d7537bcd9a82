"""Training a sweep: what is found wrong beforehand, what the store holds after, resuming and extending."""

import json
import math

import pytest

from clifftop import accounting
from clifftop.codec import from_json
from clifftop.lab import Factory, Store, StoreError
from clifftop.lab.runner import SweepError
from clifftop.lab.sweep import Optuna, Sweep, SweepFault, load_sweep, plan_sweep, train_sweep
from clifftop.lab.sweep.train import COST_ARTIFACT, SECRET_ARTIFACT, SWEEP_ARTIFACT


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def refused(folder, out, *changes) -> str:
    """The fault of the small sweep with these changes; nothing may be written."""
    sweep = load_sweep(folder.toml(*changes))
    with pytest.raises(SweepFault) as caught:
        train_sweep(sweep, out)
    assert not out.exists()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ([(":net", ":broken")], "model.factory", "found KeyError: 'no such\\nlayer'"),
        ([(":net", ":no_module")], "model.factory", "found int from"),
        ([(":rows", ":broken")], "data.factory", "raising KeyError: 'no such\\nlayer'"),
        ([(":rows", ":no_module")], "data.factory", "return a clifftop.datasets"),
        ([(':net"', ':net"\nfeatures = 5')], "model.factory", "must take the rows of"),
        ([(':net"', ':net"\nclasses = 1')], "criterion", "found RuntimeError: index 1 is out of bounds"),
        ([(':net"', ':net"\nclasses = 2')], "criterion", "found RuntimeError: index 2 is out of bounds"),
        ([(":net", ":with_batch_norm")], "model.factory", "BatchNorm1d"),
        ([("[model]", 'criterion = "MODULE:mean_loss"\n[model]')], "criterion", "found () from"),
        ([("[model]", 'metrics = ["MODULE:mean_loss"]\n[model]')], "metrics", "leave out the mean"),
        (
            [("expected_batch_size = 20", "expected_batch_size = 61")],
            "expected_batch_size",
            "the 60 training rows",
        ),
        ([("[axes]", "[optimizer]\nmomentun = 0.9\n[axes]")], "optimizer", "momentun"),
        ([("[axes]", "[optimizer]\nmomentum = -1\n[axes]")], "optimizer", "Invalid momentum"),
    ],
)
def test_what_does_not_fit_is_found_before_anything_is_written(folder, out, changes, key, words):
    line = refused(folder, out, *changes)
    assert line.startswith(f"{key}: ")
    assert "must" in line
    assert words in line


def test_a_model_that_fits_at_some_points_only_is_found(folder, out):
    line = refused(folder, out, ("lr = [0.1", "model.features = [4, 5]\nlr = [0.1"))
    assert "model.factory: must take the rows of" in line


def test_runs_settings_artifacts_and_cost(small, out):
    seen = []
    trained = train_sweep(small, out, progress=seen.append)
    assert (trained.result.runs, trained.result.trained, trained.num_examples) == (6, 6, 60)
    assert seen[-1].runs_done == 6
    with Store.read(out) as store:
        settings, specs = store.settings(), store.specs()
        assert from_json(store.artifact(SWEEP_ARTIFACT).decode(), Sweep) == small
        cost = json.loads(store.artifact(COST_ARTIFACT))
        assert store.artifact(SECRET_ARTIFACT) is None
    assert [spec.id for spec in small.specs(60)] == list(settings)
    for run_id, setting in settings.items():
        spec = specs[run_id]
        assert setting.point == {"noise_multiplier": spec.noise_multiplier, "lr": spec.optimizer.lr}
        event = spec.plan.event(steps=6, num_examples=60)
        bound = accounting.epsilon(event, delta=1e-3, neighboring_relation=spec.plan.neighboring_relation)
        assert (setting.epsilon_lower, setting.epsilon_upper) == (bound.lower, bound.upper)
        assert (setting.delta, setting.neighboring_relation) == (1e-3, "add_or_remove_one")
    assert cost == json.loads(json.dumps(trained.cost.to_json()))
    assert cost["composition"]["epsilon_upper"] == "inf"
    assert trained.cost.single.upper == max(setting.epsilon_upper for setting in settings.values())


def test_the_data_are_loaded_once(folder, out):
    sweep = load_sweep(folder.toml())
    train_sweep(sweep, out)
    module = __import__(folder.module)
    assert module.CALLS == [("rows", 60)]


def test_the_best_is_the_mean_over_seeds_at_each_noise(folder, out):
    sweep = load_sweep(
        folder.toml(("lr = [0.1", "seed = [0, 1]\nlr = [0.1"), ("[model]", "baselines = true\n[model]"))
    )
    trained = train_sweep(sweep, out)
    with Store.read(out) as store:
        scores = dict(
            store.query(
                "SELECT run.id, value FROM metric JOIN run ON run.key = run "
                "WHERE name = 'accuracy' AND metric.step = 6"
            )
        )
        points = {run_id: setting.point for run_id, setting in store.settings().items()}
    assert [cell.point.get("noise_multiplier") for cell in trained.best] == [2.0, 1.0, None]
    assert [cell.baseline for cell in trained.best] == [False, False, True]
    for cell in trained.best:
        means = {}
        for lr in (0.1, 0.5, 1.0):
            level = {"noise_multiplier": cell.point["noise_multiplier"]} if not cell.baseline else {}
            own = [scores[i] for i, p in points.items() if {**p, "seed": 0} == {"seed": 0, **level, "lr": lr}]
            assert len(own) == 2
            means[lr] = sum(own) / 2
        assert cell.score == pytest.approx(max(means.values()))
        assert means[cell.point["lr"]] == pytest.approx(cell.score)
    assert math.isinf(trained.best[-1].epsilon)


def test_the_same_call_resumes_and_a_longer_axis_extends(folder, out):
    first = train_sweep(load_sweep(folder.toml()), out)
    again = train_sweep(load_sweep(folder.toml()), out)
    assert (again.result.runs, again.result.trained) == (6, 0)
    assert again.best == first.best
    longer = load_sweep(folder.toml(("1.0]\n", "1.0, 2.0]\n")))
    extended = train_sweep(longer, out)
    assert (extended.result.runs, extended.result.trained) == (8, 2)
    shorter = train_sweep(load_sweep(folder.toml(("[0.1, 0.5, 1.0]", "[0.1]"))), out)
    assert (shorter.result.runs, shorter.result.trained) == (2, 0)
    assert shorter.cost.runs == 8  # what was ever trained here is part of the search


def test_another_sweep_is_refused_in_its_folder(folder, small, out):
    train_sweep(small, out)
    other = load_sweep(folder.toml(('name = "small"', 'name = "other"')))
    with pytest.raises(StoreError, match="must belong to"):
        train_sweep(other, out)


def test_data_that_follow_an_axis_have_their_own_number_of_rows(folder, out):
    sweep = load_sweep(folder.toml(("lr = [0.1, 0.5, 1.0]", "lr = [0.1]\ndata.count = [40, 60]")))
    trained = train_sweep(sweep, out)
    assert trained.num_examples == 40
    with Store.read(out) as store:
        probabilities = {spec.data.options["count"]: spec.plan.sampler for spec in store.specs().values()}
    assert probabilities[40].sampling_prob == 0.5
    assert probabilities[60].sampling_prob == 20 / 60


def test_secret_seeds_are_drawn_once_for_a_folder(folder, tmp_path):
    changes = [
        ("delta = 1e-3", 'delta = 1e-3\nsecret_seeds = true\nrelease = "best"'),
        ("[model]", 'sharing = "order"\n[model]'),
    ]
    sweep = load_sweep(folder.toml(*changes))
    one, other = tmp_path / "one", tmp_path / "other"
    train_sweep(sweep, one)
    assert train_sweep(sweep, one).result.trained == 0
    train_sweep(sweep, other)
    losses, noises = [], []
    for place in (one, other):
        with Store.read(place) as store:
            assert len(store.artifact(SECRET_ARTIFACT)) == 32
            losses.append(
                [value for (value,) in store.query("SELECT value FROM metric ORDER BY run, name, step")]
            )
            noises.append({spec.noise_key for spec in store.specs().values()})
    assert losses[0] != losses[1]
    assert noises[0] == noises[1]
    assert len(noises[0]) == 6


def test_a_cohort_that_fails_is_told_after_all_others_were_trained(folder, out, monkeypatch):
    sweep = load_sweep(folder.toml(("lr = [0.1, 0.5, 1.0]", "lr = [0.1]\nmodel.width = [4, 8]")))
    from clifftop.lab.cohort import train_cohort

    def fails_on_wide(specs, *, state=None):
        if specs[0].model.options["width"] == 8:
            raise MemoryError("too wide")
        return train_cohort(specs, state=state)

    class Failing:
        most_workers = 1

        def run(self, trainer, jobs):
            from clifftop.lab.executors import InProcess

            yield from InProcess().run(fails_on_wide, jobs)

    with pytest.raises(SweepError, match="2 of 4 runs failed: 2 x MemoryError: too wide"):
        train_sweep(sweep, out, executor=Failing())
    assert train_sweep(sweep, out).result.trained == 2


def test_a_plan_says_what_would_be_trained(folder, out):
    sweep = load_sweep(
        folder.toml(
            ("lr = [0.1", "model.width = [4, 8]\nlr = [0.1"), ("[model]", "baselines = true\n[model]")
        )
    )
    planned = plan_sweep(sweep)
    assert (planned.runs, planned.run_steps, planned.num_examples, planned.more) == (18, 108, 60, False)
    assert [(group.runs, group.baselines, group.cohorts, group.steps) for group in planned.groups] == [
        (9, 3, 1, 6)
    ] * 2
    assert [group.shared for group in planned.groups] == [{"model.width": 4}, {"model.width": 8}]
    assert train_sweep(sweep, out).cost.single.upper == planned.groups[0].greatest_epsilon
    assert planned.groups[0].least_epsilon < planned.groups[0].greatest_epsilon


OPTUNA = [
    (
        "lr = [0.1, 0.5, 1.0]",
        'lr = { low = 0.01, high = 10, scale = "log" }\nmodel.width = { start = 4, stop = 9, step = 2 }',
    ),
    (
        "[axes]",
        (
            '[search]\nkind = "optuna"\nn = 12\nround_size = 4\ncross = ["noise_multiplier"]\n'
            "[axes]\nseed = [0, 1]"
        ),
    ),
]


def test_optuna_searches_each_level_by_itself_and_resumes_where_it_was(folder, tmp_path):
    sweep = load_sweep(folder.toml(*OPTUNA))
    assert isinstance(sweep.search, Optuna)
    assert plan_sweep(sweep).more
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    trained = train_sweep(sweep, whole)
    assert trained.result.runs == trained.result.trained == 2 * 2 * 12
    rounds = []

    class Halting:
        most_workers = 1

        def run(self, trainer, jobs):
            from clifftop.lab.executors import InProcess

            rounds.append(1)
            if len(rounds) == 2:
                raise KeyboardInterrupt
            yield from InProcess().run(trainer, jobs)

    with pytest.raises(KeyboardInterrupt):
        train_sweep(sweep, halted, executor=Halting())
    resumed = train_sweep(sweep, halted)
    assert resumed.result.trained == 2 * 2 * 12 - 2 * 2 * 4
    with Store.read(whole) as one, Store.read(halted) as other:
        assert one.settings() == other.settings()
        points = [setting.point for setting in one.settings().values()]
    for sigma in (1.0, 2.0):
        own = {(p["lr"], p["model.width"]) for p in points if p["noise_multiplier"] == sigma}
        assert len(own) == 12
        assert all(0.01 <= lr <= 10 and width in (4, 6, 8) for lr, width in own)
    assert train_sweep(sweep, whole).result.trained == 0


def test_optuna_finds_what_chance_does_not():
    """On a known function the last rounds lie nearer its top than the first ones do."""
    from clifftop.lab.sweep import Axes, Scored

    axes = Axes(
        {
            "lr": {"low": 1e-3, "high": 1e3, "scale": "log"},
            "clip_norm": {"low": 1e-3, "high": 1e3, "scale": "log"},
        }
    )
    search, scored = Optuna(n=64, round_size=8, seed=1), []
    while points := search.ask(axes, scored):
        scored += [
            Scored(point=p, score=-(math.log10(p["lr"]) ** 2) - math.log10(p["clip_norm"]) ** 2)
            for p in points
        ]
    assert len(scored) == 64
    mean = [sum(one.score for one in part) / 16 for part in (scored[:16], scored[-16:])]
    assert mean[1] > mean[0] / 3


def test_optuna_ends_when_there_are_no_more_points():
    from clifftop.lab.sweep import Axes, Scored

    axes, scored = Axes({"lr": [1, 2, 3]}), []
    while points := Optuna(n=50, round_size=2).ask(axes, scored):
        scored += [Scored(point=point, score=-math.inf) for point in points]
    assert sorted(one.point["lr"] for one in scored) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("axes", "public", "words"),
    [
        ({"noise_multiplier": [1, 2], "lr": [1, 2]}, True, "the search would choose the least private"),
        ({"epochs": [1, 2], "lr": [1, 2]}, False, "scores must not decide what a run costs"),
        ({"data.count": [1, 2], "lr": [1, 2]}, False, "search.cross: must hold data.count"),
        ({"seed": [1, 2]}, False, "must have an axis to search"),
        ({"epochs": [1, 2], "lr": [1, 2]}, True, None),
    ],
)
def test_optuna_must_not_choose_what_decides_the_cost(axes, public, words):
    from clifftop.lab.sweep import Axes

    if words is None:
        Optuna(n=3).check(Axes(axes), public=public)
        return
    with pytest.raises(SweepFault) as caught:
        Optuna(n=3).check(Axes(axes), public=public)
    assert words in str(caught.value)


def test_points_of_an_adaptive_search_are_not_known_beforehand(folder):
    with pytest.raises(SweepFault, match="must know its points beforehand, found Optuna"):
        load_sweep(folder.toml(*OPTUNA)).points()


def test_a_model_may_be_a_class_of_torch(out):
    sweep = Sweep(
        name="linear",
        model=Factory(target="torch.nn:Linear", options={"in_features": 10, "out_features": 5}),
        data=Factory(target="clifftop.datasets:gaussian_clusters", options={"seed": 1}),
        delta=1e-4,
        expected_batch_size=50,
        steps=4,
        clip_norm=1.0,
        noise_multiplier=1.0,
        axes={"lr": [0.1, 1.0], "clipping": ["flat", "automatic"]},
    )
    assert train_sweep(sweep, out).result.trained == 4
