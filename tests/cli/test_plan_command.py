"""`clifftop plan` proposes a run before there is one, and writes the sweep that comes next."""

import json
import subprocess
import sys
import tomllib

import pytest

from clifftop.codec import decode
from clifftop.planning import TrainingPlan

GOAL = ["--n", "60000", "--epsilon", "3", "--delta", "1e-6"]
FEW = ["--batch-sizes", "1024,2048,4096"]
FORTY = ["--epochs", "40"]


def planned(run, *arguments):
    ran = run("plan", *GOAL, *arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def test_the_table_and_the_proposal_in_json(run):
    document = planned(run, *FORTY, *FEW)
    assert [row["batch_size"] for row in document["table"]] == [1024, 2048, 4096]
    assert all(2.99 < row["epsilon"]["upper"] <= 3 for row in document["table"])
    assert document["proposal"]["batch_size"] in (1024, 2048, 4096)
    assert (document["privacy_spent"], document["certified"]) == (0, ["epsilon"])
    plan = decode(document["plan"], TrainingPlan)
    assert plan.proposal.candidate.noise_multiplier == document["proposal"]["noise_multiplier"]


def test_epsilon_of_a_row_is_what_the_command_says(run):
    row = planned(run, *FORTY, *FEW)["table"][0]
    arguments = ["--noise-multiplier", repr(row["noise_multiplier"]), "--steps", row["steps"]]
    ran = run(
        "epsilon", *arguments, "--batch-size", 1024, "--num-examples", 60000, "--delta", "1e-6", "--json"
    )
    assert json.loads(ran.out)["upper"] == row["epsilon"]["upper"] <= 3


def test_a_person_reads_what_is_proven_and_what_is_not(run):
    ran = run("plan", *GOAL, *FORTY, *FEW)
    assert (ran.code, ran.err) == (0, "")
    for said in (
        "2400000 example gradients (40 epochs)",
        "proposal: batch ",
        "Every epsilon is certified",
        "are heuristics",
        "privacy spent: none, no data were read",
        "must be a public one",
        "next: ",
    ):
        assert said in ran.out


def test_noise_is_rounded_up_where_it_is_shown(run):
    row = planned(run, *FORTY, "--batch-sizes", "1024")["table"][0]
    out = run("plan", *GOAL, *FORTY, "--batch-sizes", "1024").out
    shown = float(out.partition("steps, noise multiplier ")[2].partition(";")[0])
    assert row["noise_multiplier"] <= shown < row["noise_multiplier"] * 1.001


@pytest.mark.parametrize(
    ("compute", "gradients"),
    [
        (["--compute", "1e15"], 12_000_000),
        (["--compute", "1e15", "--epochs-max", "10"], 600_000),
        (["--compute", "6e12", "--parameters", "1e6"], 1_000_000),
        (["--compute", "6e12", "--parameters", "1e6", "--flops-per-example", "3e6"], 2_000_000),
        (["--example-gradients", "2e6"], 2_000_000),
        (["--epochs", "300"], 18_000_000),
        (["--epochs", "300", "--epochs-max", "10"], 600_000),
    ],
)
def test_compute_in_every_unit(run, compute, gradients):
    assert planned(run, *compute, "--batch-sizes", "4096")["example_gradients"] == gradients


def test_what_was_assumed_is_said(run):
    assert "assumed: 2.4e+06 FLOP an example" in run("plan", *GOAL, "--compute", "1e15", *FEW).out
    assert planned(run, *FORTY, *FEW)["assumed"] == []


def test_the_sweep_that_it_writes(run, tmp_path):
    path = tmp_path / "next.toml"
    named = ["--model", "my_net:build", "--data", "my_rows:load"]
    document = planned(run, *FORTY, "--write", path, *named)
    assert document["next"] == f"clifftop sweep {path}"
    sweep = tomllib.loads(path.read_text())
    assert (sweep["name"], sweep["model"]["factory"], sweep["data"]["factory"]) == (
        "next",
        "my_net:build",
        "my_rows:load",
    )
    assert sweep["privacy"]["target_epsilon"] == 3.0
    assert document["proposal"]["batch_size"] in sweep["axes"]["expected_batch_size"]
    assert sweep["axes"]["lr"] == document["proposal"]["lrs"]
    before = path.read_bytes()
    assert "exists" in run("plan", *GOAL, *FORTY, "--write", path).complaint
    assert path.read_bytes() == before


def test_clifftop_sweep_reads_it(run, tmp_path, monkeypatch):
    from clifftop.lab.sweep import load_sweep

    (tmp_path / "planned_net.py").write_text("def net():\n    return None\n\n\nrows = net\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "next.toml"
    named = ["--model", "planned_net:net", "--data", "planned_net:rows"]
    assert run("plan", *GOAL, *FORTY, *FEW, "--write", path, *named).code == 0
    sweep = load_sweep(path)
    specs = sweep.specs(60_000)
    assert len(specs) == len(sweep.points())
    assert {spec.plan.expected_batch_size for spec in specs} <= {1024.0, 2048.0, 4096.0}
    assert min(spec.steps for spec in specs) >= 585


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([*GOAL], "a plan needs one of --compute, --example-gradients and --epochs, found none of them"),
        ([*GOAL, *FORTY, "--compute", "1e12"], "found --compute=1e+12, --epochs=40"),
        ([*GOAL, *FORTY, "--flops-per-example", "1e6"], "--flops-per-example goes with --compute"),
        ([*GOAL, "--epochs", "-1"], "epochs must be a finite number > 0"),
        ([*GOAL, "--epochs", "nan"], "epochs must be a finite number > 0"),
        ([*GOAL, "--compute", "inf"], "compute must be a finite number > 0"),
        ([*GOAL, "--compute", "1"], "at least one gradient"),
        ([*GOAL, *FORTY, "--epochs-max", "0"], "epochs must be a finite number > 0"),
        ([*GOAL, *FORTY, "--batch-sizes", "0,5"], "batch_size must be a whole number between 1"),
        ([*GOAL, *FORTY, "--batch-sizes", "1.5"], "--batch-sizes"),
        ([*GOAL, *FORTY, "--parameters", "0"], "parameters must be a whole number >= 1"),
        ([*GOAL, *FORTY, "--parameters", "1.5"], "must be a whole number"),
        ([*GOAL, *FORTY, "--write", "plan.yaml"], "--write must be a .toml file"),
        ([*GOAL, *FORTY, "--write", "no/such/folder/plan.toml"], "--write must be a .toml file"),
        ([*GOAL, *FORTY, "--model", "a:b"], "--model goes with --write"),
        ([*GOAL, *FORTY, "--write", "new.toml", "--data", "rows"], "target must be 'module:callable'"),
        (["--n", "0", *GOAL[2:], *FORTY], "num_examples must be a whole number >= 1"),
        ([*GOAL[:2], "--epsilon", "-1", *GOAL[4:], *FORTY], "epsilon must be a finite number > 0"),
        ([*GOAL[:4], "--delta", "2", *FORTY], "delta must be between 0 and 1"),
        ([*GOAL, *FORTY, "--colour", "red"], "--colour"),
    ],
)
def test_bad_input_is_one_line(run, arguments, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint in run("plan", *arguments).complaint
    assert list(tmp_path.iterdir()) == []


def test_a_delta_that_allows_publication_is_warned_of(run):
    ran = run("plan", *GOAL[:4], "--delta", "1e-4", *FORTY, *FEW)
    assert ran.code == 0
    assert "delta should be well below" in ran.err


def test_a_real_process_plans_without_torch():
    script = (
        "import sys\n"
        "from clifftop.cli.entry import main\n"
        f"code = main(['plan', *{GOAL!r}, *{FORTY!r}, *{FEW!r}])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proposal: batch" in done.stdout
