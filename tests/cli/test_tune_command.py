"""`clifftop tune`."""

import json

import pytest

SWEEP = """
name = "command"
[model]
factory = "clifftop.studies.no_cliff.model:mlp"
[data]
factory = "clifftop.datasets:gaussian_clusters"
seed = 1
per_class = 60
num_train = 200
normalise = false
[privacy]
delta = 1e-5
noise_multiplier = 4.0
clip_norm = 1.0
[training]
expected_batch_size = 50
steps = 20
[optimizer]
name = "sgd"
[axes]
lr = [0.05, 0.1, 0.2, 0.4]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


def test_the_price_is_told_before_anything_is_trained(run, file, tmp_path):
    ran = run("tune", file, "--out", tmp_path / "out", "--score-data", "public", "--dry-run", "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert 0 < document["one_run_epsilon"] < document["epsilon"]
    assert not (tmp_path / "out").exists()
    ran = run(
        "tune", file, "--out", tmp_path / "out", "--score-data", "private", "--dry-run", "--epsilon", "2"
    )
    assert "the whole tuning costs epsilon <= 1.99" in ran.out or "epsilon <= 2 " in ran.out
    assert "private rows" in ran.out


def test_the_winner_is_told_and_written(run, file, tmp_path):
    out = tmp_path / "out"
    ran = run("tune", file, "--out", out, "--score-data", "private", "--mean", "2", "--law", "logarithmic")
    assert ran.code == 0
    assert "the best trial: lr = " in ran.out
    assert "logarithmic with mean 2" in ran.out
    assert ran.err == (
        "clifftop: training; how many trials there are stays secret, so no progress is shown\n"
    )
    assert sorted(path.name for path in out.iterdir()) == ["tuned.json", "tuned.safetensors"]
    again = run("tune", file, "--out", out, "--score-data", "private", "--mean", "2", "--law", "logarithmic")
    assert (again.out, again.err) == (ran.out, "")


def test_an_abandoned_tuning_released_nothing(run, file, tmp_path):
    out = tmp_path / "out"
    ran = run("tune", file, "--out", out, "--abandon")
    assert (ran.code, ran.out) == (0, f"{out}: no tuning was under way; nothing was released\n")
    (out / ".tuning-secret").mkdir(parents=True)
    ran = run("tune", file, "--out", out, "--abandon")
    assert ran.out == f"{out}: the trials were destroyed; nothing was released\n"
    assert list(out.iterdir()) == []


def test_an_interrupt_says_that_nothing_was_released(run, file, tmp_path, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("clifftop.lab.tuning.run.compete", interrupted)
    ran = run("tune", file, "--out", tmp_path / "out", "--score-data", "public")
    assert ran.code == 130
    assert "nothing was released" in ran.err
    assert "the same command again goes on" in ran.err
    assert "--abandon" in ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--score-data must say"),
        (("--score-data", "secret"), "found secret"),
        (("--score-data", "public", "--law", "fixed"), "law must be one of"),
        (("--score-data", "public", "--mean", "0.5"), "mean"),
        (("--score-data", "public", "--epsilon", "-1"), "--epsilon must be"),
        (("--score-data", "public", "--workers", "0"), "--workers"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, file, tmp_path, options, words):
    assert words in run("tune", file, "--out", tmp_path / "out", *options).complaint
    assert not (tmp_path / "out").exists()


def test_a_fault_names_the_file(run, file, tmp_path):
    file.write_text(SWEEP.replace("gaussian_clusters", "no_such_thing"))
    assert "no_such_thing" in run("tune", file, "--out", tmp_path / "out", "--score-data", "public").complaint
