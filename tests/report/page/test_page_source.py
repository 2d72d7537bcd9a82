"""The page's source: one file that fetches nothing, takes nothing for markup, and shows what there is."""

import dataclasses
import html
import json
import math
import re

import pytest

from clifftop.analysis.evidence import Evidence
from clifftop.analysis.results import Epsilon, EpsilonRow
from clifftop.audit.document import AuditKind, BoundRow
from clifftop.audit.estimators import LowerBound
from clifftop.report.conclusions import Conclusion, Kind
from clifftop.report.drawings import drawings
from clifftop.report.drawings.audits import draw_audits
from clifftop.report.page import render_page
from clifftop.report.page.cells import columns
from clifftop.report.page.citations import CITATIONS
from clifftop.report.page.vega import Themes, javascript

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def own(page):
    """The page without the bundled libraries, which name the XML namespaces and schemas they know."""
    return page.replace(javascript().replace("</script", "<\\/script"), "")


def words(page):
    """What a reader without scripts sees."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def data(page):
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])


def fetched(page):
    """Everything in the page that a browser would fetch."""
    pattern = (
        r"""(?:src|href|srcset|action|poster)\s*=\s*["']?(?!data:|\#)[^"'>\s]+|@import|\burl\((?!data:)"""
    )
    return re.findall(pattern, own(page), flags=re.IGNORECASE)


def test_fetches_nothing(page):
    assert fetched(page) == []
    assert re.findall(r"https?://[^\"'\s<]+", own(page)) == []
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy


@pytest.mark.parametrize(
    "evil", ['<img src="https://x.example/a.png">', "<link href='//x.example/a.css'>", "@import 'a.css';"]
)
def test_a_fetch_would_be_found(page, evil):
    assert fetched(page.replace("</main>", f"{evil}</main>")) != []


@pytest.mark.parametrize(
    "part",
    [
        "A sweep of a small network",
        "1,560 runs of 156 settings, up to 10 seeds each",
        "over noise multiplier σ, learning rate and clip norm C; model mlp",
        "4,000 training rows, 1,000 test rows; delta 1e-5; neighbours: add or remove one",
        "Clipping costs less than a point once the learning rate is tuned",
        "Where utility is lost",
        "no cliff",
        "One run, fixed beforehand: epsilon 30 One run alone costs epsilon <= 30",
        "All private runs: no finite epsilon Runs of one seed share their noise",
        "new trials: epsilon 71.2346 (geometric) or epsilon 80.1 (logarithmic) clifftop tune would cost",
        "Public data only: epsilon 0",
        "the epsilon of one run does not pay for that choice",
        "cannot be told from it",
        "noised as the private runs, without clipping; not private (72 cells)",
        "clifftop report sweep",
    ],
)
def test_states(page, part):
    assert part in words(page)


def test_every_chart_has_one_place_and_its_data_once(page, small):
    content = data(page)
    places = re.findall(r'<div class="chart" id="([^"]+)"', page)
    assert sorted(places) == sorted(content["charts"])
    assert len(places) == sum(len(drawing.panels) for drawing in drawings(small))
    named = {data["name"] for spec in content["charts"].values() for data in spec["data"]}
    assert set(content["sets"]) <= named
    assert not any(
        "values" in data
        for spec in content["charts"].values()
        for data in spec["data"]
        if data["name"] in content["sets"]
    )


def test_all_cells_are_in_the_table(page, small):
    table = data(page)["table"]
    names = [column["name"] for column in table["columns"]]
    assert {"arm", "noise_multiplier", "epsilon", "accuracy", "accuracy_low", "lost", "clipping_cost"} <= set(
        names
    )
    by_name = {column.name: column.values for column in columns(small)}
    assert len(by_name["epsilon"]) == len(small.evidence.cells)
    for cell, epsilon in zip(small.evidence.cells, by_name["epsilon"], strict=True):
        assert (epsilon is None) == (cell.epsilon is None)
        assert epsilon is None or epsilon >= cell.epsilon.upper


def test_cites_what_it_refers_to_and_nothing_else(page):
    listed = re.findall(r'<li id="cite-([^"]+)">', page)
    assert sorted(listed) == sorted(set(re.findall(r'href="#cite-([^"]+)"', page)))
    assert 0 < len(listed) < len(CITATIONS)
    assert all(f"@{CITATIONS[key].kind}{{{key}," in html.unescape(page) for key in listed)


def test_sections_without_data_do_not_appear(small):
    bare = dataclasses.replace(
        small,
        source=dataclasses.replace(small.source, cost=None),
        decomposition=None,
        cliffs={},
        frontier=None,
        conclusions=(),
        audits=(),
    )
    page = render_page(bare, ())
    named = re.findall(r'<h2 id="([^"]+)"', page)
    assert named == ["doubt", "cells", "caveats", "methods", "reproduce", "citations"]
    assert "What the runs say" not in page


def test_audits_say_what_was_refuted_and_what_was_not_seen(page, small):
    part = page[page.index('<h2 id="audits"') : page.index('<h2 id="cells"')]
    assert "sweep.toml (model): not refuted" in part
    assert "my_audit:training (run): refuted" in part
    assert "noise-scale failed: half of it; all." in part
    assert "below the detection limit" in part
    assert "The share of members found" in part
    assert "The share of present canaries found" not in part  # the audit of runs here has no curve
    assert re.findall(r'id="chart-(audit_\w+)-0"', part) == ["audit_curves_0", "audit_bounds_1"]
    tables = {name: table for one in drawings(small) for name, table in one.data.items()}
    assert tables["audit_bounds_1"]["method"] == ["claimed curve", "mean difference"]
    curve = tables["audit_curves_0"]
    assert 1e-3 <= min(curve["fpr"]) < 1.1e-3  # smaller rates are not drawn
    assert len(curve["fpr"]) <= 2 * 200 + 2


def test_bounds_of_audits_are_rounded_down_and_counts_are_written_in_full(small):
    shown = LowerBound(epsilon=2.27459, delta=1e-5, confidence=0.95, assumptions=(), detection_limit=math.inf)
    found = next(one for one in small.audits if one.kind is AuditKind.RUN)
    run = dataclasses.replace(
        found,
        bounds=(BoundRow(name="a bound", bound=shown),),
        curves=small.audits[0].curves,
        figures=(("runs", 19671.0),),
    )
    page = render_page(dataclasses.replace(small, audits=(run,)), ())
    part = words(page[page.index('<h2 id="audits"') : page.index('<h2 id="cells"')])
    assert "a bound 2.274 none 0.95" in part
    assert "runs 19671" in part


def test_curves_beyond_the_hues_have_lines_of_their_own(small):
    model = next(one for one in small.audits if one.curves)
    curves = tuple(dataclasses.replace(model.curves[0], name=f"attack {place}") for place in range(9))
    (drawing, *_) = draw_audits((dataclasses.replace(model, kind=AuditKind.RUN, curves=curves),))
    assert "The share of present canaries found" in drawing.caption
    scale = drawing.panels[0].view["layer"][-1]["encoding"]["strokeDash"]["scale"]
    lines = [tuple(dash) for dash in scale["range"]]
    assert (len(lines), len(set(lines[:6])), len(set(lines))) == (9, 1, 2)


def test_published_epsilons_stand_beside_true_ones(small):
    row = EpsilonRow(
        noise_multiplier=1.0,
        published=4.8,
        fixed_order=Epsilon(lower=28.37, estimate=28.3735, upper=28.37352),
        poisson=None,
    )
    page = render_page(
        dataclasses.replace(small, source=dataclasses.replace(small.source, epsilons=(row,))), ()
    )
    text = words(page)
    assert "Epsilon, published and true" in text
    assert "as published true: fixed order" in text
    assert "28.3736" in text
    assert "caps epsilon at 23.03" in text
    assert "Poisson sampling" not in text


def hostile(small):
    """The same report with evil names wherever a sweep's author may write one."""
    cells = tuple(
        dataclasses.replace(
            cell, setting={**cell.setting, "model": EVIL, f"data.{EVIL}": EVIL + str(cell.index % 3)}
        )
        for cell in small.evidence.cells[:40]
    )
    evidence = dataclasses.replace(small.evidence, name=EVIL, cells=cells, axes=("lr", f"data.{EVIL}"))
    source = dataclasses.replace(
        small.source, title=EVIL, question=EVIL, caveats=(EVIL,), cost=None, folder=small.folder / EVIL
    )
    said = Conclusion(title=EVIL, text=EVIL, kind=Kind.CLAIM)
    return dataclasses.replace(
        small,
        source=source,
        evidence=evidence,
        conclusions=(said,),
        frontier=None,
        decomposition=None,
        cliffs={},
    )


def test_hostile_text_stays_text(small):
    assert isinstance(small.evidence, Evidence)
    material = hostile(small)
    page = render_page(material, drawings(material))
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "49>" not in words(page)
    assert page.count("</script>") == 3
    assert EVIL in html.unescape(page)
    assert any(EVIL in column["name"] for column in data(page)["table"]["columns"])


@pytest.mark.browser
def test_hostile_text_stays_text_in_a_browser(browser, small, tmp_path):
    material = hostile(small)
    path = tmp_path / "report.html"
    path.write_text(render_page(material, drawings(material)))
    browser.open(path)
    browser.run("document.querySelector('#cells-table tr[data-cell]').click()")
    assert browser.run("document.querySelectorAll('img, iframe, object').length") == 0
    assert browser.run("document.querySelectorAll('script').length") == 3
    assert EVIL in browser.run("document.getElementById('chosen').textContent")
    assert browser.complaints == []


def test_themes_must_have_one_form():
    themes = Themes()
    assert themes.merged({"a": ["#000", 1]}, {"a": ["#fff", 1]}) == {"a": ["§theme:0", 1]}
    assert themes.pairs == [("#000", "#fff")]
    with pytest.raises(ValueError, match="colours alone"):
        themes.merged({"a": 1}, {"a": 2})


def test_the_same_material_gives_the_same_bytes(page, small):
    assert render_page(small, drawings(small)) == page
