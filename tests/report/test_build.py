"""Building a report: everything or nothing, the same every time, and small."""

import json
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from clifftop.analysis.jsonio import dumps
from clifftop.files import FileWriteError
from clifftop.lab.contract import StoreError
from clifftop.report import build_report
from clifftop.report.build import build_report as same

OUTPUTS = ["report.html", "results.json", "summary.json"]
CHARTS = ["cliff.png", "frontier.png", "marginal.png", "published_epsilon.png", "seeds.png"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_no_larger_than(size):
    """The kernel refuses to write past ``size`` bytes of a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_it_writes(built):
    assert {*OUTPUTS, *CHARTS} <= set(names(built))
    assert all(name.endswith(".png") for name in set(names(built)) - set(OUTPUTS))
    summary = json.loads((built / "summary.json").read_text())
    assert len(summary["configurations"]) == 21


def test_several_learning_rates_have_a_plot_of_their_own(built_several):
    assert "learning_rate.png" in names(built_several)


def test_is_named_by_the_package():
    assert build_report is same


def test_the_same_results_give_the_same_bytes(folder):
    first = build_report(folder, formats=())
    before = {path: path.read_bytes() for path in (first.page, folder / "summary.json")}
    build_report(folder, formats=())
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("size", [1_000, 500_000])
def test_a_full_disk_is_one_line_and_changes_nothing(folder, size):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    document = json.loads((folder / "results.json").read_text())
    document["config"]["title"] = "Another title"
    (folder / "results.json").write_bytes(dumps(document))
    before["results.json"] = (folder / "results.json").read_bytes()
    with files_no_larger_than(size), pytest.raises(FileWriteError, match="cannot be written") as caught:
        build_report(folder, formats=())
    assert "\n" not in str(caught.value)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


def test_a_folder_without_results(tmp_path):
    with pytest.raises(StoreError, match=r"must hold store\.sqlite, found none"):
        build_report(tmp_path)
    assert names(tmp_path) == []


def test_a_plot_of_an_earlier_report_is_removed(built, built_several, tmp_path):
    folder = shutil.copytree(built_several, tmp_path / "results")
    shutil.copy(built / "results.json", folder)
    build_report(folder, formats=())
    assert "learning_rate.png" not in names(folder)


@pytest.mark.slow
def test_the_page_of_21000_runs_is_small(documents, tmp_path):
    document = documents.synthetic_document(lrs=(0.1,), seeds=range(1000))
    assert len(document["dp_runs"]) == 21_000
    (tmp_path / "results.json").write_bytes(dumps(document))
    page = build_report(tmp_path, formats=()).page
    assert page.stat().st_size < 3_000_000
    assert "22,000 runs" in page.read_text()


@pytest.mark.parametrize("module", ["clifftop.report.build", "clifftop.report.terminal"])
def test_starts_without_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_json_needs_no_polars():
    program = "import sys, clifftop.analysis.jsonio; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
