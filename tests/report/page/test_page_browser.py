"""The page in a real browser: what it draws, how its parts answer to each other, and that it is silent."""

import os
import re
from pathlib import Path

import pytest

from clifftop.report.drawings import drawings
from clifftop.report.page import render_page
from clifftop.report.wording import plain

pytestmark = pytest.mark.browser

SCROLL_THROUGH = """new Promise(async (done) => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 700) {
    scrollTo(0, y);
    await new Promise((next) => setTimeout(next, 30));
  }
  scrollTo(0, 0);
  done();
})"""
UNDRAWN = "[...document.querySelectorAll('.chart:not([data-drawn])')].map((chart) => chart.id)"
FIRST_CHART = "performance.getEntriesByName('clifftop-first-chart')[0].startTime"
# The middle of a mark of the first chart that nothing covers.
A_MARK = """(() => {
  for (const mark of document.querySelectorAll('#chart-frontier-0 .mark-symbol.role-mark path')) {
    const box = mark.getBoundingClientRect();
    const at = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    if (box.width > 3 && document.elementFromPoint(at.x, at.y) === mark) return at;
  }
})()"""
SELECTED = (
    "[...document.querySelectorAll('#cells-table tr[aria-selected=true]')].map((row) => +row.dataset.cell)"
)
IN_VIEW = """(() => {
  const row = document.querySelector('tr[aria-selected=true]').getBoundingClientRect();
  const box = document.querySelector('#cells-table .scroll').getBoundingClientRect();
  return row.top >= box.top && row.bottom <= box.bottom;
})()"""
WIDER_THAN_ITS_PLACE = """[...document.querySelectorAll('.chart')]
  .filter((chart) => chart.querySelector('svg').getBoundingClientRect().width > chart.clientWidth + 1)
  .map((chart) => chart.id)"""
MARKS = """[...document.querySelectorAll('.chart')]
  .map((chart) => chart.querySelectorAll('svg .role-mark path, svg .role-mark line').length)"""
CLICK_EVERY_HEADER = """(() => {
  const start = performance.now();
  for (const button of document.querySelectorAll('#cells-table th button')) button.click();
  return performance.now() - start;
})()"""


@pytest.fixture(scope="module")
def path(page, tmp_path_factory):
    written = tmp_path_factory.mktemp("page") / "report.html"
    written.write_text(page)
    return written


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Where screenshots go: a folder to look at, if the environment names one."""
    named = os.environ.get("CLIFFTOP_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def opened(browser, path):
    browser.open(path)
    return browser


def table_column(browser, name):
    """What the rows in view show under a header."""
    return browser.run(f"""(() => {{
      const headers = [...document.querySelectorAll('#cells-table th')];
      const place = headers.findIndex((header) => header.textContent === '{name}');
      const rows = [...document.querySelectorAll('#cells-table tr[data-cell]')];
      return rows.map((row) => row.cells[place].textContent);
    }})()""")


def click_header(browser, name):
    browser.run(f"""[...document.querySelectorAll('#cells-table th button')]
      .find((button) => button.textContent === '{name}').click()""")


def type_filter(browser, text, count):
    """Type into the filter, and wait until so many cells are left."""
    browser.run(f"""(() => {{
      const box = document.getElementById('cells-filter');
      box.value = '{text}';
      box.dispatchEvent(new Event('input'));
    }})()""")
    browser.wait(f"document.getElementById('cells-count').textContent.startsWith('{count} of')")


def test_every_chart_is_drawn_and_nothing_is_asked_for(opened, path, record_property):
    assert opened.requests == [path.as_uri()]
    assert len(opened.run(UNDRAWN)) > 0, "charts below the window wait"
    opened.run(SCROLL_THROUGH)
    opened.wait(f"{UNDRAWN}.length === 0")
    assert opened.complaints == []
    assert opened.requests == [path.as_uri()]
    first = opened.run(FIRST_CHART)
    record_property("first_chart_ms", first)
    assert first < 2000
    assert all(count > 0 for count in opened.run(MARKS))


@pytest.mark.parametrize(("width", "phone"), [(375, True), (1280, False)])
def test_no_width_scrolls_sideways(browser, path, width, phone):
    browser.open(path, width=width, phone=phone)
    browser.run(SCROLL_THROUGH)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("innerWidth") == width
    assert browser.run(WIDER_THAN_ITS_PLACE) == []


def drawn_of(chart):
    """Scripts that keep what a chart shows now, and that tell whether it shows it still."""
    now = f"document.querySelector('#{chart} svg').outerHTML"
    return f"void (window.kept = {now})", f"{now} === window.kept"


def test_a_pick_in_a_chart_reaches_the_table_and_the_other_charts(opened):
    opened.run(SCROLL_THROUGH)
    keep, is_as_kept = drawn_of("chart-learning_rate-0")
    opened.run(keep)
    assert opened.run(SELECTED) == []
    at = opened.run(A_MARK)
    opened.click(at["x"], at["y"])
    opened.wait(f"{SELECTED}.length === 1")
    assert opened.run("document.getElementById('chosen').hidden") is False
    assert opened.run(IN_VIEW), "the row is scrolled to"
    assert opened.run(is_as_kept), "out of sight it waits"
    opened.run("document.getElementById('chart-learning_rate-0').scrollIntoView()")
    opened.wait(f"!({is_as_kept})")
    opened.send("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    opened.wait(f"{SELECTED}.length === 0")
    opened.wait(is_as_kept)
    assert opened.complaints == []


def test_a_pick_in_the_table_reaches_the_charts(opened):
    keep, is_as_kept = drawn_of("chart-frontier-0")
    opened.run(keep)
    opened.run("document.querySelectorAll('#cells-table tr[data-cell]')[2].click()")
    opened.wait(f"!({is_as_kept})")
    picked = opened.run(SELECTED)
    opened.run("document.querySelector('#cells-table .scroll').focus({ preventScroll: true })")
    opened.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown")
    opened.wait(f"{SELECTED}.length === 1 && {SELECTED}[0] !== {picked[0]}")
    opened.run("document.getElementById('unpick').click()")
    opened.wait(is_as_kept)


def test_a_conclusion_shows_its_cells(opened):
    opened.run("document.querySelector('.conclusions button').click()")
    opened.wait(f"{SELECTED}.join() === '3,7'")


def test_the_tooltip_tells_of_the_cell(opened):
    at = opened.run(A_MARK)
    opened.point_at(at["x"], at["y"])
    opened.wait("!document.getElementById('tip').hidden")
    told = opened.run("document.getElementById('tip').textContent")
    assert "test accuracy, %" in told
    assert "epsilon, upper end" in told


def test_the_table_sorts_and_filters(opened):
    click_header(opened, "accuracy, %")
    rising = [float(text) for text in table_column(opened, "accuracy, %")]
    assert rising == sorted(rising)
    click_header(opened, "accuracy, %")
    falling = [float(text) for text in table_column(opened, "accuracy, %")]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[0]
    type_filter(opened, "lr=0.3 epsilon<0.3 private", 6)
    assert set(table_column(opened, "learning rate")) == {"0.3"}
    assert set(table_column(opened, "epsilon")) == {"0.1", "0.2259"}


def test_the_table_is_saved_from_the_page(opened, tmp_path):
    opened.send("Browser.setDownloadBehavior", session=None, behavior="allow", downloadPath=str(tmp_path))
    type_filter(opened, "epsilon>20", 9)
    opened.run("document.getElementById('cells-save').click()")
    saved = tmp_path / "simulated-cells.csv"
    opened.wait("true")
    for _ in range(100):
        if saved.exists() and saved.read_text():
            break
        opened.run("new Promise((done) => setTimeout(done, 20))")
    header, *rows = saved.read_text().splitlines()
    assert header.startswith("cell,arm,noise_multiplier,lr,clip_norm,")
    assert len(rows) == 9
    assert {row.split(",")[header.split(",").index("epsilon")] for row in rows} == {"30"}


def test_the_theme_is_the_systems_until_one_is_chosen(browser, path):
    ink = "getComputedStyle(document.body).color"
    label = "getComputedStyle(document.querySelector('#chart-frontier-0 svg text')).fill"
    browser.open(path, dark=True)
    assert browser.run(ink) == browser.run(label) == "rgb(230, 233, 237)"
    browser.run("document.getElementById('theme').click()")
    browser.wait(f"{label} === 'rgb(32, 36, 41)'")
    assert browser.run(ink) == "rgb(32, 36, 41)"
    assert browser.run("document.getElementById('theme').getAttribute('aria-pressed')") == "false"
    browser.run("localStorage.clear()")
    assert browser.complaints == []


def test_paper_is_white_and_has_every_chart(browser, path):
    browser.open(path, dark=True)
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b(?!s)", printed)) >= 3
    assert browser.run(UNDRAWN) == []
    browser.wait("getComputedStyle(document.body).color === 'rgb(230, 233, 237)'")
    assert browser.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_screenshots(browser, path, shots, width, height, dark):
    browser.open(path, width=width, height=height, dark=dark, phone=width < 500)
    target = shots / f"report-{width}-{'dark' if dark else 'light'}.png"
    browser.screenshot(target)
    assert target.stat().st_size > 10_000


def test_ten_thousand_cells_stay_quick(browser, ten_thousand, tmp_path, record_property):
    page = render_page(ten_thousand, drawings(ten_thousand))
    record_property("megabytes", len(page.encode()) / 1e6)
    assert len(page.encode()) < 3_000_000
    path = tmp_path / "report.html"
    path.write_text(page)
    browser.open(path)
    first = browser.run(FIRST_CHART)
    record_property("first_chart_ms", first)
    assert first < 2000
    assert browser.run("document.querySelectorAll('#cells-table tr').length") < 100
    shown = table_column(browser, "noise multiplier σ")
    cells = ten_thousand.evidence.cells[: len(shown)]
    assert shown == [plain(cell.setting["noise_multiplier"]) for cell in cells]
    spent = browser.run(CLICK_EVERY_HEADER)
    headers = browser.run("document.querySelectorAll('#cells-table th').length")
    assert spent / headers < 300
    assert browser.complaints == []


def test_an_error_and_a_request_would_be_seen(browser, page, tmp_path):
    """The negative control."""
    evil = "<script>console.error('seen'); fetch('https://example.invalid/').catch(() => {})</script>"
    before, _, after = page.rpartition("</body>")
    path = tmp_path / "report.html"
    path.write_text(f"{before}{evil}</body>{after}")
    browser.open(path)
    browser.wait("true")
    told = str(browser.complaints)
    assert "seen" in told
    assert "Content Security Policy" in told
