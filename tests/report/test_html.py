"""The page's source: one file, nothing fetched, nothing taken for markup, everything stated."""

import html
import json
import re

import pytest

from clifftop.analysis.jsonio import dumps
from clifftop.analysis.summary import summarise
from clifftop.report.figures import javascript
from clifftop.report.html import render


@pytest.fixture(scope="module")
def page(built):
    return (built / "report.html").read_text()


@pytest.fixture(scope="module")
def words(page):
    """The page without its scripts and styles, as text."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def own(page):
    """The page without the bundled libraries, which name the XML namespaces and schemas they know."""
    return page.replace(javascript().replace("</script", "<\\/script"), "")


def fetched(page):
    """Everything in the page that a browser would fetch."""
    pattern = r"""(?:src|href|srcset|action|poster)\s*=\s*["']?(?!data:|\#)[^"'>\s]+|@import|url\((?!data:)"""
    return re.findall(pattern, own(page), flags=re.IGNORECASE)


@pytest.mark.parametrize("study", ["built", "built_several"])
def test_fetches_nothing(study, request):
    page = (request.getfixturevalue(study) / "report.html").read_text()
    assert fetched(page) == []
    addresses = set(re.findall(r"https?://[^\"'\s<]+", own(page)))
    assert {re.sub(r"v\d+(\.\d+)*\.json$", "", address) for address in addresses} == {
        "https://vega.github.io/schema/vega-lite/"
    }, "the name of the charts' format, which is never fetched"


def test_a_fetch_would_be_found(page):
    for evil in (
        '<img src="https://x.example/a.png">',
        "<link href='//x.example/a.css'>",
        "@import 'a.css';",
    ):
        assert fetched(page.replace("</main>", f"{evil}</main>")) != []


def test_forbids_itself_the_network(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "part",
    [
        "No collapse-level privacy cliff",
        "63 private runs and 3 runs without privacy, 3 seeds",
        "Orders below 2 count as free.",
        "caps epsilon at 23.03",
        "The guard against overflow is not an upper bound.",
        "Amplification is claimed without sampling.",
        "64/400 = 0.16",
        "42, 123, 456",
        "torch 2.13.0+cpu",
        "Python 3.11.9",
        "system: Linux",
        "deterministic_algorithms: True",
        "delta 1e-5",
        "The seeds are recorded",
        "101,907",
        "214,287",
    ],
)
def test_states(words, part):
    assert part in words


def test_several_learning_rates(built_several):
    page = (built_several / "report.html").read_text()
    assert "What looked like the cost of clipping is the learning rate" in page
    assert 'id="best-lr-table"' in page
    assert page.count('class="chart"') == 3 * 6 + 8


def test_one_learning_rate_has_no_table_of_best_ones(page):
    assert 'id="best-lr-table"' not in page
    assert page.count('class="chart"') == 3


def test_every_chart_has_its_place_and_its_spec(page):
    specs = json.loads(
        re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)[1]
    )
    assert set(specs) == set(re.findall(r'class="chart" id="([^"]+)"', page))


def test_published_epsilons_are_not_explained_where_there_are_none(documents, parse, unpublished):
    document = documents.synthetic_document(sampling="poisson", seeds=(1, 2, 3), lrs=(1.0,))
    for row in document["epsilons"]:
        row |= {"published": None, "fixed_order": None}
    page = render(parse(document), unpublished)
    assert "Why the published ones are false" not in page
    assert "batches by Poisson sampling" in page
    assert "Gaussian releases of each example" not in page


def test_hostile_text_stays_text(documents, parse):
    document = documents.published_document()
    evil = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
    document["config"] |= {"title": evil, "question": evil, "caveats": [evil], "study": evil}
    document["metadata"]["machine"] = {evil: evil}
    results = parse(json.loads(dumps(document)))
    page = render(results, summarise(results))
    assert "<img src=x" not in page
    assert '<script>alert("x")' not in page
    assert page.count("</script>") == 3


def test_many_seeds_are_a_range(documents, parse):
    results = parse(documents.synthetic_document(lrs=(0.1,), seeds=range(40)))
    assert "0 to 39, all 40" in render(results, summarise(results))
