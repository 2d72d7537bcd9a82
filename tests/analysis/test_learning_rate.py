"""The best learning rate per cell, and what it says of the cost of clipping."""

import pytest

from clifftop.analysis.summary import summarise


def test_best_of_each_cell(several):
    assert len(several.best_lr) == 21
    for best in several.best_lr:
        chosen = best.configuration
        rivals = [
            item.accuracy.mean
            for item in several.configurations
            if (item.noise_multiplier, item.clip_norm) == (chosen.noise_multiplier, chosen.clip_norm)
        ]
        assert chosen.accuracy.mean == max(rivals)
        assert best.accuracy_held_out.n == 30


def test_of_equals_the_first_listed(parse, documents):
    document = documents.synthetic_document(lrs=(3.0, 1.0), seeds=(1, 2))
    for run in document["dp_runs"]:
        run["accuracy"] = 0.9
    assert {best.configuration.lr for best in summarise(parse(document)).best_lr} == {3.0}


def test_one_seed_holds_nothing_out(parse, documents):
    summary = summarise(parse(documents.synthetic_document(seeds=(1,))))
    assert all(best.accuracy_held_out is None for best in summary.best_lr)
    assert all(cost.recovered is None for cost in summary.clipping_cost)


def test_the_cost_of_clipping_at_the_first_and_the_best_rate(several):
    costs = {cost.clip_norm: cost for cost in several.clipping_cost}
    assert set(costs) == {0.1, 1.0, 10.0}
    small = costs[0.1]
    assert (small.noise_multiplier, small.first_lr) == (0.01, 0.1)
    assert small.lost_at_first_lr.mean > 0.15
    assert small.lost_at_best_lr.mean < 0.02
    assert small.recovered.mean == pytest.approx(0.19, abs=0.03)
    assert small.recovered.ci95[0] > 0.1


def test_the_first_rate_is_the_first_listed(parse, documents):
    summary = summarise(parse(documents.synthetic_document(lrs=(1.0, 0.1), seeds=(1, 2, 3))))
    assert {cost.first_lr for cost in summary.clipping_cost} == {1.0}
    assert [item.lr for item in summary.baselines] == [1.0, 0.1]


def test_the_best_clip_norm_of_each_rate(several):
    best = {item.lr: item for item in several.best_clip_norm}
    assert best[0.1].clip_norm == 1.0
    assert best[1.0].clip_norm == 0.1
    assert best[1.0].noise_multiplier == 10.0
    assert best[1.0].margin.ci95[0] > 0


def test_the_margin_is_that_over_the_second_best(parse, documents):
    document = documents.synthetic_document(lrs=(0.1, 1.0), seeds=(1, 2))
    accuracy = {0.1: 0.5, 1.0: 0.8, 10.0: 0.7}
    for run in document["dp_runs"]:
        run["accuracy"] = accuracy[run["clip_norm"]] + 0.01 * run["seed"]
    best = summarise(parse(document)).best_clip_norm[0]
    assert best.clip_norm == 1.0
    assert best.margin.mean == pytest.approx(0.1)
    assert best.margin.std == pytest.approx(0.0, abs=1e-12)
