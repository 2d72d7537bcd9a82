"""The published study: every number of the paper, and the true ones beside them."""

import dataclasses
import json
from pathlib import Path

import pytest

from clifftop.analysis.jsonio import read_document
from clifftop.studies import Axes, UnknownStudy, get, names, recompute_epsilon, run_study
from clifftop.studies.no_cliff.published import epsilon_as_published

PUBLISHED = json.loads((Path(__file__).parents[1] / "oracles/no_cliff_published.json").read_text())
SIGMAS = (0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
# Exact for a fixed order (mu = sqrt(20) / sigma); Poisson by two independent public accountants.
FIXED_ORDER = (101906.3, 1189.78, 77.330, 28.3735, 11.4800, 3.84861, 1.76006)
POISSON = (214072, 2070.2, 56.9287, 13.7248, 4.6942, 1.51847, 0.69400)
POISSON_EXACT = {0.5: 56.928712, 1.0: 13.724835, 10.0: 0.6939975}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("no-cliff")
    outcome = run_study("no-cliff", out=folder)
    assert (outcome.num_runs, outcome.num_trained) == (66, 66)
    return read_document(folder / "results.json")[0]


def correct(accuracy: float) -> int:
    count = accuracy * 100
    assert abs(count - round(count)) < 1e-9
    return round(count)


def test_all_private_accuracies_are_the_published_counts(results):
    wanted = {
        (r["noise_multiplier"], r["clip_norm"], r["seed"]): correct(r["accuracy"]) for r in PUBLISHED["runs"]
    }
    found = {
        (r["noise_multiplier"], r["clip_norm"], r["seed"]): correct(r["accuracy"]) for r in results["dp_runs"]
    }
    assert len(wanted) == 63
    assert found == wanted


def test_the_baselines_are_the_published_counts(results):
    found = {r["seed"]: correct(r["accuracy"]) for r in results["baseline_runs"]}
    assert found == {seed: correct(accuracy) for seed, accuracy in PUBLISHED["baseline"]}


def test_the_published_epsilons_are_reproduced_to_six_digits(results):
    wanted = {r["noise_multiplier"]: r["epsilon_published"] for r in PUBLISHED["runs"]}
    for run in results["dp_runs"]:
        assert run["epsilon_published"] == pytest.approx(wanted[run["noise_multiplier"]], rel=1e-9)
    assert epsilon_as_published(1.0, 0.16, 140, 1e-5) == pytest.approx(4.797420839806621, rel=1e-12)


def test_the_fixed_order_column(results):
    for row, sigma, exact in zip(results["epsilons"], SIGMAS, FIXED_ORDER, strict=True):
        assert row["noise_multiplier"] == sigma
        assert row["fixed_order"]["upper"] == pytest.approx(exact, rel=5e-6)
        assert row["fixed_order"]["lower"] <= row["fixed_order"]["estimate"] <= row["fixed_order"]["upper"]


def test_the_poisson_column(results):
    for row, sigma, known in zip(results["epsilons"], SIGMAS, POISSON, strict=True):
        for end in ("lower", "estimate", "upper"):
            assert row["poisson"][end] == pytest.approx(known, rel=5e-3)
        assert row["poisson"]["upper"] >= POISSON_EXACT.get(sigma, 0)


def test_the_true_epsilon_of_a_run_is_that_of_its_fixed_order(results):
    rows = {row["noise_multiplier"]: row["fixed_order"] for row in results["epsilons"]}
    for run in results["dp_runs"]:
        assert run["epsilon"] == rows[run["noise_multiplier"]]
        published, bound = recompute_epsilon(run, results["config"])
        assert published == pytest.approx(run["epsilon_published"])
        assert bound.upper == run["epsilon"]["upper"]


def test_the_published_epsilon_is_below_the_truth_by_up_to_ninety_times(results):
    """The reason for this project: the formula is no upper bound on what the code did."""
    ratios = [row["fixed_order"]["lower"] / row["published"] for row in results["epsilons"]]
    assert min(ratios) > 2
    assert max(ratios) == pytest.approx(1189.78 / 23.0259, rel=1e-4)
    against_poisson = [row["poisson"]["lower"] / row["published"] for row in results["epsilons"]]
    assert max(against_poisson) == pytest.approx(2069 / 23.03, rel=0.01)


def test_another_grid_and_other_seeds_need_nothing_special(tmp_path):
    axes = Axes(seeds=(1, 2, 3), noise_multipliers=(0.3, 3.0), clip_norms=(0.5, 2.0))
    outcome = run_study("no-cliff", axes=axes, out=tmp_path)
    assert outcome.num_runs == 15
    document = read_document(tmp_path / "results.json")[0]
    cells = {(r["noise_multiplier"], r["clip_norm"], r["lr"], r["seed"]) for r in document["dp_runs"]}
    assert cells == {(s, c, 0.1, seed) for s in (0.3, 3.0) for c in (0.5, 2.0) for seed in (1, 2, 3)}
    assert all(0.2 < r["accuracy"] <= 1 for r in document["dp_runs"])


def test_the_same_command_resumes_and_a_wider_one_extends(tmp_path):
    small = Axes(seeds=(1,), noise_multipliers=(1.0,), clip_norms=(1.0,))
    assert run_study("no-cliff", axes=small, out=tmp_path).num_trained == 2
    again = run_study("no-cliff", axes=small, out=tmp_path)
    assert again.num_trained == 0
    assert again.training_seconds > 0
    first = read_document(tmp_path / "results.json")[0]["dp_runs"]
    wider = Axes(seeds=(1, 2), noise_multipliers=(1.0,), clip_norms=(1.0,), lrs=(0.1, 1.0))
    assert run_study("no-cliff", axes=wider, out=tmp_path).num_trained == 6
    assert first[0] in read_document(tmp_path / "results.json")[0]["dp_runs"]


def test_the_learning_rate_overturns_the_headline(results, tmp_path):
    """At lr = 1 the smallest clip norm loses almost nothing: it was undertrained, not clipped to death."""
    run_study("no-cliff", axes=Axes(lrs=(1.0,), clip_norms=(0.1,)), out=tmp_path)
    tuned = read_document(tmp_path / "results.json")[0]["dp_runs"]
    means = [100 * sum(r["accuracy"] for r in tuned if r["noise_multiplier"] == s) / 3 for s in SIGMAS]
    assert [round(m, 1) for m in means] == [98.7, 98.7, 98.3, 98.3, 98.3, 98.0, 96.7]
    untuned = [r["accuracy"] for r in results["dp_runs"] if r["clip_norm"] == 0.1]
    assert 100 * sum(untuned) / len(untuned) < 82


def test_the_sound_preset_calibrates_and_stays_below_its_targets(tmp_path):
    axes = Axes(target_epsilons=(1.0, 8.0), clip_norms=(1.0,), lrs=(0.3,), seeds=(0, 1))
    run_study("no-cliff-sound", axes=axes, out=tmp_path)
    document = read_document(tmp_path / "results.json")[0]
    assert document["config"]["sampling"] == "poisson"
    assert document["config"]["normalizer"] == "expected batch size"
    uppers = sorted({r["epsilon"]["upper"] for r in document["dp_runs"]})
    for upper, target in zip(uppers, (1.0, 8.0), strict=True):
        assert 0.99 * target < upper <= target
    assert all(r["epsilon_published"] is None for r in document["dp_runs"])


def test_studies_are_known_by_name():
    assert names() == ["no-cliff", "no-cliff-answered", "no-cliff-sound", "fashion-cnn"]
    with pytest.raises(UnknownStudy, match="found 'no-clif'; did you mean 'no-cliff'"):
        get("no-clif")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"noise_multipliers": (-1.0,)},
            "noise_multiplier must be finite and >= 0, found noise_multiplier=-1.0",
        ),
        ({"clip_norms": (0.0,)}, "clip_norm must be > 0, found clip_norm=0.0"),
        ({"clip_norms": (float("inf"),)}, "clip_norm must be finite in a study's grid"),
        ({"lrs": (0.0,)}, "lr must be finite and > 0, found lr=0.0"),
        ({"seeds": (-1,)}, "seed must be a whole number"),
        ({"seeds": ()}, "seeds must have at least one value"),
        ({"seeds": (1, 1)}, "seeds must not repeat a value, found 1"),
        ({"target_epsilons": (-1.0,)}, "target_epsilon"),
        ({"noise_multipliers": (1.0,), "target_epsilons": (1.0,)}, "found both"),
    ],
)
def test_bad_axes_are_one_line_and_leave_nothing(axes, message, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match=message) as caught:
        run_study("no-cliff", axes=Axes(**axes), out=folder)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_a_cell_without_noise_is_a_private_run_of_infinite_epsilon(tmp_path):
    run_study("no-cliff", axes=Axes(seeds=(42,), noise_multipliers=(0.0,), clip_norms=(1.0,)), out=tmp_path)
    document = read_document(tmp_path / "results.json")[0]
    assert len(document["baseline_runs"]) == 1
    (run,) = document["dp_runs"]
    assert run["epsilon"] == {"lower": "inf", "estimate": "inf", "upper": "inf"}
    assert run["epsilon_published"] == "inf"


def test_data_of_another_size_than_the_epsilon_assumes_is_refused(tmp_path, monkeypatch):
    wrong = dataclasses.replace(get("no-cliff"), num_examples=401)
    monkeypatch.setattr("clifftop.studies.run.STUDIES", {"no-cliff": wrong})
    with pytest.raises(ValueError, match="found 400 where num_examples=401"):
        run_study("no-cliff", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
