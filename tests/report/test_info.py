"""What the charts show, before it is drawn."""

import polars as pl
import pytest

from clifftop.analysis.summary import summarise
from clifftop.report.info import (
    BEST_LR,
    CLAIMED,
    TRUE,
    accuracy_domain,
    baseline_info,
    cells_info,
    clipping_info,
    curve_info,
    learning_rate_info,
    panels,
    spread,
)


def row(frame, **wanted):
    found = frame.filter(*(pl.col(name) == value for name, value in wanted.items()))
    assert found.height == 1
    return found.row(0, named=True)


def test_one_learning_rate_is_one_panel(published):
    assert [panel.title for panel in panels(published)] == ["learning rate 0.1"]


def test_several_learning_rates_come_after_the_best(several):
    rates = [f"learning rate {lr}" for lr in ("0.1", "0.3", "1", "3", "10")]
    assert [panel.title for panel in panels(several)] == [BEST_LR, *rates]
    assert {len(panel.cells) for panel in panels(several)} == {21}


def test_a_cell(published):
    cell = row(cells_info(published), sigma="10", clip="10")
    assert cell["accuracy"] == pytest.approx(62.6667, abs=1e-3)
    assert (cell["epsilon"], cell["published"]) == (1.76006, pytest.approx(0.87228, abs=1e-5))
    assert cell["lost"] == pytest.approx(36.6667, abs=1e-3)
    assert cell["lost_lower"] < cell["lost"] < cell["lost_upper"]
    assert cell["accuracy_text"] == "62.7% (42.4 to 82.9)"
    assert (cell["epsilon_text"], cell["published_text"], cell["seeds"]) == ("1.76006", "0.87", 3)


def test_intervals_of_accuracy_stay_within_what_it_can_be(published):
    cells = cells_info(published)
    assert cells["upper"].max() == 100.0
    raw = [item.accuracy.ci95[1] for item in published.configurations]
    assert max(raw) > 1.0, "else this test could not fail"


def test_both_epsilons_of_every_cell(published):
    info = curve_info(published)
    assert info.group_by("kind").len().sort("kind").rows() == [(CLAIMED, 21), (TRUE, 21)]
    true, claimed = (
        row(info, sigma="0.1", clip="1", kind=TRUE),
        row(info, sigma="0.1", clip="1", kind=CLAIMED),
    )
    assert (true["x"], claimed["x"]) == (1189.78, pytest.approx(23.0258509))
    assert true["accuracy"] == claimed["accuracy"]


def test_without_claims_there_is_one_kind(unpublished):
    assert set(curve_info(unpublished)["kind"]) == {TRUE}


def test_a_log_axis_has_no_place_for_zero_and_infinity(documents, parse):
    document = documents.published_document()
    for run in document["dp_runs"][:9]:
        run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), "inf")
    for run in document["dp_runs"][-9:]:
        run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), 0.0)
    info = curve_info(summarise(parse(document))).filter(pl.col("kind") == TRUE)
    assert info.height == 21
    assert info["x"].null_count() == 6


def test_an_infinite_clip_norm_is_off_the_axis(documents, parse):
    document = documents.published_document()
    for run in document["dp_runs"]:
        run["clip_norm"] = "inf" if run["clip_norm"] == 10 else run["clip_norm"]
    info = clipping_info(summarise(parse(document)))
    assert set(info.filter(pl.col("x").is_null())["clip"]) == {"∞"}
    assert set(info["x"].drop_nulls()) == {0.1, 1.0}


def test_learning_rate_panels(several):
    info = learning_rate_info(several)
    assert info["panel"].unique(maintain_order=True).to_list() == ["σ = 0.01", "σ = 0.5", "σ = 2", "σ = 10"]
    assert row(info, sigma="2", clip="10", rate="0.3")["x"] == pytest.approx(3.0)
    assert info.height == 4 * 3 * 5


def test_baselines_by_learning_rate(several):
    info = baseline_info(several)
    assert info["lr"].to_list() == [0.1, 0.3, 1.0, 3.0, 10.0]
    assert info["accuracy"][4] == pytest.approx(22.0)


def test_one_seed_has_no_intervals(documents, parse):
    summary = summarise(parse(documents.synthetic_document(seeds=(1,), lrs=(0.1,))))
    cells = cells_info(summary)
    assert cells["lower"].null_count() == cells["lost_upper"].null_count() == cells.height
    assert row(cells, sigma="1", clip="1")["accuracy_text"].endswith("%")


def test_the_accuracy_axis_holds_every_interval(published):
    low, high = accuracy_domain((cells_info(published),), published.baseline.accuracy.mean)
    assert (low, high) == (40.0, 104.8)


def test_calibrated_noise_has_short_labels(documents, parse):
    document = documents.published_document()
    for run in document["dp_runs"]:
        run["noise_multiplier"] *= 1.2345678
    info = cells_info(summarise(parse(document)))
    assert info["sigma"].unique(maintain_order=True).to_list()[:3] == ["0.0123", "0.123", "0.617"]


def test_spread_keeps_the_ends():
    assert spread((1.0, 2.0), 4) == (1.0, 2.0)
    assert spread(tuple(range(10)), 4) == (0, 3, 6, 9)
