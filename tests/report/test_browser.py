"""The page in a real browser: it draws, answers to hover, click and sort, and reports no error."""

import html
import json
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=6000",
    "--dump-dom",
)

# Run in the page once its charts are drawn: what a reader would see and do, written into the page.
PROBE = """
<script>
const found = { charts: {} };
const send = (node, kind) => {
  const box = node.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  node.dispatchEvent(new (kind.startsWith("pointer") ? PointerEvent : MouseEvent)(kind, at));
};
const column = () =>
  Array.from(document.querySelectorAll("#configuration-table tbody tr"), (row) => row.cells[3].textContent);
setTimeout(() => {
  for (const chart of document.querySelectorAll(".chart")) {
    const svg = chart.querySelector("svg");
    found.charts[chart.id] = {
      points: chart.querySelectorAll(".mark-symbol.role-mark path").length,
      text: svg ? svg.textContent : chart.textContent,
      width: svg ? svg.getBoundingClientRect().width : 0,
      column: chart.getBoundingClientRect().width,
    };
  }
  found.scroll = document.documentElement.scrollWidth;
  found.window = window.innerWidth;
  found.ink = getComputedStyle(document.body).color;
  found.label = getComputedStyle(document.querySelector(".chart svg text")).fill;
  const point = document.querySelector(".chart .mark-symbol.role-mark path");
  for (const kind of ["pointerover", "pointermove", "mouseover", "mousemove"]) send(point, kind);
  const button = document.querySelector("#configuration-table th:nth-child(4) button");
  button.click();
  found.rising = column();
  button.click();
  found.falling = column();
  found.direction = button.parentElement.getAttribute("aria-sort");
  const legend = document.querySelector(".chart .role-legend-symbol path");
  for (const kind of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"]) send(legend, kind);
  setTimeout(() => {
    const tip = document.getElementById("vg-tooltip-element");
    found.tooltip = tip ? tip.textContent : "";
    found.faded = document.querySelector(".chart").querySelectorAll('.mark-line path[opacity="0.08"]').length;
    parent.postMessage(JSON.stringify(found), "*");
  }, 500);
}, 2500);
</script>
</body>
"""

# Chromium lays out no window narrower than 500 pixels, but a frame may have any width.
FRAME = """<!doctype html>
<meta name="color-scheme" content="light dark">
<iframe src="page.html" style="width: {width}px; height: 2300px; border: 0"></iframe>
<script>
addEventListener("message", (event) => {{
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = event.data;
  document.body.append(out);
}});
</script>
"""


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


@pytest.fixture
def visit(chromium, tmp_path):
    """Open a page with the probe in it; returns what the probe found and the lines of the console."""

    def visit(page, *, width=1280, dark=False, extra=""):
        before, _, after = page.read_text().rpartition("</body>")  # the libraries hold one in a string
        (tmp_path / "page.html").write_text(before + extra + PROBE + after)
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.format(width=width))
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [chromium, *FLAGS, scheme, profile, "--window-size=1400,2400", frame.as_uri()]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
        probe = re.search(r'<pre id="probe">(.*?)</pre>', ran.stdout, re.DOTALL)
        assert probe is not None, ran.stderr[-2000:]
        console = [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
        return json.loads(html.unescape(probe[1])), console

    return visit


def test_the_page_of_the_published_study(visit, built):
    found, console = visit(built / "report.html")
    assert console == []
    charts = found["charts"]
    assert {name: chart["points"] for name, chart in charts.items()} == {
        "chart-privacy_utility_curve-0": 42,
        "chart-utility_gap-0": 21,
        "chart-clipping_effect-0": 21,
    }
    assert "epsilon at delta = 1e-5, log scale" in charts["chart-privacy_utility_curve-0"]["text"]
    assert "no privacy: 99.3%" in charts["chart-clipping_effect-0"]["text"]
    assert "test accuracy (95% interval)" in found["tooltip"]
    assert "true epsilon, upper end" in found["tooltip"]
    assert found["faded"] == 2, "the two other clip norms"
    assert found["rising"][0] == "62.7 ± 6.6"
    assert found["falling"][-1] == "62.7 ± 6.6"
    assert len(found["falling"]) == 21
    assert found["direction"] == "descending"


@pytest.mark.parametrize("width", [375, 1280])
def test_fits_every_width(visit, built_several, width):
    found, console = visit(built_several / "report.html", width=width)
    assert found["window"] == width
    assert console == []
    assert len(found["charts"]) == 3 * 6 + 8
    assert found["scroll"] <= found["window"]
    for name, chart in found["charts"].items():
        assert 0 < chart["width"] <= chart["column"] + 1, name
        assert chart["points"] > 0, name


def test_dark(visit, built):
    found, console = visit(built / "report.html", dark=True)
    assert console == []
    assert found["ink"] == found["label"] == "rgb(230, 233, 237)"


def test_an_error_would_be_seen(visit, built):
    """The negative control: an error, and a fetch that the page's own policy refuses."""
    error = "<script>console.error('seen'); fetch('https://example.invalid/').catch(() => {})</script>"
    found, console = visit(built / "report.html", extra=error)
    assert any("seen" in line for line in console)
    assert any("Content Security Policy" in line for line in console)
    assert found["ink"] == found["label"] == "rgb(31, 35, 40)"
