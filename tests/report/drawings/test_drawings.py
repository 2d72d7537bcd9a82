"""Every chart: there when its data are, valid, its data whole and embedded once, its files real."""

import json
import math
import re
import struct
from dataclasses import replace
from types import SimpleNamespace

import altair as alt
import jsonschema
import numpy as np
import pytest
import vl_convert

from clifftop.analysis.decomposition import decompose
from clifftop.analysis.evidence import Arm, Epsilon
from clifftop.analysis.frontier import find_frontier
from clifftop.report.drawings import drawings, page_config, page_data, page_data_of, rows
from clifftop.report.drawings.drawing import VEGA_LITE, data_names, still
from clifftop.report.png import png_fault
from clifftop.testing.frontiers import crossed, simulated_evidence

ALL = {
    "frontier",
    "decomposition",
    "learning_rate",
    "cliff",
    "marginal",
    "heat_map",
    "clipping",
    "published_epsilon",
    "gradient_level",
    "layer_gradients",
    "calibration",
    "class_scores",
    "group_scores",
    "seeds",
}


def views(part):
    """A view and all its layers."""
    yield part
    for layer in part.get("layer", ()):
        yield from views(layer)


def compiled(panel, *, theme="light"):
    spec = panel.page_spec() | {"config": page_config()[theme]}
    return vl_convert.vegalite_to_vega(spec, vl_version=VEGA_LITE)


def names_of(value, found):
    """Every ``field`` that a view reads."""
    if isinstance(value, dict):
        if isinstance(value.get("field"), str):
            found.add(value["field"])
        for part in value.values():
            names_of(part, found)
    elif isinstance(value, list):
        for part in value:
            names_of(part, found)
    return found


def test_every_chart_is_drawn_once(by_name, drawn, large):
    assert set(by_name) == ALL
    assert len(drawn) == len(ALL)
    assert {"iso_compute", "iso_epsilon"} <= {drawing.name for drawing in drawings(large)}


def test_a_chart_without_data_is_left_out(small):
    bare = SimpleNamespace(
        audits=(),
        evidence=replace(
            small.evidence,
            cells=tuple(
                replace(
                    cell,
                    scores={"accuracy": cell.scores["accuracy"][:1]},
                    seeds=cell.seeds[:1],
                    published=None,
                )
                for cell in small.evidence.cells
            ),
        ),
        frontier=None,
        decomposition=None,
        curves=None,
        cliffs={},
    )
    assert [drawing.name for drawing in drawings(bare)] == [
        "frontier",
        "learning_rate",
        "cliff",
        "heat_map",
        "clipping",
    ]
    assert (
        drawings(
            SimpleNamespace(evidence=replace(small.evidence, cells=()), frontier=None, cliffs={}, audits=())
        )
        == ()
    )


def test_every_spec_is_valid_vega_lite(drawn):
    for drawing in drawn:
        for panel in drawing.panels[:1]:  # the others are made alike
            alt.LayerChart.from_dict(panel.page_spec(), validate=True)
    broken = {**drawn[0].page_specs()[0], "layer": [{"mark": "no such mark"}]}
    with pytest.raises(jsonschema.ValidationError):
        alt.LayerChart.from_dict(broken, validate=True)


def test_every_spec_compiles_and_takes_its_data_by_name(drawn):
    for drawing in drawn:
        for panel in drawing.panels[:1]:
            vega = compiled(panel)
            named = {data["name"] for data in vega["data"] if not {"values", "source"} & data.keys()}
            assert named - {"picked_store", "zoom_store"} == data_names(panel.view)


def test_both_themes_have_one_form_and_differ_in_colours_alone(by_name):
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items()}
        if isinstance(value, list):
            return [shape(part) for part in value]
        return "text" if isinstance(value, str) else value

    panel = by_name["cliff"].panels[0]
    light, dark = compiled(panel), compiled(panel, theme="dark")
    assert shape(light) == shape(dark)
    assert light != dark


def test_colours_come_from_the_config(drawn):
    """A colour written into a mark would be wrong in one of the themes."""
    for drawing in drawn:
        text = json.dumps([panel.view for panel in drawing.panels])
        assert re.search(r'#[0-9a-fA-F]{3,6}\b|"black"|"white"', text) is None, drawing.name


def test_data_lie_in_the_page_once(small, drawn):
    data = page_data(small)
    assert data == page_data_of(drawn)
    for drawing in drawn:
        for panel in drawing.panels:
            for view in views(panel.view):
                assert view.get("data", {}).get("values", [{}]) == [{}], "only marks drawn once bring data"
        for name, table in drawing.data.items():
            assert data.get(name, table) == table, "tables of one name are one table"
            assert len({len(column) for column in table.values()}) == 1
    json.dumps(data, allow_nan=False)


def test_every_field_that_a_chart_reads_is_there(drawn):
    for drawing in drawn:
        for panel in drawing.panels:
            for view in views(panel.view):
                name = view.get("data", {}).get("name")
                if name is None:
                    continue
                made = {step["as"] for step in view.get("transform", ()) if "as" in step}
                looked_up = {
                    field
                    for step in view.get("transform", ())
                    for field in step.get("from", {}).get("fields", ())
                }
                known = set(drawing.data[name]) | made | looked_up
                assert names_of(view["encoding"], set()) <= known, (drawing.name, name)


def test_the_page_can_link_every_chart(drawn):
    """One parameter a view, by cell; and where marks are cells their table says which."""
    for drawing in drawn:
        for panel in drawing.panels:
            found = [param for view in views(panel.view) for param in view.get("params", ())]
            picked = [param for param in found if param["name"] == "picked"]
            assert [param["select"]["fields"] for param in picked] == [["cell"]], drawing.name
            assert len({param["name"] for param in found}) == len(found)
            holders = [view for view in views(panel.view) if view.get("params")]
            assert all("cell" in drawing.data[view["data"]["name"]] for view in holders)


def test_axes_say_what_they_are_and_in_which_unit(by_name):
    text = {name: json.dumps([panel.view for panel in drawing.panels]) for name, drawing in by_name.items()}
    assert "epsilon at delta = 1e-5 (upper end, log scale)" in text["frontier"]
    assert "test accuracy, %" in text["frontier"]
    assert "utility lost, percentage points" in text["decomposition"]
    assert "gain per doubling of epsilon, percentage points" in text["marginal"]
    assert "learning rate \\u00d7 clip norm C, log scale" in text["learning_rate"]


def test_files_are_real(by_name):
    """A PNG of twice the SVG's size, and an SVG and a PDF, for a chart of one panel and one of several."""
    for name in ("frontier", "heat_map"):
        raw = by_name[name].file("png")
        assert png_fault(raw) is None
        svg = by_name[name].file("svg").decode()
        size = [float(found) for found in re.search(r'width="([\d.]+)" height="([\d.]+)"', svg).groups()]
        assert list(struct.unpack(">II", raw[16:24])) == pytest.approx([2 * side for side in size], abs=3)
        assert svg.startswith("<svg")
        assert by_name[name].title in svg
    pdf = by_name["frontier"].file("pdf")
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 5_000


def test_every_chart_can_be_drawn_on_paper(drawn):
    for drawing in drawn:
        svg = drawing.file("svg").decode()
        assert "NaN" not in svg, drawing.name
        assert "undefined" not in svg, drawing.name
        assert svg.count("<path") > 10, drawing.name


def test_on_paper_nothing_waits_for_a_pointer(by_name):
    view = still(by_name["frontier"].panels[0].view)
    text = json.dumps(view)
    assert '"picked"' not in text
    assert "tooltip" not in text
    assert len(view["layer"]) == len(by_name["frontier"].panels[0].view["layer"]) - 1, "the ring is gone"
    bars = still(by_name["marginal"].panels[0].view)["layer"][0]["encoding"]
    assert bars["strokeWidth"] == {"value": 0}, "nothing is picked"
    points = next(layer for layer in view["layer"] if "fillOpacity" in layer["encoding"])
    assert points["encoding"]["fillOpacity"] == {"value": 0.9}
    assert points["encoding"]["opacity"] == {"value": 1}, "else a PDF has a group for every point"


def test_captions_and_titles_are_sentences(drawn):
    for drawing in drawn:
        assert drawing.title[0].isupper()
        assert not drawing.title.endswith(".")
        assert drawing.caption.endswith("."), drawing.name
        assert "  " not in drawing.caption


def test_infinite_epsilons_lie_apart(small):
    cells = tuple(
        replace(cell, epsilon=Epsilon(lower=3.0, upper=math.inf))
        if cell.epsilon is not None and cell.epsilon.upper > 1e4
        else cell
        for cell in small.evidence.cells
    )
    evidence = replace(small.evidence, cells=cells)
    changed = {"evidence": evidence, "frontier": find_frontier(evidence, draws=10)}
    first = drawings(SimpleNamespace(**vars(small) | changed))[0]
    assert first.data["cells"]["epsilon"].count(None) == 6
    (x,) = [view["encoding"]["x"] for view in views(first.panels[0].view) if view.get("params")]
    low, high = x["scale"]["domain"]
    place = max(x["axis"]["values"])
    assert "'∞'" in x["axis"]["labelExpr"]
    assert 16 * 1.25 < place < high
    assert low < 0.5
    assert "At ∞: 6 cells of infinite epsilon." in first.caption


def test_ten_thousand_cells_stay_small(large):
    found = drawings(large)
    data = page_data_of(found)
    assert len(data["cells"]["cell"]) == 10_080
    assert len(json.dumps(data, separators=(",", ":"))) < 900_000
    assert (
        sum(len(table["cell"]) for name, table in data.items() if name != "cells" and "cell" in table) < 2_500
    )
    specs = [spec for drawing in found for spec in drawing.page_specs()]
    assert len(json.dumps(specs, separators=(",", ":"))) < 120_000
    assert max(panel.height for drawing in found for panel in drawing.panels) < 700


ODD = {
    "one cell, one seed": {"epsilons": (1.0,), "seeds": 1},
    "no baseline": {"arms": (Arm.BOTH,)},
    "words with quotes": {"epsilons": (1.0,), "cells": crossed({"optimizer": ("sgd", 'it\'s \\ "x"')})},
    "targets and rules": {
        "cells": crossed(
            {"target_epsilon": (1.0, 8.0), "clipping": ("flat", "automatic"), "clip_norm": (0.1, 1.0)}
        )
    },
    "a learning rate of zero": {"cells": crossed({"lr": (0.0, 0.1), "clip_norm": (0.1, 1.0)})},
    "missing runs": {"missing": 0.5},
    "no spread": {"seed_sd": 0.0, "own_sd": 0.0, "num_test": None},
    "less is better": {"maximize": False},
}


@pytest.mark.parametrize("options", ODD.values(), ids=ODD.keys())
def test_odd_sweeps_are_drawn(options):
    evidence = simulated_evidence(
        rng=np.random.default_rng(3), **{"seeds": 3, "epsilons": (0.5, 2, 8), **options}
    )
    odd = SimpleNamespace(
        audits=(),
        evidence=evidence,
        frontier=find_frontier(evidence, draws=20),
        decomposition=decompose(evidence),
        curves=None,
        cliffs={},
    )
    found = drawings(odd)
    assert found[0].name == "frontier"
    json.dumps([[drawing.data, drawing.page_specs()] for drawing in found], allow_nan=False)
    for drawing in found[-2:]:
        svg = drawing.file("svg").decode()
        assert "NaN" not in svg
        assert svg.count("<path") > 5


def test_rows_are_the_table_turned():
    assert rows({"a": [1, 2], "b": ["x", None]}) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert rows({"a": []}) == []


def test_a_metric_of_which_less_is_better(small):
    evidence = replace(small.evidence, metric="error", maximize=False)
    turned = SimpleNamespace(**vars(small) | {"evidence": evidence})
    cells = {drawing.name: drawing for drawing in drawings(turned)}["frontier"].data["cells"]
    for index, mean in zip(cells["cell"], cells["mean"], strict=True):
        assert mean == pytest.approx(float(np.mean(evidence.values(evidence.cells[index]))), rel=1e-4)
