"""Validation: a sound folder passes; every kind of damage is named, and no other."""

import json
from dataclasses import dataclass

import pytest

from clifftop.analysis.jsonio import dumps
from clifftop.report.validation import validate


@dataclass(frozen=True)
class Interval:
    lower: float
    estimate: float
    upper: float


@pytest.fixture(scope="module")
def recompute(documents):
    def again(run, config):
        assert config["study"] == "no-cliff"
        sigma = run["noise_multiplier"]
        published = documents.PUBLISHED[documents.SIGMAS.index(sigma)]
        known = published if config["sampling"] == "fixed order" else None
        return known, Interval(**documents.true_epsilon(sigma, config["sampling"]))

    return again


def lines(folder, recompute):
    return [str(failure) for failure in validate(folder, recompute=recompute)]


def change(folder, edit):
    """Edit the results; the report stays that of the results before."""
    document = json.loads((folder / "results.json").read_text())
    edit(document)
    (folder / "results.json").write_bytes(dumps(document))


def test_sound_folders_pass(built, built_several, recompute):
    assert lines(built, recompute) == []
    assert lines(built_several, recompute) == []


def drop_run(document):
    del document["dp_runs"][5]


def repeat_run(document):
    document["dp_runs"].append(document["dp_runs"][5] | {"id": "another"})


def foreign_run(document):
    document["dp_runs"][5] |= {"seed": 7}


def drop_baseline(document):
    del document["baseline_runs"][1]


def same_id(document):
    document["dp_runs"][1]["id"] = document["dp_runs"][0]["id"]


def set_run(**values):
    return lambda document: document["dp_runs"][5].update(values)


def set_metadata(**values):
    return lambda document: document["metadata"].update(values)


def wrong_epsilon(document):
    for run in document["dp_runs"]:
        if run["noise_multiplier"] == 1.0:
            run["epsilon"] = {"lower": 28.0, "estimate": 28.3735, "upper": 28.3736}


def rising_epsilon(document):
    for run in document["dp_runs"]:
        if run["noise_multiplier"] == 10.0:
            run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), 5.0)


def one_run_of_another_epsilon(document):
    document["dp_runs"][4]["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), 5.0)


def wrong_claim(document):
    for run in document["dp_runs"]:
        if run["noise_multiplier"] == 1.0:
            run["epsilon_published"] = 4.79


def wrong_table(document):
    document["epsilons"][3]["fixed_order"]["upper"] = 28.0


def wrong_table_claim(document):
    document["epsilons"][3]["published"] = 4.0


def table_without_own(document):
    document["epsilons"][3]["fixed_order"] = None


def table_interval(document):
    document["epsilons"][3]["poisson"] = {"lower": 14.0, "estimate": 13.0, "upper": 13.7}


def table_rising(document):
    document["epsilons"][6]["poisson"] = dict.fromkeys(("lower", "estimate", "upper"), 2.0)


def table_short(document):
    del document["epsilons"][0]


SIGMA_1 = "results.json: dp_runs noise_multiplier=1: "
TABLE_1 = "results.json: epsilons noise_multiplier=1"
RUN_5 = "results.json: dp_runs noise_multiplier=0.01 clip_norm=1 lr=0.1 seed=456: "


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (drop_run, [RUN_5 + "is missing"]),
        (repeat_run, [RUN_5 + "must be there once, found 2 times"]),
        (
            foreign_run,
            [RUN_5 + "is missing", RUN_5.replace("seed=456", "seed=7") + "is not in the grid of config"],
        ),
        (drop_baseline, ["results.json: baseline_runs lr=0.1 seed=123: is missing"]),
        (same_id, ["results.json: id dp-0.01-0.1-0.1-42: must belong to one run, found 2"]),
        (set_run(accuracy=1.01), ["dp-0.01-1.0-0.1-456: accuracy must be in [0, 1], found 1.01"]),
        (set_run(accuracy="nan"), ["accuracy must be in [0, 1], found nan"]),
        (set_run(accuracy=0.985), ["accuracy must be a whole count of 100 test examples, found 0.985"]),
        (set_run(loss="nan"), ["loss of a finished run must be >= 0, found nan"]),
        (set_run(loss=None), ["loss of a finished run must be >= 0, found None"]),
        (set_run(status="lost"), ["status must be one of done, diverged, found 'lost'"]),
        (set_run(steps=139), ["steps must be 140, found 139"]),
        (set_run(sampling="poisson"), ["sampling must be fixed order, as in config, found poisson"]),
        (set_run(delta=1e-6), ["delta must be 1e-05, as in config, found 1e-06"]),
        (
            wrong_epsilon,
            [
                SIGMA_1 + "epsilon lower is 28.0, recomputed 28.3735",
                SIGMA_1 + "epsilon upper is 28.3736, recomputed 28.3735",
            ],
        ),
        (
            one_run_of_another_epsilon,
            ["noise_multiplier=0.01: runs of one noise multiplier must have one epsilon, found several"],
        ),
        (wrong_claim, [SIGMA_1 + "epsilon_published is 4.79, recomputed 4.797"]),
        (wrong_table_claim, [TABLE_1 + ": published is 4.0, recomputed 4.797"]),
        (table_without_own, [TABLE_1 + ": must give the epsilon for sampling 'fixed order'"]),
        (table_interval, [TABLE_1 + " poisson: epsilon must have 0 <= lower <= estimate <= upper"]),
        (table_rising, ["epsilons poisson: epsilon must fall as noise_multiplier rises"]),
        (table_short, ["results.json: epsilons: must have one row for each noise multiplier of config"]),
        (
            set_metadata(created="yesterday"),
            ["metadata.created: must be an ISO 8601 time, found 'yesterday'"],
        ),
        (set_metadata(runtime_seconds=-1), ["metadata.runtime_seconds: must be finite and >= 0, found -1"]),
        (set_metadata(torch=" "), ["metadata.torch: must name a version"]),
        (set_metadata(machine={}), ["metadata.machine: must not be empty"]),
    ],
)
def test_damage_is_named_and_nothing_else(folder, recompute, edit, expected):
    change(folder, edit)
    found = [line for line in lines(folder, recompute) if line.startswith("results.json")]
    assert len(found) == len(expected), found
    for line, part in zip(found, expected, strict=True):
        assert part in line
        assert "\n" not in line


def test_epsilon_that_rises_with_the_noise(folder, recompute):
    change(folder, rising_epsilon)
    found = lines(folder, recompute)
    assert any(
        "dp_runs: epsilon must fall as noise_multiplier rises, found 3.84861 at 5 and 5.0 at 10" in f
        for f in found
    )


def test_a_wrong_interval_in_the_table(folder, recompute):
    change(folder, wrong_table)
    found = [line for line in lines(folder, recompute) if line.startswith(TABLE_1)]
    assert len(found) == 2
    assert "0 <= lower <= estimate <= upper" in found[0]
    assert "epsilon upper is 28.0, recomputed 28.3735" in found[1]


def test_a_loss_may_overflow_while_the_run_goes_on(folder, recompute):
    """Parameters that are huge but finite: the loss is infinite and the run is done, not diverged."""
    change(folder, set_run(loss="inf"))
    assert [line for line in lines(folder, recompute) if line.startswith("results.json")] == []


def test_no_more_than_twenty_lines_a_check(folder, recompute):
    def edit(document):
        for run in document["dp_runs"]:
            run["accuracy"] = 2.0

    change(folder, edit)
    found = [line for line in lines(folder, recompute) if line.startswith("results.json")]
    assert len(found) == 21
    assert found[-1] == "results.json: and 43 more of the same check"


def test_results_of_another_run(folder, recompute):
    """Other results than the report's: the summary no longer recomputes, and the page says so too."""

    def edit(document):
        document["dp_runs"][0]["accuracy"] = 0.5

    change(folder, edit)
    found = lines(folder, recompute)
    assert any(
        line.startswith("summary.json: configurations[0].accuracy.mean: is 0.806666667, recomputed")
        for line in found
    )
    assert found[-1] == "report.html: page: was not built from this results.json; build the report again"


def edit_summary(folder, edit):
    summary = json.loads((folder / "summary.json").read_text())
    edit(summary)
    (folder / "summary.json").write_bytes(dumps(summary))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda s: s["cliff"]["true_upper"]["overall"].update(cliff_epsilon=2.0),
            "summary.json: cliff.true_upper.overall.cliff_epsilon: is 2, recomputed None",
        ),
        (
            lambda s: s["cliff"]["published"]["overall"].update(safe_epsilon=1.0),
            "summary.json: cliff.published.overall.safe_epsilon: is 1, recomputed 0.872279843",
        ),
        (
            lambda s: s["configurations"].pop(),
            "summary.json: configurations: has 20 entries, recomputed 21",
        ),
        (
            lambda s: s["configurations"][20]["accuracy"].update(std=0.0),
            "summary.json: configurations[20].accuracy.std: is 0, recomputed",
        ),
        (lambda s: s.pop("baseline"), "summary.json: baseline: is missing"),
        (lambda s: s.update(extra=1), "summary.json: extra: does not belong here"),
        (lambda s: s.update(study=3), "summary.json: study: is 3, recomputed 'no-cliff'"),
    ],
)
def test_a_summary_that_does_not_recompute(folder, recompute, edit, expected):
    edit_summary(folder, edit)
    found = lines(folder, recompute)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("summary.json", None, "summary.json: no such file"),
        ("summary.json", b'{"schema"', "summary.json: not complete JSON"),
        ("frontier.png", None, "frontier.png: plot: is missing; build the report again"),
        ("frontier.png", b"\x89PNG\r\n\x1a\n", "frontier.png: plot: is cut short or damaged"),
        ("cliff.png", b"", "cliff.png: plot: is not a PNG"),
        ("report.html", None, "report.html: page: is missing; build the report again"),
        ("report.html", b"<!doctype html><html>", "report.html: page: is cut short; build the report again"),
        ("results.json", None, "results.json: no such file"),
        ("results.json", b'{"schema": 1, "conf', "results.json: not complete JSON"),
        ("results.json", b'{"schema": 1}', "results.json: key 'config' is missing"),
    ],
)
def test_a_missing_or_broken_file(folder, recompute, name, content, expected):
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    found = lines(folder, recompute)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_the_extra_plot_of_several_learning_rates_is_missed(built_several, recompute, tmp_path):
    import shutil

    folder = shutil.copytree(built_several, tmp_path / "results")
    (folder / "learning_rate.png").unlink()
    assert lines(folder, recompute) == ["learning_rate.png: plot: is missing; build the report again"]


def test_each_epsilon_is_computed_once_a_noise_multiplier(built_several, recompute):
    """21,000 runs must not cost 21,000 accountings: 7 settings of runs and 7 rows of the table."""
    calls = []

    def counted(run, config):
        calls.append(run["noise_multiplier"])
        return recompute(run, config)

    assert validate(built_several, recompute=counted) == []
    assert len(calls) == 14


def test_strict_fall_allows_ties_only_at_zero(folder, recompute, documents):
    """With very much noise nothing is lost at this delta, and epsilon is 0 for every larger noise."""

    def edit(document):
        for run in document["dp_runs"]:
            if run["noise_multiplier"] >= 5:
                run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), 0.0)
        for row in document["epsilons"][5:]:
            row["fixed_order"] = dict.fromkeys(("lower", "estimate", "upper"), 0.0)

    def again(run, config):
        published, true = recompute(run, config)
        return published, Interval(0.0, 0.0, 0.0) if run["noise_multiplier"] >= 5 else true

    change(folder, edit)
    assert [line for line in lines(folder, again) if line.startswith("results.json")] == []
