"""Scores of sets and of clipping in a sweep: what may be asked for, what is refused, how it is read back."""

import math

import pytest

from clifftop.cli.run_table import chosen_columns
from clifftop.events import NegativeBinomialTrials
from clifftop.lab.reading import open_runs
from clifftop.lab.reading.scoreboard import scoreboard
from clifftop.lab.reading.where import condition
from clifftop.lab.store import Store
from clifftop.lab.sweep import SweepFault, load_sweep, train_sweep
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.run import ScoredRows, plan_tuning
from clifftop.lab.tuning.scores import require_count
from clifftop.vocabulary import smaller_is_better

GROUPED = """
import numpy as np
import torch
from clifftop.datasets import Rows, RowsDataset
from clifftop.criteria import ClippingScore, SetScore


def net():
    return torch.nn.Linear(4, 3)


def rows(*, labelled=True):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    groups = np.where(np.arange(90) % 10 == 7, "few", "many") if labelled else None
    parts = (slice(0, 60), slice(60, None))
    train, test = (
        Rows(inputs=(x[p],), targets=(y[p],), groups=None if groups is None else groups[p]) for p in parts
    )
    return RowsDataset(train=train, test=test)


class Odd(SetScore):
    def keep(self, output, *targets):
        return output.sum()

    def values(self, kept, rows):
        return {"odd": 1.0}


class Wordy(SetScore):
    def keep(self, output, *targets):
        return output

    def values(self, kept, rows):
        return {"wordy": "much"}


class Copied(ClippingScore):
    def chosen(self, rows):
        return rows.targets[0][:0]

    def values(self, weights, rows):
        return {"accuracy": 1.0}
"""
ALL = """[
    "clifftop.criteria:accuracy",
    { factory = "clifftop.criteria:ece", num_bins = 5 },
    "clifftop.criteria:brier",
    "clifftop.criteria:accuracy_by_class",
    "clifftop.criteria:accuracy_by_group",
    "clifftop.criteria:clipped_by_group",
]"""


@pytest.fixture
def grouped(folder):
    """The small sweep's file with this metrics, objective, and further changes."""
    (folder.path / f"{folder.module}.py").write_text(GROUPED)

    def file(metrics=ALL, objective=None, *changes):
        search = "" if objective is None else f'[search]\nobjective = "{objective}"\n'
        return folder.toml(
            ('name = "small"', f'name = "small"\nmetrics = {metrics}'),
            ("[axes]", f"{search}\n[axes]"),
            *changes,
        )

    return file


def test_scores_are_recorded_read_back_and_chosen_by(grouped, tmp_path):
    sweep = load_sweep(grouped(objective="accuracy[group=few]"))
    assert (sweep.goal.metric, sweep.goal.maximize) == ("accuracy[group=few]", True)
    assert sweep.metrics[1].options == {"num_bins": 5}
    trained = train_sweep(sweep, tmp_path / "out")
    runs = open_runs(tmp_path / "out")
    came_out = runs.columns[runs.columns.index("error") + 1 :]
    assert [name for name in chosen_columns(runs) if name in came_out] == [
        "accuracy", "brier", "ece", "loss", "accuracy[class=0]", "accuracy[class=1]", "accuracy[class=2]",
        "accuracy[group=few]", "accuracy[group=many]", "clipped[group=few]", "clipped[group=many]",
    ]  # fmt: skip
    few = runs["accuracy[group=few]"]
    assert few.is_finite().all()
    for cell in trained.best:
        level = runs.filter(noise_multiplier=cell.point["noise_multiplier"])
        assert cell.score == level["accuracy[group=few]"].max()
    high = runs.filter(condition("accuracy[group=few] >= 0.5 and clip_norm == 1", runs.schema))
    assert high["id"].to_list() == runs.filter(few >= 0.5)["id"].to_list()
    with Store.read(tmp_path / "out") as store:
        found = scoreboard(store, "ece")
    assert found.best[0].mean == pytest.approx(
        min(runs.filter(epsilon=runs["epsilon"].min())["ece"].to_list())
    )


@pytest.mark.parametrize(
    ("metrics", "objective", "message"),
    [
        (ALL, "clipped[group=few]", r"must be a score of test rows, found 'clipped\[group=few\]'"),
        (ALL, "accuracy[group=none]", r"must be a name that is recorded, found 'accuracy\[group=none\]'"),
        ('["clifftop.criteria:accuracy_by_class"]', None, "must be a name .* found 'accuracy_by_class'"),
        ('["clifftop.criteria:binary_ece"]', None, "metrics: must fit .* needs one logit an example"),
        ('[{ factory = "clifftop.criteria:ece", bins = 5 }]', None, "must take its options, found .*bins"),
        ('["MODULE:Odd"]', None, "keep must give a row an example"),
        ('["MODULE:Wordy"]', None, "values must give a mapping from names to numbers"),
        ('["clifftop.criteria:accuracy", "MODULE:Copied"]', None, "found 'accuracy' twice"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_trained(
    grouped, tmp_path, metrics, objective, message
):
    with pytest.raises(SweepFault, match=message) as fault:
        train_sweep(load_sweep(grouped(metrics, objective)), tmp_path / "out")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("metric", ["accuracy_by_group", "clipped_by_group", "worst_group_accuracy"])
def test_data_without_groups_have_no_scores_by_group(grouped, tmp_path, metric):
    unlabelled = (':rows"', ':rows"\nlabelled = false')
    file = grouped(f'["clifftop.criteria:{metric}"]', "loss", unlabelled)
    with pytest.raises(SweepFault, match=r"metrics: must fit .* needs a group for each example, found none"):
        train_sweep(load_sweep(file), tmp_path / "out")


def test_a_tuning_takes_no_score_that_private_training_rows_decide(grouped):
    trials = NegativeBinomialTrials(mean=3.0)
    sweep = load_sweep(grouped())
    with pytest.raises(TuneError, match=r"must not look at training rows, found .*clipped_by_group"):
        plan_tuning(sweep, trials, scored=ScoredRows(are_public=True))
    # The control: without it the sweep can be tuned, by a group's accuracy too where rows are public.
    metrics = ALL.replace('    "clifftop.criteria:clipped_by_group",\n', "")
    by_group = load_sweep(grouped(metrics, "accuracy[group=few]"))
    assert math.isfinite(plan_tuning(by_group, trials, scored=ScoredRows(are_public=True)).epsilon.upper)
    with pytest.raises(TuneError, match=r"must be a count, .* found accuracy\[group=few\]"):
        plan_tuning(by_group, trials, scored=ScoredRows(are_public=False))
    with pytest.raises(TuneError, match=r"found clifftop\.criteria:ece"):
        require_count(sweep.metrics[1], "ece")


@pytest.mark.parametrize(
    ("name", "smaller"),
    [("ece", True), ("equal_mass_ece", True), ("brier[class=1]", True), ("clipped[group=a]", True),
     ("cross_entropy", True), ("piece", False), ("accuracy[group=loss]", False)],
)  # fmt: skip
def test_which_scores_are_better_when_small(name, smaller):
    assert smaller_is_better(name) is smaller
