"""`clifftop audit model` on a real small sweep: table, verdict, JSON, plot, what is kept, and bad input."""

import json

import pytest

from clifftop.audit.document import Verdict, load_audits
from clifftop.lab.sweep import load_sweep, train_sweep

SWEEP = """
name = "attacked"

[model]
factory = "clifftop.studies.no_cliff.model:mlp"

[data]
factory = "clifftop.datasets:gaussian_clusters"
per_class = 20
num_train = 80
normalise = false

[privacy]
delta = 1e-5
clip_norm = 1.0

[training]
expected_batch_size = 20
epochs = 3
lr = 0.5

[axes]
target_epsilon = [4.0]
seed = [0]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "sweep.toml").write_text(SWEEP)
    train_sweep(load_sweep(folder / "sweep.toml"), folder / "out")
    return folder / "out"


@pytest.fixture
def run_id(run, trained):
    rows = json.loads(run("runs", str(trained), "--json").out)["runs"]
    (row,) = [row for row in rows if row["target_epsilon"] == 4.0]
    return row["id"][:6]


def test_attacks_are_told_drawn_and_kept(run, trained, run_id, tmp_path):
    ran = run(
        "audit", "model", str(trained), run_id, "--models", "8", "--plot", str(tmp_path / "roc.png"),
        "--save", str(tmp_path),
    )  # fmt: skip
    assert ran.code == 0
    assert "8 models on halves of 100 records" in ran.out
    assert "LiRA online" in ran.out
    assert "not refuted" in ran.out
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
    (kept,) = load_audits(tmp_path)
    assert kept.verdict is Verdict.NOT_REFUTED
    assert kept.permitted is not None


def test_json_has_the_curves_and_what_is_permitted(run, trained, run_id):
    document = json.loads(run("audit", "model", str(trained), run_id, "--models", "8", "--json").out)
    assert document["curves"][0]["name"] == "LiRA online"
    assert document["permitted"]["tpr"][-1] == 1.0
    assert 0.2 < document["figures"]["accuracy on the own half"] <= 1.0
    assert document["figures"]["models that diverged"] == 0
    assert document["figures"]["claimed epsilon"] > 4.0  # a replaced record costs more than an added one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zzzz"], "a run's id must start with"),
        (["RUN", "--models", "3"], "models must be at least 8"),
        (["RUN", "--models", "999999999"], "models must be at most 671088 for a pool of 100 records"),
        (["RUN", "--confidence", "2"], "--confidence: must be a number above 0 and below 1"),
        (["RUN", "--delta", "0"], "--delta: must be a number above 0 and below 1"),
        (["RUN", "--plot", "roc.svg"], "--plot: must be a file that ends in .png, found 'roc.svg'"),
        (["RUN", "--plot", "/dev/null/roc.png"], "--plot: must be a folder, found the file '/dev/null'"),
    ],
)
def test_bad_input_is_one_line(run, trained, run_id, arguments, words):
    arguments = [run_id if one == "RUN" else one for one in arguments]
    assert words in run("audit", "model", str(trained), *arguments).complaint
