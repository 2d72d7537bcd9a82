"""The summary, against the published table and against plain recomputation."""

import copy
import json

import numpy as np
import pytest

from clifftop.analysis.jsonio import ResultsError, dumps
from clifftop.analysis.summary import summarise

# Mean and population std in percent, by noise multiplier, for C = 0.1, 1 and 10: the published table.
PUBLISHED_TABLE = {
    0.01: ((80.7, 7.1), (99.0, 0.8), (99.3, 0.5)),
    0.1: ((80.7, 7.1), (99.3, 0.5), (99.0, 0.8)),
    0.5: ((80.3, 6.8), (98.7, 1.2), (98.7, 1.9)),
    1.0: ((81.3, 6.6), (98.7, 1.2), (97.7, 1.9)),
    2.0: ((81.3, 6.8), (98.3, 1.7), (92.7, 1.2)),
    5.0: ((80.7, 7.6), (98.3, 2.4), (80.3, 1.9)),
    10.0: ((80.0, 7.1), (94.7, 1.7), (62.7, 6.6)),
}


def cell(summary, sigma, clip_norm, lr=0.1):
    key = (sigma, clip_norm, lr)
    return next(i for i in summary.configurations if (i.noise_multiplier, i.clip_norm, i.lr) == key)


@pytest.mark.parametrize("sigma", PUBLISHED_TABLE)
def test_the_published_table(published, sigma):
    for clip_norm, (mean, std) in zip((0.1, 1.0, 10.0), PUBLISHED_TABLE[sigma], strict=True):
        accuracy = cell(published, sigma, clip_norm).accuracy
        assert (round(100 * accuracy.mean, 1), round(100 * accuracy.std, 1), accuracy.n) == (mean, std, 3)


def test_the_published_baseline(published):
    baseline = published.baseline
    assert (round(100 * baseline.accuracy.mean, 2), round(100 * baseline.accuracy.std, 2)) == (99.33, 0.47)
    assert (baseline.lr, baseline.diverged, len(published.baselines)) == (0.1, 0, 1)


def test_the_published_study_has_no_cliff(published):
    true, claimed = published.cliff.true_upper, published.cliff.published
    assert (true.overall.collapsed, true.overall.cliff_epsilon, true.overall.safe_epsilon) == (
        0,
        None,
        1.76006,
    )
    assert claimed.overall.safe_epsilon == pytest.approx(0.8722798434676159)
    assert [item.clip_norm for item in true.per_clip_norm] == [0.1, 1.0, 10.0]
    assert [item.cliff.safe_epsilon for item in true.per_clip_norm] == [None, 1.76006, 11.48]
    assert [item.lr for item in true.per_lr] == [0.1]
    assert true.best_lr == true.overall


def test_one_learning_rate_says_nothing_of_others(published):
    assert published.clipping_cost == ()
    assert published.best_clip_norm == ()


def test_losses_are_paired_by_seed(published):
    lost = cell(published, 10.0, 10.0).accuracy_lost
    by_hand = np.array([0.99, 1.0, 0.99]) - np.array([0.57, 0.59, 0.72])
    assert lost.n == 3
    assert lost.mean == pytest.approx(0.993333 - 0.626667, abs=1e-5)
    assert lost.mean == pytest.approx(by_hand.mean())
    assert lost == cell(published, 10.0, 10.0).accuracy_lost_best_baseline


def test_pairing_is_by_seed_and_not_by_place(parse, published_document):
    shuffled = copy.deepcopy(published_document)
    shuffled["baseline_runs"].reverse()
    assert summarise(parse(shuffled)).configurations == summarise(parse(published_document)).configurations


def test_every_number_again_by_plain_python(parse, documents):
    document = documents.synthetic_document(seeds=range(5), lrs=(0.1, 1.0))
    summary = summarise(parse(document))
    baselines = {(run["lr"], run["seed"]): run["accuracy"] for run in document["baseline_runs"]}
    best = max((0.1, 1.0), key=lambda lr: np.mean([baselines[lr, seed] for seed in range(5)]))
    assert summary.baseline.lr == best
    for item in summary.configurations:
        runs = [
            run
            for run in document["dp_runs"]
            if (run["noise_multiplier"], run["clip_norm"], run["lr"])
            == (item.noise_multiplier, item.clip_norm, item.lr)
        ]
        accuracies = [run["accuracy"] for run in runs]
        own = [baselines[run["lr"], run["seed"]] - run["accuracy"] for run in runs]
        to_best = [baselines[best, run["seed"]] - run["accuracy"] for run in runs]
        assert item.accuracy.mean == pytest.approx(np.mean(accuracies))
        assert item.accuracy.std == pytest.approx(np.std(accuracies))
        assert item.accuracy_lost.mean == pytest.approx(np.mean(own))
        assert item.accuracy_lost_best_baseline.mean == pytest.approx(np.mean(to_best))
        assert item.epsilon.upper == runs[0]["epsilon"]["upper"]
        assert item.fraction_clipped == pytest.approx(runs[0]["diagnostics"]["fraction_clipped"])
    assert len(summary.configurations) == 42


def test_the_yardstick_is_the_best_baseline(several):
    """At the largest learning rate training without privacy diverges: it must not be the yardstick."""
    assert several.baseline.accuracy.mean > 0.98
    diverged = {item.lr: item.diverged for item in several.baselines}
    assert diverged == {0.1: 0, 0.3: 0, 1.0: 0, 3.0: 0, 10.0: 30}
    assert cell(several, 0.01, 0.1, 10.0).accuracy_lost.mean < 0
    assert cell(several, 0.01, 0.1, 10.0).accuracy_lost_best_baseline.mean > -0.01
    cliffs = several.cliff.true_upper
    assert {item.cliff.baseline_accuracy for item in cliffs.per_lr} == {several.baseline.accuracy.mean}


def test_without_published_epsilons(parse, documents):
    summary = summarise(parse(documents.synthetic_document(sampling="poisson", seeds=(1, 2), lrs=(1.0,))))
    assert summary.cliff.published is None
    assert summary.cliff.true_upper.overall.safe_epsilon == pytest.approx(0.694 * 1.001)


def test_diverged_runs_count_as_measured(parse, published_document):
    run = published_document["dp_runs"][0]
    run |= {"status": "diverged", "loss": None, "accuracy": 0.2}
    found = cell(summarise(parse(published_document)), 0.01, 0.1)
    assert found.diverged == 1
    assert found.accuracy.mean == pytest.approx((0.2 + 0.88 + 0.71) / 3)


def test_a_seed_without_baseline_is_left_out_of_pairs(parse, published_document):
    del published_document["baseline_runs"][1]
    found = cell(summarise(parse(published_document)), 10.0, 10.0)
    assert (found.accuracy.n, found.accuracy_lost.n) == (3, 2)


@pytest.mark.parametrize("key", ["baseline_runs", "dp_runs"])
def test_no_runs_is_one_line(parse, published_document, key):
    published_document[key] = []
    with pytest.raises(ResultsError, match=rf"results\.json: key '{key}' must hold a run, found none"):
        summarise(parse(published_document))


def test_json_has_every_part_and_reads_back(published):
    content = json.loads(dumps(published.to_json()))
    assert content == published.to_json()
    assert set(content) >= {
        "schema",
        "baseline",
        "configurations",
        "cliff",
        "frontier",
        "best_lr",
        "epsilons",
    }
    first = content["configurations"][0]
    assert set(first["accuracy"]) == {"mean", "std", "n", "ci95"}
    assert set(first["epsilon"]) == {"lower", "estimate", "upper"}
    assert content["cliff"]["true_upper"]["overall"]["cliff_epsilon"] is None


def test_an_infinite_epsilon_survives_json(parse, published_document):
    for run in published_document["dp_runs"][:9]:
        run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), "inf")
    content = json.loads(dumps(summarise(parse(published_document)).to_json()))
    assert content["configurations"][0]["epsilon"]["upper"] == "inf"
