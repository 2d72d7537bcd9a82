"""Drawing: valid specs over the right rows, and PNG files with the data in them."""

import json
import math
import struct
import time
import zlib

import altair as alt
import jsonschema
import numpy as np
import pytest

from clifftop.analysis.summary import summarise
from clifftop.report.charts import log_domain
from clifftop.report.figures import figure_names, figures, javascript, page_charts, png
from clifftop.report.look import DARK, LIGHT, css_variables, shapes
from clifftop.report.png import png_fault


def pixels(raw):
    """Width, height and the colours of an 8-bit PNG, counted."""
    width, height = struct.unpack(">II", raw[16:24])
    depth, kind = raw[24], raw[25]
    assert depth == 8
    channels = {2: 3, 6: 4}[kind]
    data, at = b"", 8
    while at < len(raw):
        length = struct.unpack_from(">I", raw, at)[0]
        if raw[at + 4 : at + 8] == b"IDAT":
            data += raw[at + 8 : at + 8 + length]
        at += 12 + length
    return width, height, _unfiltered(zlib.decompress(data), width * channels, height, channels), channels


def _unfiltered(data, row_length, height, step):
    rows = np.frombuffer(data, np.uint8).reshape(height, row_length + 1)
    out = np.zeros((height + 1, row_length + step), np.int32)
    for index in range(height):
        kind, line = rows[index, 0], rows[index, 1:].astype(np.int32)
        above = out[index]
        here = out[index + 1]
        if kind == 0:
            here[step:] = line
        elif kind == 2:
            here[step:] = (line + above[step:]) & 255
        elif kind == 1:
            here[step:] = np.add.accumulate(line.reshape(-1, step), axis=0).reshape(-1) & 255
        else:
            for at in range(row_length):
                left, up, corner = here[at], above[at + step], above[at]
                if kind == 3:
                    guess = (left + up) // 2
                else:
                    p = left + up - corner
                    a, b, c = abs(p - left), abs(p - up), abs(p - corner)
                    guess = left if a <= b and a <= c else up if b <= c else corner
                here[at + step] = (line[at] + guess) & 255
    return out[1:, step:].reshape(height, -1, step)


def test_names(published, several):
    assert figure_names(published) == ("privacy_utility_curve", "utility_gap", "clipping_effect")
    assert figure_names(several) == (*figure_names(published), "learning_rate")
    assert tuple(figure.name for figure in figures(several)) == figure_names(several)


@pytest.mark.parametrize("study", ["several", "unpublished"])
def test_every_spec_is_valid_vega_lite(study, request):
    summary = request.getfixturevalue(study)
    for figure in figures(summary):
        charts = page_charts(figure, summary)
        per_row = len(charts) // len(figure.rows)
        for chart in charts[::per_row]:  # the panels of a row differ in what they hold alone
            alt.LayerChart.from_dict(chart.spec, validate=True)
        json.dumps([chart.spec for chart in charts], allow_nan=False)


def test_an_invalid_spec_would_be_found(published):
    spec = page_charts(figures(published)[0], published)[0].spec
    with pytest.raises(jsonschema.ValidationError):
        alt.LayerChart.from_dict({**spec, "layer": [{"mark": "no such mark"}]}, validate=True)


def test_a_panel_holds_its_own_rows(several):
    charts = page_charts(figures(several)[2], several)
    for lr, chart in zip(several.lrs, charts[1:], strict=True):
        assert {float(row["rate"]) for row in chart.spec["data"]["values"]} == {lr}
        assert len(chart.spec["data"]["values"]) == 21


def test_every_layer_reads_the_panel_or_its_own_rows(several):
    """A layer with data by a name that nothing defines draws nothing, and no one is told."""

    def names(view):
        data = view.get("data")
        found = [data["name"]] if data is not None and "name" in data else []
        return found + [name for layer in view.get("layer", []) for name in names(layer)]

    for figure in figures(several):
        for chart in page_charts(figure, several):
            assert set(names(chart.spec)) <= set(chart.spec.get("datasets", {}))


def test_axes_say_what_they_are(published):
    text = json.dumps(
        [chart.spec for figure in figures(published) for chart in page_charts(figure, published)]
    )
    for title in (
        "epsilon at delta = 1e-5, log scale",
        "test accuracy, %",
        "accuracy lost, percentage points",
    ):
        assert title in text


def test_panels_share_their_axes(several):
    for figure in figures(several):
        domains = set()
        for chart in page_charts(figure, several):
            text = json.dumps(chart.spec["layer"])
            domains.add(tuple(sorted(part.split("]")[0] for part in text.split('"domain": [')[1:])))
        assert len(domains) == len(figure.rows)


def test_png_files_hold_the_data(published):
    """Each clip norm's colour is there, in the plot itself and not just in the legend at its right."""
    raw = png(figures(published)[0], published)
    assert png_fault(raw) is None
    width, height, image, _ = pixels(raw)
    assert width >= 1200
    assert height >= 800
    plot = image[:, : int(0.8 * width), :3]
    for color in LIGHT.clips(3):
        rgb = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
        assert (plot == rgb).all(axis=2).sum() > 300


def test_png_of_several_panels(several, built_several):
    for name in figure_names(several):
        raw = (built_several / f"{name}.png").read_bytes()
        assert png_fault(raw) is None
        assert len(raw) > 50_000


def test_a_study_of_one_run_is_drawn(documents, parse):
    document = documents.published_document()
    document["dp_runs"], document["baseline_runs"] = document["dp_runs"][:1], document["baseline_runs"][:1]
    summary = summarise(parse(document))
    assert all(png_fault(png(figure, summary)) is None for figure in figures(summary))


@pytest.mark.parametrize("epsilon", ["inf", 0.0])
def test_epsilons_that_no_log_axis_holds_are_drawn_without(documents, parse, epsilon):
    document = documents.published_document()
    for run in document["dp_runs"]:
        run["epsilon"] = dict.fromkeys(("lower", "estimate", "upper"), epsilon)
        run["epsilon_published"] = None
    summary = summarise(parse(document))
    assert all(png_fault(png(figure, summary)) is None for figure in figures(summary))


def test_many_clip_norms_get_a_sequence(documents, parse):
    document = documents.published_document()
    for index, run in enumerate(document["dp_runs"]):
        run["clip_norm"] = 0.1 * (1 + index % 9)
    summary = summarise(parse(document))
    assert len(summary.clip_norms) == 9
    assert png_fault(png(figures(summary)[0], summary)) is None


@pytest.mark.slow
def test_the_plots_are_drawn_in_time(published):
    """Three files under 3 s of processor time (measured: about 1 s), so that a study stays quick."""
    start = time.process_time()
    for figure in figures(published):
        png(figure, published)
    assert time.process_time() - start < 3


def _luminance(color):
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("shades", "paper"), [(LIGHT, "#FFFFFF"), (DARK, "#12161B")])
def test_colours_stand_out_from_their_paper(shades, paper):
    """Contrast of at least 2.2 to 1 for thick lines and points, by the WCAG formula."""
    for color in (*shades.clips(6), *shades.sigmas(7)):
        light, dark = sorted((_luminance(color), _luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 2.2, color


@pytest.mark.parametrize("count", [1, 3, 6, 7, 20])
def test_as_many_colours_and_shapes_as_asked(count):
    for shades in (LIGHT, DARK):
        assert len(set(shades.clips(count))) == len(set(shades.sigmas(count))) == count
    assert len(shapes(count)) == count
    assert len(css_variables(LIGHT, clips=count, sigmas=2)) == count + 2


def test_log_domain_of_nothing():
    low, high = log_domain([])
    assert 0 < low < high < math.inf


def test_the_script_is_whole():
    script = javascript()
    assert "vegaEmbed" in script[-100:]
    assert 500_000 < len(script) < 1_500_000
