"""Counterfactual runs of a sweep: what they are, that they share draws, and that none of them is released."""

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clifftop.clipping import Flat, Unclipped, WholeBatch
from clifftop.lab import Factory, Store, search_cost, train_cohort
from clifftop.lab.arms import arm_of
from clifftop.lab.cohort import static_key
from clifftop.lab.reading import frontier, open_runs
from clifftop.lab.reading.scoreboard import scoreboard
from clifftop.lab.store import STORE_FILE
from clifftop.lab.sweep import SweepFault, SweepFileError, load_sweep, plan_sweep, train_sweep
from clifftop.noise import Gaussian
from clifftop.vocabulary import Arm

N = 60
FORMAT_1 = Path(__file__).parents[1] / "stores" / "format_1.sqlite"
ON = ("[model]", "counterfactuals = true\n[model]")
GRID = ("lr = [0.1, 0.5, 1.0]", "clip_norm = [0.1, 1.0]\nlr = [0.5]\nseed = [0, 1]")


@pytest.fixture
def sweep(folder):
    """Two noise multipliers, two clip norms and two seeds."""
    return load_sweep(folder.toml(ON, GRID, ("clip_norm = 1.0\n", "")))


def arms(specs) -> Counter[Arm]:
    return Counter(map(arm_of, specs))


def with_parts(spec, **parts):
    return replace(spec, plan=replace(spec.plan, **parts))


def test_each_counterfactual_is_there_once(sweep):
    specs = sweep.specs(N)
    assert arms(specs) == {Arm.BOTH: 8, Arm.NEITHER: 2, Arm.CLIPPING: 4, Arm.NOISE: 8}
    private = [spec for spec in specs if spec.plan.is_private]
    assert [arm_of(spec) for spec in private] == [Arm.BOTH] * 8
    silent, unclipped = Gaussian(noise_multiplier=0.0), Flat(clip_norm=math.inf)
    by_hand = {
        made.id
        for spec in private
        for made in (
            spec,
            with_parts(spec, noise=silent, clipping=unclipped),
            with_parts(spec, noise=silent),
            with_parts(spec, clipping=Unclipped(noise_scale=spec.clip_norm)),
        )
    }
    assert by_hand == {spec.id for spec in specs}


def test_baselines_are_what_they_were_and_train_in_one_cohort_with_what_is_clipped(sweep):
    baselines = replace(sweep, counterfactuals=False, baselines=True).specs(N)
    found = sweep.specs(N)
    assert {spec.id for spec in baselines} < {spec.id for spec in found}
    keys = {
        arm: {static_key(spec) for spec in found if arm_of(spec) is arm} for arm in set(map(arm_of, found))
    }
    assert keys[Arm.BOTH] == keys[Arm.NEITHER] == keys[Arm.CLIPPING]
    assert len(keys[Arm.NOISE]) == 1


def test_a_target_epsilon_keeps_its_place_beside_the_noise_of_every_rule(folder):
    changes = ("noise_multiplier = [1.0, 2.0]", 'target_epsilon = [2, 8]\nclipping = ["flat", "automatic"]')
    made = load_sweep(folder.toml(ON, changes))
    found = list(made.entries(made.points(), lambda _: N))
    assert arms(spec for spec, _ in found) == {
        Arm.BOTH: 12, Arm.NEITHER: 3, Arm.CLIPPING: 6, Arm.NOISE: 6,
    }  # fmt: skip
    points = {arm: [point for spec, point in found if arm_of(spec) is arm] for arm in Arm}
    assert points[Arm.NOISE][0] == {"target_epsilon": 2.0, "lr": 0.1}
    assert points[Arm.CLIPPING][0] == {"clipping": "flat", "lr": 0.1}
    assert points[Arm.NEITHER][0] == {"lr": 0.1}
    sigmas = {spec.noise_multiplier for spec, _ in found if arm_of(spec) is Arm.BOTH}
    assert sigmas == {spec.noise_multiplier for spec, _ in found if arm_of(spec) is Arm.NOISE}


def test_own_noise_is_the_private_runs_own(folder):
    made = load_sweep(folder.toml(ON, ("[model]", 'sharing = "order"\n[model]')))
    specs = made.specs(N)
    assert arms(specs) == {Arm.BOTH: 6, Arm.NEITHER: 3, Arm.CLIPPING: 3, Arm.NOISE: 6}
    seeds = {arm: [spec.noise_seed for spec in specs if arm_of(spec) is arm] for arm in (Arm.BOTH, Arm.NOISE)}
    assert seeds[Arm.BOTH] == seeds[Arm.NOISE]
    assert len(set(seeds[Arm.BOTH])) == 6


def test_runs_with_seeds_of_their_own_have_counterfactuals_of_their_own(folder):
    made = load_sweep(folder.toml(ON, ("[model]", 'sharing = "independent"\n[model]')))
    specs = made.specs(N)
    assert arms(specs) == dict.fromkeys((Arm.BOTH, Arm.NEITHER, Arm.CLIPPING, Arm.NOISE), 6)
    seeds = {arm: {spec.seed for spec in specs if arm_of(spec) is arm} for arm in set(map(arm_of, specs))}
    assert len(set(map(frozenset, seeds.values()))) == 1


def test_a_run_that_was_asked_for_without_noise_stays_where_it_was_asked_for(folder):
    for levels in ("[0.0, 1.0]", "[1.0, 0.0]"):
        made = load_sweep(folder.toml(ON, ("noise_multiplier = [1.0, 2.0]", f"noise_multiplier = {levels}")))
        found = list(made.entries(made.points(), lambda _: N))
        assert arms(spec for spec, _ in found) == {
            Arm.BOTH: 3, Arm.NEITHER: 3, Arm.CLIPPING: 3, Arm.NOISE: 3,
        }  # fmt: skip
        silent = [point for spec, point in found if arm_of(spec) is Arm.CLIPPING]
        assert [point["noise_multiplier"] for point in silent] == [0.0] * 3


@pytest.mark.parametrize("clipping", ["flat", "automatic", "per-layer"])
def test_one_step_differs_by_what_clipping_removed_and_nothing_else(folder, clipping):
    """Same batch, same start, same noise: private minus unclipped is clipped minus plain."""
    changes = ("epochs = 2", "steps = 1"), ("lr = [0.1, 0.5, 1.0]", "lr = [0.5]\nseed = [3]")
    made = load_sweep(
        folder.toml(
            ON, *changes, ("[training]", f'clipping = "{clipping}"\n[training]'), ("= 1.0\n", "= 0.1\n")
        )
    )
    ends = {}
    for spec in made.specs(N):
        (block,) = train_cohort([spec], keep_parameters=True)
        ends[arm_of(spec), spec.noise_multiplier] = block.parameters
    for sigma in (1.0, 2.0):
        for name, private in ends[Arm.BOTH, sigma].items():
            removed = ends[Arm.CLIPPING, 0.0][name] - ends[Arm.NEITHER, 0.0][name]
            np.testing.assert_allclose(private - ends[Arm.NOISE, sigma][name], removed, rtol=0, atol=2e-7)
            assert np.abs(removed).max() > 1e-4
            assert np.abs(private - ends[Arm.CLIPPING, 0.0][name]).max() > 1e-4


def test_the_store_tells_the_arms_apart_and_shows_the_private_ones(sweep, tmp_path):
    trained = train_sweep(replace(sweep, name="arms"), tmp_path)
    assert trained.result.trained == 22
    runs = open_runs(tmp_path)
    assert Counter(runs["arm"]) == {"both": 8, "neither": 2, "clipping": 4, "noise": 8}
    assert runs.columns[:3] == ["id", "status", "arm"]
    noise = runs.filter(arm="noise")
    assert sorted(set(noise["clip_norm"])) == [0.1, 1.0]
    assert set(noise["clipping"]) == {"unclipped"}
    assert noise["noise"].null_count() == noise.height
    assert set(runs.filter(arm="both")["noise"]) == {"shared"}
    finite = runs["epsilon"].is_finite()
    assert runs.filter(finite)["arm"].unique().to_list() == ["both"]
    assert runs.filter(finite).height == 8
    with Store.read(tmp_path) as store:
        board = scoreboard(store, "accuracy")
        assert {arm_of(spec).value for spec in store.specs().values()} == set(runs["arm"])
    assert [best.setting["noise_multiplier"] for best in board.best] == [2.0, 1.0]
    assert [(cell.arm, cell.point.get("noise_multiplier")) for cell in trained.best] == [
        (Arm.BOTH, 2.0), (Arm.BOTH, 1.0), (Arm.NEITHER, None),
    ]  # fmt: skip
    assert frontier(runs)["epsilon"].is_finite().to_list() == [True, True, False]
    # What stands beside the runs costs nothing, since it is never released.
    private = [spec for spec in sweep.specs(N) if spec.plan.is_private]
    alone = search_cost(private, num_examples=N, delta=1e-3)
    assert (trained.cost.runs, trained.cost.baselines) == (8, 14)
    assert trained.cost.single == alone.single
    assert train_sweep(replace(sweep, name="arms"), tmp_path).result.trained == 0


def test_noise_is_shared_with_private_runs_only(folder, tmp_path):
    made = load_sweep(folder.toml(ON, ("[1.0, 2.0]", "[1.0]"), ("[0.1, 0.5, 1.0]", "[0.1]")))
    train_sweep(made, tmp_path)
    assert open_runs(tmp_path).filter(arm="both")["noise"].to_list() == ["own"]


def test_more_noise_adds_only_what_is_not_there(sweep, folder, tmp_path):
    first = replace(sweep, axes={**sweep.axes, "noise_multiplier": [1.0], "clip_norm": [1.0]})
    assert train_sweep(first, tmp_path).result.trained == 2 * (1 + 1 + 1 + 1)
    more = replace(sweep, axes={**sweep.axes, "clip_norm": [1.0]})
    trained = train_sweep(replace(more, secret_seeds=False), tmp_path)
    assert (trained.result.trained, trained.result.runs) == (4, 12)  # two private, two unclipped


def test_a_secret_is_in_the_draws_of_every_arm(sweep, tmp_path):
    small = replace(sweep, secret_seeds=True, axes={"noise_multiplier": [1.0], "lr": [0.1]}, clip_norm=0.5)
    trained = train_sweep(small, tmp_path)
    with Store.read(tmp_path) as store:
        specs = list(store.specs().values())
    assert arms(specs) == dict.fromkeys((Arm.BOTH, Arm.NEITHER, Arm.CLIPPING, Arm.NOISE), 1)
    assert len({spec.streams for spec in specs}) == 1
    assert trained.cost.runs == 1


def test_optuna_is_told_of_what_it_asked_for_only(folder, tmp_path):
    pytest.importorskip("optuna")
    made = load_sweep(
        folder.toml(
            ON,
            ("[1.0, 2.0]", "[1.0]"),
            ("lr = [0.1, 0.5, 1.0]", "lr = { low = 0.1, high = 1.0 }"),
            (
                "[axes]",
                '[search]\nkind = "optuna"\nn = 3\nround_size = 2\ncross = ["noise_multiplier"]\n[axes]',
            ),
        )
    )
    trained = train_sweep(made, tmp_path)
    assert Counter(open_runs(tmp_path)["arm"]) == dict.fromkeys(("both", "neither", "clipping", "noise"), 3)
    assert [cell.arm for cell in trained.best] == [Arm.BOTH, Arm.NEITHER]


@pytest.mark.parametrize(
    "setting", ["baselines = true", "counterfactuals = true", 'original_model = "MODULE:net"']
)
def test_what_is_not_private_is_never_all_released(folder, setting):
    changes = (
        ("[model]", f'{setting}\nsharing = "order"\n[model]'),
        ("[training]", 'secret_seeds = true\nrelease = "all"\n[training]'),
    )
    with pytest.raises(
        SweepFileError, match=f"must leave out runs without privacy.*{setting.partition(' ')[0]}"
    ):
        load_sweep(folder.toml(*changes))


def test_one_rule_where_noise_is_each_runs_own(folder):
    with pytest.raises(SweepFileError, match="runs of one clipping rule"):
        load_sweep(
            folder.toml(
                ON,
                ("[model]", 'sharing = "order"\n[model]'),
                ("[axes]", '[axes]\nclipping = ["flat", "automatic"]'),
            )
        )


def test_a_plan_counts_what_is_not_private(sweep):
    groups = plan_sweep(sweep).groups
    assert [(group.runs, group.baselines) for group in groups] == [(14, 6), (8, 8)]
    assert groups[0].least_epsilon < groups[0].greatest_epsilon < math.inf == groups[1].least_epsilon


def test_stores_of_older_formats_have_arms_too(tmp_path):
    shutil.copy(FORMAT_1, tmp_path / STORE_FILE)
    Store.open(tmp_path, study="no-cliff").close()
    assert Counter(open_runs(tmp_path)["arm"]) == {"neither": 2, "both": 2}


ORIGINAL = ("[model]", '[original_model]\nfactory = "MODULE:with_batch_norm"\n[model]')


def test_the_original_model_stands_beside_each_setting_once(folder, tmp_path):
    made = load_sweep(folder.toml(ON, ORIGINAL, ("[axes]", "[axes]\nmodel.width = [8, 16]")))
    found = list(made.entries(made.points(), lambda _: N))
    assert arms(spec for spec, _ in found) == {
        Arm.BOTH: 12, Arm.NEITHER: 6, Arm.CLIPPING: 6, Arm.NOISE: 12, Arm.ORIGINAL: 3,
    }  # fmt: skip
    originals = [(spec, point) for spec, point in found if arm_of(spec) is Arm.ORIGINAL]
    assert [point for _, point in originals] == [{"lr": 0.1}, {"lr": 0.5}, {"lr": 1.0}]
    for spec, _ in originals:
        assert spec.model == Factory(target=f"{folder.module}:with_batch_norm")
        assert spec.plan.clipping == WholeBatch()
        assert not spec.plan.is_private
        assert spec.seed == 0
    trained = train_sweep(made, tmp_path)
    runs = open_runs(tmp_path).filter(arm="original")
    assert (runs.height, set(runs["clipping"]), set(runs["model"])) == (
        3,
        {"whole-batch"},
        {"with_batch_norm"},
    )
    assert runs["clip_norm"].null_count() == 3
    assert set(runs["status"]) == {"done"}
    assert [cell.arm for cell in trained.best] == [Arm.BOTH, Arm.BOTH, Arm.NEITHER]
    assert trained.cost.runs == 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("MODULE:with_batch_norm", "MODULE:nothing")], "original_model.factory: .*nothing"),
        (
            [("MODULE:with_batch_norm", "MODULE:no_module")],
            "original_model.factory: model must be a torch.nn.Module",
        ),
        ([('with_batch_norm"', 'net"\nwidht = 3')], "original_model.widht: .*did you mean 'width'"),
        ([('with_batch_norm"', 'net"\nfeatures = 5')], "original_model.factory: must take the rows of"),
        ([('with_batch_norm"', 'net"\nclasses = 1')], "criterion: .*out of bounds"),
        ([("MODULE:net", "MODULE:with_batch_norm")], "model.factory: .*BatchNorm1d"),
    ],
)
def test_an_original_model_that_does_not_fit_is_found_beforehand(folder, changes, words):
    with pytest.raises((SweepFileError, SweepFault), match=words):
        plan_sweep(load_sweep(folder.toml(ORIGINAL, *changes)))


def test_an_original_model_may_be_written_as_its_target(folder):
    line = ("[model]", 'original_model = "MODULE:net"\n[model]')
    assert load_sweep(folder.toml(line)).original_model == Factory(target=f"{folder.module}:net")
