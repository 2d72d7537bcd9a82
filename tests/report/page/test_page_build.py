"""From a folder on disk to the files of its report, through the command."""

import json
import sys

import pytest

from clifftop.cli.entry import main
from clifftop.cli.report import parse_formats
from clifftop.lab.sweep import load_sweep, train_sweep
from clifftop.report.drawings import drawings
from clifftop.report.page import build_page

FACTORIES = """
import numpy as np
import torch
from clifftop.datasets import ArrayDataset


def net():
    return torch.nn.Linear(4, 2)


def rows(*, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    return ArrayDataset(
        train_inputs=x[:60], train_targets=y[:60], test_inputs=x[60:], test_targets=y[60:]
    )
"""
SWEEP = """
name = "small <sweep>"
counterfactuals = true

[model]
factory = "page_factories:net"

[data]
factory = "page_factories:rows"

[privacy]
delta = 1e-3
clip_norm = 1.0

[training]
expected_batch_size = 20
epochs = 2
lr = 0.5

[axes]
noise_multiplier = [1.0, 4.0]
seed = { start = 0, stop = 3 }
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep's folder, to read only."""
    home = tmp_path_factory.mktemp("sweep")
    (home / "page_factories.py").write_text(FACTORIES)
    (home / "sweep.toml").write_text(SWEEP)
    before = list(sys.path)
    train_sweep(load_sweep(home / "sweep.toml"), home / "out")
    sys.path[:] = before
    sys.modules.pop("page_factories", None)
    return home / "out"


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_writes_page_and_charts(capsys, trained, tmp_path):
    page = tmp_path / "there.html"
    code, out, err = run(capsys, "report", trained, "--out", page, "--formats", "svg", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["report"] == str(page)
    assert page.read_text().count("<h1>The sweep small &lt;sweep&gt;</h1>") == 1
    written = sorted(path.name for path in tmp_path.iterdir())
    assert sorted([*(path.rpartition("/")[2] for path in told["figures"]), "there.html"]) == written
    assert {"frontier.svg", "decomposition.svg"} <= set(written)
    assert "page_factories" not in sys.modules, "reading a folder imports nothing that it names"


def test_charts_of_an_earlier_report_are_removed(small, tmp_path, monkeypatch):
    monkeypatch.setattr("clifftop.report.material.load_material", lambda *_, **__: small)
    drawn = drawings(small)
    monkeypatch.setattr("clifftop.report.drawings.drawings", lambda _: drawn[:2])
    out = tmp_path / "report.html"
    first = build_page("out", out=out, formats=("svg",))
    (tmp_path / "mine.svg").write_text("not the report's")
    monkeypatch.setattr("clifftop.report.drawings.drawings", lambda _: drawn[:1])
    second = build_page("out", out=out, formats=("svg",))
    assert len(first.figures) == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.html", "mine.svg", second.figures[0].name}


def test_a_page_without_charts_files(capsys, trained, tmp_path):
    built = build_page(trained, out=tmp_path / "report.html", formats=(), tell=(said := []).append)
    assert built.figures == ()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert len(said) > 1
    page = built.page.read_text()
    for title in (
        "Where utility is lost",
        "The frontier",
        "What the search costs",
        "Privacy card",
        "Over training",
    ):
        assert f">{title}</h2>" in page, title


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--formats", "png,gif"), "must be a list of png, svg, pdf, or none, found 'gif'"),
        (("--formats", "none", "--metric", "recall"), "metric must be one of"),
    ],
)
def test_bad_input_is_one_line(capsys, trained, tmp_path, arguments, words):
    code, out, err = run(capsys, "report", trained, "--out", tmp_path / "report.html", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_formats_are_taken_once():
    assert parse_formats("svg, png,svg") == ("svg", "png")
