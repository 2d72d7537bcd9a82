"""What `clifftop study`, `validate` and `report` hand on, and what they print; the library is stubbed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@dataclass(frozen=True, kw_only=True)
class Axes:
    noise_multipliers: tuple[float, ...] | None = None
    clip_norms: tuple[float, ...] | None = None
    lrs: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None
    target_epsilons: tuple[float, ...] | None = None


@dataclass
class Library:
    """Stands for studies and report: remembers what it was asked, fails where told to."""

    asked: dict | None = None
    failures: tuple[str, ...] = ()
    error: BaseException | None = None
    lrs: tuple[float, ...] = (0.1,)

    def run_study(self, name, *, axes, out, workers, progress):
        if self.error is not None:
            raise self.error
        self.asked = {"name": name, "axes": axes, "out": out, "workers": workers}
        return SimpleNamespace(
            folder=out, num_runs=66, num_trained=63, runtime_seconds=1.25, training_seconds=0.5
        )

    def summarise(self, results):
        return SimpleNamespace(to_json=lambda: {"baseline": 0.99}, lrs=self.lrs)

    def validate(self, folder, *, recompute):
        assert recompute == "recompute"
        if self.error is not None:
            raise self.error
        return list(self.failures)


@pytest.fixture
def library(monkeypatch):
    library = Library()
    stubs = {
        "clifftop.studies": {
            "Axes": Axes,
            "run_study": library.run_study,
            "recompute_epsilon": "recompute",
        },
        "clifftop.report": {
            "build_report": lambda folder, **_: SimpleNamespace(page=folder / "report.html", figures=()),
            "summary_table": lambda summary: "the table",
            "learning_rate_table": lambda summary: "the table of learning rates",
        },
        "clifftop.report.validation": {"validate": library.validate},
        "clifftop.analysis.results": {"FILE_NAME": "results.json", "load_results": lambda folder: folder},
        "clifftop.analysis.summary": {"summarise": library.summarise},
    }
    for name, attributes in stubs.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return library


def test_axes_not_given_stay_the_studys_own(run, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run("study", "no-cliff")
    assert ran.code == 0
    assert library.asked == {
        "name": "no-cliff",
        "axes": Axes(),
        "out": Path("out/no-cliff"),
        "workers": None,
    }


def test_every_axis_reaches_the_study(run, library, tmp_path):
    out = tmp_path / "results"
    options = ["--seeds", "0:3", "--sigma", "0.3,3", "--clip", "0.5,2", "--lr", "1", "--epsilon", "1,8"]
    assert run("study", "no-cliff-sound", *options, "--workers", 2, "--out", out).code == 0
    assert library.asked == {
        "name": "no-cliff-sound",
        "axes": Axes(
            noise_multipliers=(0.3, 3.0),
            clip_norms=(0.5, 2.0),
            lrs=(1.0,),
            seeds=(0, 1, 2),
            target_epsilons=(1.0, 8.0),
        ),
        "out": out,
        "workers": 2,
    }


def test_prints_the_table_and_where_the_report_is(run, library, tmp_path):
    ran = run("study", "no-cliff", "--out", tmp_path / "a")
    assert ran.out.splitlines()[0] == "the table"
    assert ran.out.splitlines()[-2] == "66 runs, 63 of them trained now, in 1.2 s"
    assert ran.out.splitlines()[-1] == f"report: {tmp_path / 'a' / 'report.html'}"


def test_several_learning_rates_get_a_second_table(run, library, tmp_path):
    library.lrs = (0.1, 1.0)
    ran = run("study", "no-cliff", "--out", tmp_path / "a")
    assert ran.out.splitlines()[:2] == ["the table", "the table of learning rates"]


def test_json_is_one_document_and_nothing_else(run, library, tmp_path):
    ran = run("study", "no-cliff", "--out", tmp_path / "a", "--json")
    assert json.loads(ran.out) == {
        "study": "no-cliff",
        "folder": str(tmp_path / "a"),
        "report": str(tmp_path / "a" / "report.html"),
        "runs": 66,
        "trained_now": 63,
        "seconds": 1.25,
        "training_seconds": 0.5,
        "summary": {"baseline": 0.99},
    }
    assert ran.err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1,x"], "--seeds takes whole numbers here, found 'x'"),
        (["--seeds", ""], "--seeds must have a value"),
        (["--sigma", "1,,2"], "--sigma must have a value"),
        (["--clip", "nan"], "--clip takes finite numbers"),
        (["--lr", "1,1"], "--lr must name each value once"),
        (["--epsilon", "a"], "--epsilon takes numbers"),
        (["--workers", "0"], "--workers must be at least 1, found 0"),
        (["--workers", "1.5"], "--workers: must be a whole number, found '1.5'"),
        (["--workers", "many"], "--workers"),
    ],
)
def test_bad_options_are_named_before_anything_runs(run, library, options, message):
    assert message in run("study", "no-cliff", *options).complaint
    assert library.asked is None


def test_negative_numbers_reach_the_library(run, library, tmp_path):
    assert run("study", "no-cliff", "--sigma", "-1,2", "--out", tmp_path / "a").code == 0
    assert library.asked["axes"].noise_multipliers == (-1.0, 2.0)


def test_what_the_library_refuses_is_one_line(run, library, tmp_path):
    library.error = ValueError("sigma must be >= 0, found sigma=-1.0")
    assert run("study", "no-cliff", "--sigma", "-1", "--out", tmp_path / "a").complaint == str(library.error)


@pytest.fixture
def results(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    return tmp_path


def test_a_valid_folder(run, library, results):
    ran = run("validate", results)
    assert (ran.code, ran.out) == (0, f"{results}: valid\n")
    document = json.loads(run("validate", results, "--json").out)
    assert document == {"folder": str(results), "valid": True, "failures": []}


def test_every_failure_has_a_line_and_the_exit_code_is_1(run, library, results):
    library.failures = ("accuracy of run 3 is 1.2", "plot missing: utility_gap.png")
    ran = run("validate", results)
    assert ran.code == 1
    assert ran.out.splitlines() == [*library.failures, f"{results}: 2 failed"]
    ran = run("validate", results, "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["failures"] == list(library.failures)


def test_a_folder_that_cannot_be_read_is_bad_input(run, library, results):
    (results / "results.json").write_text('{"config": ')
    assert "results.json: not complete JSON" in run("validate", results).complaint
    assert "no such file" in run("validate", results / "none").complaint


def test_report_says_where_the_page_is(run, library):
    assert run("report", "results").out == f"report: {Path('results') / 'report.html'}\n"
    document = json.loads(run("report", "results", "--json").out)
    assert document == {"folder": "results", "report": str(Path("results") / "report.html")}
