"""What marks show is what the evidence says: every table against the numbers that it was made of."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from clifftop.analysis import estimate
from clifftop.analysis.evidence import Arm
from clifftop.report.drawings import drawings, rows
from clifftop.report.drawings.axes import epsilon_axis, log_domain, log_ticks, score_axis
from clifftop.report.drawings.cells import private_cells
from clifftop.report.drawings.groups import classes, influence
from clifftop.report.drawings.units import epsilon_number, unit_of


def close(shown, true):
    return shown == pytest.approx(true, rel=1e-4, abs=1e-4)


def test_cells_are_the_evidence(small, by_name):
    evidence = small.evidence
    shown = rows(by_name["frontier"].data["cells"])
    assert [row["cell"] for row in shown] == [cell.index for cell in evidence.private]
    for row in shown:
        cell = evidence.cells[row["cell"]]
        found = estimate(evidence.values(cell))
        assert close(row["mean"], 100 * found.mean)
        assert close(row["lower"], max(0, 100 * found.ci95[0]))
        assert close(row["upper"], min(100, 100 * found.ci95[1]))
        assert row["n"] == found.n
        assert cell.epsilon.upper <= row["epsilon"] <= 1.0002 * cell.epsilon.upper
        assert row["clip_norm"] == cell.setting["clip_norm"]
        assert close(row["published"], cell.published)


def test_an_epsilon_is_never_shown_too_small():
    for value in np.random.default_rng(0).lognormal(2, 4, size=500).tolist():
        assert value <= epsilon_number(value) <= 1.0002 * value
    assert epsilon_number(math.inf) is None


def test_the_front_is_the_frontiers(small, by_name):
    front = rows(by_name["frontier"].data["front"])
    finite = [
        index for index in small.frontier.front if math.isfinite(small.evidence.cells[index].epsilon.upper)
    ]
    assert [row["cell"] for row in front[: len(finite)]] == finite
    assert [row["mean"] for row in front] == sorted(row["mean"] for row in front)
    assert front[-1]["epsilon"] > 1e5, "the last step goes on to the end of the axis"


def test_the_band_is_the_frontiers(small, by_name):
    for row, point in zip(rows(by_name["frontier"].data["band"]), small.frontier.band, strict=False):
        assert row["epsilon"] >= point.epsilon
        assert close(row["lower"], max(0, 100 * point.lower))
        assert close(row["upper"], min(100, 100 * point.upper))


def test_parts_add_up_to_the_total_on_paper_too(small, by_name):
    parts, totals = (rows(by_name["decomposition"].data[name]) for name in ("parts", "losses"))
    assert {row["part"] for row in parts} == {"clipping", "noise", "interaction", "architecture"}
    assert len(totals) == 63, "21 cells at each of two learning rates, and tuned"
    for row in totals:
        own = [
            part["value"] for part in parts if (part["cell"], part["panel"]) == (row["cell"], row["panel"])
        ]
        assert sum(own) == pytest.approx(row["total"], abs=2e-3)
    fixed = [row for row in totals if "learning rate 0.1" in row["panel"]]
    for row in fixed:
        loss = small.decomposition.of(row["cell"])
        assert close(row["total"], 100 * loss.total.mean)
        assert close(row["total_lower"], 100 * loss.total.ci95[0])


def test_marginal_gains_are_the_frontiers(small, by_name):
    for row, step in zip(rows(by_name["marginal"].data["marginal"]), small.frontier.marginal, strict=True):
        assert close(row["gain"], 100 * step.per_doubling.mean)
        assert close(row["upper"], 100 * step.per_doubling.ci95[1])
        assert row["cell"] == step.cell_high


def test_iso_curves_are_the_frontiers(large):
    found = {drawing.name: drawing for drawing in drawings(large)}
    for name, curves in (
        ("iso_compute", large.frontier.iso_compute()),
        ("iso_epsilon", large.frontier.iso_epsilon()),
    ):
        points = [point for curve in curves for point in curve.points]
        shown = rows(found[name].data[name])
        assert [row["cell"] for row in shown] == [point.cell for point in points]
        assert all(
            close(row["mean"], 100 * point.utility.mean) for row, point in zip(shown, points, strict=True)
        )


def test_a_place_of_a_heat_map_holds_its_best_cell(small, by_name):
    cells = private_cells(small.evidence)
    heat = rows(by_name["heat_map"].data["heat"])
    assert len(heat) == 3 * 21
    best = {}
    for place, cell in enumerate(cells.items):
        key = (round(cell.setting["noise_multiplier"], 9), cell.setting["clip_norm"])
        best[key] = max(best.get(key, -1), cells.mean[place])
    for row in heat[:21]:
        cell = small.evidence.cells[row["cell"]]
        key = (round(cell.setting["noise_multiplier"], 9), cell.setting["clip_norm"])
        assert cells.mean[cells.place[row["cell"]]] == best[key]
        assert float(row["across"]) == cell.setting["clip_norm"]


def test_a_heat_map_takes_the_settings_that_matter_most():
    from clifftop.testing.frontiers import crossed, simulated_evidence

    settings = crossed({"model.width": (8, 16, 32), "model.depth": (1, 2), "momentum": (0.0, 0.5, 0.9)})
    evidence = simulated_evidence(rng=np.random.default_rng(0), epsilons=(1.0,), cells=settings, seeds=2)
    means = {
        cell.index: 0.01 * cell.setting["model.width"] + 0.2 * cell.setting["momentum"]
        for cell in evidence.private
    }
    cells = tuple(
        replace(cell, scores={"accuracy": np.full(2, means[cell.index])}) if cell.arm is Arm.BOTH else cell
        for cell in evidence.cells
    )
    evidence = replace(evidence, cells=cells)
    shown = private_cells(evidence)
    assert (
        influence(shown, "model.width") > influence(shown, "momentum") > influence(shown, "model.depth") == 0
    )
    bare = SimpleNamespace(
        evidence=evidence, frontier=None, decomposition=None, curves=None, cliffs={}, audits=()
    )
    (heat,) = [drawing for drawing in drawings(bare) if drawing.name == "heat_map"]
    assert heat.title == "Test accuracy over model width and momentum"


def test_many_values_become_ranges(large):
    cells = private_cells(large.evidence)
    spread = np.geomspace(0.001, 1000, len(cells.items))
    changed = tuple(
        replace(cell, setting={**cell.setting, "lr": float(value)})
        for cell, value in zip(cells.items, spread, strict=True)
    )
    found = classes(replace(cells, items=changed), "lr", most=6)
    assert found.ranges
    assert found.names == ("0.001–0.01", "0.01–0.1", "0.1–1", "1–10", "10–100", "100–1000")
    assert all(count == pytest.approx(1680, abs=2) for count in map(found.of.count, found.names))


def test_falls_lie_where_the_search_found_them(small, by_name):
    falls = {row["search"]: row for row in rows(by_name["cliff"].data["falls"])}
    assert falls
    for name, row in falls.items():
        steepest = small.cliffs[name].steepest
        assert row["epsilon_low"] >= steepest.epsilon_low
        assert close(row["drop"], 100 * steepest.drop.mean)
        assert row["high"] - row["low"] == pytest.approx(row["drop"], abs=1e-2)
        assert row["verdict"] == small.cliffs[name].verdict.value
    verdicts = {test.verdict.value for test in small.cliffs.values()}
    assert all(verdict in by_name["cliff"].caption for verdict in verdicts)


def test_traces_are_whole(small, by_name):
    whole = rows(by_name["gradient_level"].data["gradients"])
    traced = [trace for trace in small.curves.traces if trace.layer is None]
    assert len(whole) == sum(trace.steps.size for trace in traced)
    values = {(row["cell"], row["name"], row["step"]): row["value"] for row in whole}
    for trace in traced:
        for step, value in zip(trace.steps.tolist(), trace.values.tolist(), strict=True):
            assert values[trace.cell, trace.name, step] == pytest.approx(value, rel=1e-3)
    assert {panel.title for panel in by_name["layer_gradients"].panels} == {"layer 0", "layer head.linear"}


def test_scores_by_class_and_group_are_the_evidences(small, by_name):
    for name, metric in (("class_scores", "accuracy[class={}]"), ("group_scores", "clipped[group={}]")):
        shown = rows(by_name[name].data[name])
        assert shown
        for row in shown:
            values = small.evidence.cells[row["cell"]].scores[metric.format(row["part"])]
            assert close(row["mean"], 100 * values.mean())
    for row in rows(by_name["calibration"].data["whole_scores"]):
        assert close(row["mean"], small.evidence.cells[row["cell"]].scores[row["score"]].mean())


def test_seeds_are_shown_one_by_one(small, by_name):
    shown = rows(by_name["seeds"].data["seed_scores"])
    for cell in {row["cell"] for row in shown}:
        own = {row["seed"]: row["score"] for row in shown if row["cell"] == cell}
        seeds, values = small.evidence.measured(small.evidence.cells[cell])
        assert sorted(own) == seeds.tolist()
        assert all(close(own[seed], 100 * value) for seed, value in zip(seeds.tolist(), values, strict=True))


def test_half_widths_are_those_of_the_first_seeds(small, by_name):
    for row in rows(by_name["seeds"].data["seed_widths"]):
        values = small.evidence.values(small.evidence.cells[row["cell"]])
        if row["kind"] == "measured":
            low, high = estimate(values[: row["seeds"]]).ci95
            assert close(row["half"], 50 * (high - low))
        else:
            assert row["seeds"] >= values.size


def test_the_least_axis_still_holds_something():
    assert log_domain([]) == (0.1, 10.0)
    assert log_domain([math.inf, -1.0, 2.0], room=2.0) == (1.0, 4.0)
    assert log_ticks((0.8, 7.0)) == [1.0, 2.0, 5.0]
    axis = epsilon_axis([0.0, 1.0, math.inf], delta=None)
    assert axis.whole[0] < axis.place(0.0) < 1.0 < axis.place(math.inf) < axis.whole[1]
    assert axis.place(None) is None


def test_a_score_that_spans_orders_gets_a_log_axis():
    assert score_axis("mean", unit_of("loss", maximize=False), [0.01, 5.0])["scale"]["type"] == "log"
    shares = score_axis("mean", unit_of("accuracy", maximize=True), [1.0, 99.0])["scale"]
    assert "type" not in shares
    assert shares["domain"][0] >= -4
    assert 99 < shares["domain"][1] < 110
