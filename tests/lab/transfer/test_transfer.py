"""A setting is tuned on a public proxy, carried to the target, and trained there once an epsilon."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from clifftop import accounting
from clifftop.clipping import Flat
from clifftop.events import Composed, NeighboringRelation
from clifftop.lab import Factory, Store
from clifftop.lab.sweep import Sweep, train_sweep
from clifftop.lab.transfer import (
    Keep,
    Lr,
    Reached,
    Rules,
    TransferError,
    choose,
    read_results,
    transfer,
    transfer_regret,
)
from clifftop.lab.transfer.carry import distance
from clifftop.noise import Secure

DATA = {"spread": 1.0, "per_class": 600, "normalise": False, "seed": 1}
N_PROXY, N_TARGET = 300, 900


def swept(name, *, num_train, batches, public=True, **changes):
    settings = {
        "name": name,
        "model": Factory(target="clifftop.studies.no_cliff.model:mlp"),
        "data": Factory(
            target="clifftop.datasets:gaussian_clusters", options=DATA | {"num_train": num_train}
        ),
        "delta": 1e-4,
        "epochs": 3.0,
        "evaluate_every_epochs": 3.0,
        "public": public,
        "axes": {
            "target_epsilon": [2.0, 8.0],
            "lr": [0.1, 1.0, 10.0],
            "clip_norm": [0.5],
            "expected_batch_size": list(batches),
            "seed": [0, 1],
        },
    }
    return Sweep(**(settings | changes))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    train_sweep(swept("proxy", num_train=N_PROXY, batches=[20, 50]), folder / "proxy")
    train_sweep(swept("target", num_train=N_TARGET, batches=[20, 50, 60, 150]), folder / "target")
    return folder


@pytest.fixture
def proxy(folders):
    return read_results(folders / "proxy")


@pytest.fixture
def private():
    return swept("hospital", num_train=N_TARGET, batches=[1], public=False)


def test_results_are_those_of_the_store(folders, proxy):
    assert (proxy.num_examples, len(proxy.reached), proxy.level_name) == (N_PROXY, 12, "target_epsilon")
    assert all(len(cell.scores) == 2 and "seed" not in cell.point for cell in proxy.reached)
    best = proxy.best(8.0)
    assert best.mean == max(cell.mean for cell in proxy.at_level(8.0))
    with Store.read(folders / "proxy") as store:
        final = dict(
            store.query(
                "SELECT run.id, value FROM metric JOIN run ON run.key = metric.run "
                "WHERE name = 'accuracy' AND metric.step = run.steps"
            )
        )
        settings = store.settings()
    wanted = sorted(
        value
        for run_id, value in final.items()
        if {k: v for k, v in settings[run_id].point.items() if k != "seed"} == dict(best.point)
    )
    assert sorted(best.scores) == wanted


@pytest.mark.parametrize("keep", Keep)
def test_what_is_carried_keeps_rate_or_batch(proxy, private, keep):
    for one in choose(proxy, private, num_examples=N_TARGET, rules=Rules(keep=keep, lr=Lr.KEPT)):
        before, after = one.source.point, one.point
        assert (after["lr"], after["clip_norm"]) == (before["lr"], before["clip_norm"])
        factor = N_TARGET / N_PROXY if keep is Keep.RATE else 1
        assert after["expected_batch_size"] == before["expected_batch_size"] * factor
        spec = private.spec(after, num_examples=N_TARGET)
        assert spec.steps == (one.source.steps if keep is Keep.RATE else 3 * one.source.steps)
        event = spec.plan.event(steps=spec.steps, num_examples=N_TARGET)
        relation = spec.plan.neighboring_relation
        assert accounting.epsilon(event, delta=1e-4, neighboring_relation=relation).upper <= one.level


def test_at_one_rate_the_noise_stays(proxy, private):
    (one, _) = choose(proxy, private, num_examples=N_TARGET)
    near = proxy.sweep.spec(one.source.point | {"seed": 0}, num_examples=N_PROXY)
    far = private.spec(one.point, num_examples=N_TARGET)
    assert far.noise_multiplier == near.noise_multiplier


@pytest.mark.parametrize("keep", Keep)
def test_the_learning_rate_follows_the_noise(proxy, private, keep):
    for one in choose(proxy, private, num_examples=N_TARGET, rules=Rules(keep=keep)):
        near = proxy.sweep.spec(one.source.point | {"seed": 0}, num_examples=N_PROXY)
        far = private.spec(one.point, num_examples=N_TARGET)
        # How far the noise alone carries a parameter is the same before and after.
        distances = [
            spec.optimizer.lr * spec.noise_multiplier * math.sqrt(spec.steps) / spec.plan.expected_batch_size
            for spec in (near, far)
        ]
        assert distances[0] == pytest.approx(distances[1], rel=1e-5)
        if keep is Keep.RATE:
            assert far.optimizer.lr == pytest.approx(3 * near.optimizer.lr)


def test_the_learning_rate_of_an_adaptive_optimizer_stays(proxy, private):
    adam = replace(proxy, sweep=replace(proxy.sweep, optimizer="adam"))
    for one in choose(adam, replace(private, optimizer="adam"), num_examples=N_TARGET):
        assert one.point["lr"] == one.source.point["lr"]


def test_at_one_size_nothing_changes(proxy, private):
    for one in choose(proxy, private, num_examples=N_PROXY):
        assert one.point == {name: one.source.point[name] for name in one.point}


def test_one_run_an_epsilon_is_trained_and_all_are_charged(proxy, private, tmp_path):
    done = transfer(proxy, private, tmp_path)
    assert [run.carried.level for run in done.runs] == [2.0, 8.0]
    assert all(run.epsilon <= run.carried.level for run in done.runs)
    assert all(0 < run.metrics["accuracy"] <= 1 for run in done.runs)
    with Store.read(tmp_path) as store:
        specs = store.specs()
    assert set(specs) == {run.run_id for run in done.runs}
    events = [
        specs[run.run_id].plan.event(steps=specs[run.run_id].steps, num_examples=N_TARGET)
        for run in done.runs
    ]
    both = accounting.epsilon(
        Composed(tuple(events)), delta=1e-4, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    assert done.cost.composition.upper == pytest.approx(both.upper, rel=1e-6)
    assert done.cost.composition.upper > max(run.epsilon for run in done.runs)
    assert (
        len({spec.seed for spec in specs.values()}) == len({spec.noise_seed for spec in specs.values()}) == 2
    )
    assert all(isinstance(spec.streams, Secure) and spec.noise_seed > 2**128 for spec in specs.values())


def test_the_same_call_trains_nothing_again(proxy, private, tmp_path):
    first = transfer(proxy, private, tmp_path)
    again = transfer(proxy, private, tmp_path)
    assert again == first
    other = swept("hospital", num_train=N_TARGET, batches=[1], public=False, delta=1e-5)
    with pytest.raises(TransferError, match="must belong to this transfer"):
        transfer(proxy, other, tmp_path)


def test_two_transfers_draw_other_noise(proxy, private, tmp_path):
    one, two = (transfer(proxy, private, tmp_path / name) for name in "ab")
    assert {run.run_id for run in one.runs}.isdisjoint(run.run_id for run in two.runs)
    for first, second in zip(one.runs, two.runs, strict=True):
        assert first.carried == second.carried
        assert first.metrics["loss"] != second.metrics["loss"]


def test_a_seed_is_for_public_data(proxy, private, tmp_path):
    with pytest.raises(TransferError, match="must have a secret seed"):
        transfer(proxy, private, tmp_path / "no", seed=1)
    public = swept("open", num_train=N_TARGET, batches=[1])
    one, two = (transfer(proxy, public, tmp_path / name, seed=5) for name in "ab")
    assert one.runs == two.runs
    assert one.cost.is_public


@pytest.mark.parametrize("keep", Keep)
def test_regret_is_what_the_grid_says(folders, proxy, keep):
    target = read_results(folders / "target")
    for found in transfer_regret(proxy, target, rules=Rules(keep=keep, lr=Lr.KEPT)):
        cells = {repr(sorted(cell.point.items())): cell for cell in target.at_level(found.level)}
        best = max(cell.mean for cell in cells.values())
        assert found.is_exact
        assert found.regret == best - cells[repr(sorted(found.transferred.items()))].mean >= 0
        assert found.random_regret == pytest.approx(best - sum(cell.mean for cell in cells.values()) / 12)
        assert -1 <= found.rank_correlation <= 1
        assert found.pairs == 6


def test_a_sweep_loses_nothing_to_itself(proxy):
    for found in transfer_regret(proxy, proxy):
        assert (found.regret, found.standard_error, found.is_exact) == (0.0, 0.0, True)
        assert found.rank_correlation == pytest.approx(1.0)


def test_regret_knows_a_bad_proxy(proxy):
    # The control: a proxy whose scores are turned round must lose, and must rank the settings backwards.
    turned = replace(
        proxy, reached=tuple(replace(c, scores=tuple(-s for s in c.scores)) for c in proxy.reached)
    )
    for found in transfer_regret(turned, proxy):
        assert found.regret > 0
        assert found.regret > found.random_regret
        assert found.rank_correlation == pytest.approx(-1.0)


def test_the_error_of_a_difference_is_paired_by_seed():
    one, two = (
        Reached(point={}, scores=scores, steps=1, noise_multiplier=1.0)
        for scores in ((0.5, 0.7, 0.9), (0.4, 0.6, 0.9))
    )
    assert one.standard_error_of_difference(two) == pytest.approx(math.sqrt(1 / 900))
    assert math.isnan(
        one.standard_error_of_difference(Reached(point={}, scores=(0.1,), steps=1, noise_multiplier=1.0))
    )


def test_settings_that_diverged_are_not_chosen(proxy):
    best = proxy.best(8.0)
    cells = tuple(replace(c, scores=(math.nan, 0.9)) if c is best else c for c in proxy.reached)
    assert replace(proxy, reached=cells).best(8.0).point != best.point
    none = replace(proxy, reached=tuple(replace(c, scores=(math.nan,)) for c in proxy.reached))
    with pytest.raises(TransferError, match="without diverging"):
        none.best(8.0)


def test_distances_are_in_logarithms():
    assert distance({"lr": 1.0, "a": "x"}, {"lr": 2.0, "a": "x"}) == pytest.approx(math.log(2))
    assert distance({"a": "x"}, {"a": "y"}) == math.inf
    assert distance({"lr": 1.0}, {}) == math.inf


def fixed(sweep, **settings):
    axes = {name: axis for name, axis in sweep.axes.items() if name not in settings}
    return replace(sweep, axes=axes, **settings)


@pytest.mark.parametrize(
    ("make_proxy", "make_target", "complaint"),
    [
        (
            lambda p: replace(p, sweep=replace(p.sweep, public=False)),
            lambda t: t,
            "a proxy's data must be public",
        ),
        (lambda p: p, lambda t: replace(t, objective="loss", maximize=False), "one goal"),
        (lambda p: p, lambda t: fixed(t, lr=0.5), "must leave lr open"),
        (lambda p: p, lambda t: fixed(t, target_epsilon=5.0), "found target_epsilon 2, 8"),
        (
            lambda p: p,
            lambda t: replace(
                t,
                axes={k: v for k, v in t.axes.items() if k != "target_epsilon"} | {"noise_multiplier": [1.0]},
            ),
            "both sweeps must be given by target_epsilon",
        ),
        (
            lambda p: p,
            lambda t: replace(t, axes=dict(t.axes) | {"model.hidden": [8, 16]}),
            "must say something of model.hidden",
        ),
    ],
)
def test_what_cannot_be_carried_is_refused(proxy, private, make_proxy, make_target, complaint):
    with pytest.raises(TransferError, match=complaint) as refused:
        choose(make_proxy(proxy), make_target(private), num_examples=N_TARGET)
    assert "\n" not in str(refused.value)


def test_what_the_target_fixes_may_be_what_the_proxy_found(proxy, private):
    target = fixed(private, clip_norm=0.5, expected_batch_size=30, target_epsilon=8.0)
    (one,) = choose(proxy, target, num_examples=N_TARGET)
    assert set(one.point) == {"lr"}
    assert target.spec(one.point, num_examples=N_TARGET).plan.clipping == Flat(clip_norm=0.5)


def test_folders_that_hold_no_sweep(tmp_path, proxy, private, folders):
    with Store.open(tmp_path / "study", study="x"):
        pass
    with pytest.raises(TransferError, match="must hold a sweep, found a study"):
        read_results(tmp_path / "study")
    with Store.open(tmp_path / "odd", study="x") as store:
        store.put_artifact("sweep.json", b"{}")
    with pytest.raises(TransferError, match="a sweep of this version"):
        read_results(tmp_path / "odd")
    with Store.open(tmp_path / "empty", study="x") as store:
        store.put_artifact("sweep.json", private.canonical.encode())
    with pytest.raises(TransferError, match="finished private runs"):
        read_results(tmp_path / "empty")
    with pytest.raises(TransferError, match="must be public"):
        transfer_regret(proxy, replace(proxy, sweep=private))
    with pytest.raises(TransferError, match="found a sweep's runs"):
        transfer(proxy, replace(private, name="proxy"), folders / "proxy")


TOML = """
name = "ward"
[model]
factory = "clifftop.studies.no_cliff.model:mlp"
[data]
factory = "clifftop.datasets:gaussian_clusters"
spread = 1.0
per_class = 600
normalise = false
seed = 1
num_train = 900
[privacy]
delta = 1e-4
target_epsilon = 8
clip_norm = 0.5
[training]
epochs = 3
[axes]
lr = [1]
expected_batch_size = [1]
"""


def test_the_command_in_a_real_process(folders, tmp_path):
    (tmp_path / "ward.toml").write_text(TOML)
    command = [sys.executable, "-m", "clifftop", "transfer", str(folders / "proxy")]
    done = subprocess.run(
        [*command, "--to", "ward.toml", "--json"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (run,) = document["runs"]
    assert document["cost"]["composition"]["epsilon_upper"] == run["epsilon"] <= 8
    assert run["setting"]["lr"] == pytest.approx(3 * run["proxy_setting"]["lr"])
    assert (tmp_path / "out" / "ward-transferred" / "store.sqlite").exists()


@pytest.fixture
def told(capsys):
    from clifftop.cli.entry import main

    def told(*arguments):
        code = main(["transfer", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return told


def test_a_person_reads_the_regret(told, folders):
    code, out, err = told(folders / "proxy", "--regret", folders / "target")
    assert (code, err) == (0, "")
    assert "rank correlation" in out
    assert "favoured by chance" in out
    code, out, _ = told(folders / "proxy", "--regret", folders / "target", "--json", "--keep", "batch")
    assert [one["level"] for one in json.loads(out)["regrets"]] == [2.0, 8.0]


def test_a_person_reads_the_cost(told, folders, tmp_path):
    (tmp_path / "ward.toml").write_text(
        TOML.replace("target_epsilon = 8", "").replace("[axes]", "[axes]\ntarget_epsilon = [2, 8]")
    )
    code, out, _ = told(folders / "proxy", "--to", tmp_path / "ward.toml", "--out", tmp_path / "runs")
    assert code == 0
    assert "releasing all 2 of them: epsilon 8." in out
    assert "Keep the folder secret" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "one of --to and --regret, found neither"),
        (["--to", "x.toml", "--regret", "y"], "found both"),
        (["--regret", "y", "--out", "z"], "--regret trains nothing"),
        (["--regret", "nowhere"], "a results folder must hold"),
        (["--regret", "y", "--keep", "steps"], "--keep must be rate or batch, found 'steps'"),
        (["--regret", "y", "--lr", "warm"], "--lr must be noise or kept, found 'warm'"),
        (["--to", "nowhere.toml"], "nowhere.toml: must be a sweep file, found no such file"),
    ],
)
def test_bad_input_is_one_line(told, folders, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    code, out, err = told(folders / "proxy", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
