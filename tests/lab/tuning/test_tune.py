"""A whole tuning: what is released, what is destroyed, and what a crash may not change."""

import json
import stat

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from clifftop import accounting
from clifftop.datasets import ArrayDataset
from clifftop.events import Gaussian as GaussianEvent
from clifftop.events import (
    NegativeBinomialTrials,
    PoissonSampled,
    PoissonTrials,
    RepeatAndSelect,
    SelfComposed,
)
from clifftop.lab.cohort import train_cohort
from clifftop.lab.cohort.parts import build_model
from clifftop.lab.data import load_data
from clifftop.lab.executors import InProcess
from clifftop.lab.spec import Factory, SpecError
from clifftop.lab.tuning import ScoredRows, abandon, plan_tuning, read_release, tune
from clifftop.lab.tuning import contest as contest_module
from clifftop.lab.tuning.contest import begin, compete
from clifftop.lab.tuning.secret import NAME, SecretFolder
from clifftop.lab.tuning.state import DRAWN, Leader
from clifftop.lab.tuning.trials import draw_trials

PUBLIC, PRIVATE = ScoredRows(are_public=True), ScoredRows(are_public=False)


def secret_with(design, count):
    return next(secret for secret in range(1000) if len(draw_trials(design, secret)) == count)


@pytest.fixture(scope="module")
def planned(tools):
    return plan_tuning(tools.small_sweep(steps=30), NegativeBinomialTrials(mean=3.0), scored=PUBLIC)


@pytest.fixture
def five(planned, monkeypatch):
    """A tuning of five trials, in cohorts of two."""
    secret = secret_with(planned, 5)
    monkeypatch.setattr(contest_module, "new_secret", lambda: secret)
    monkeypatch.setattr(contest_module, "cohort_size", lambda spec: 2)
    return draw_trials(planned, secret)


def trained_alone(trials):
    """Each trial by itself: its accuracy and its parameters."""
    blocks = [list(train_cohort([trial.spec], keep_parameters=True))[-1] for trial in trials]
    return [(float(block.metrics["accuracy"][1][0, -1]), block.parameters) for block in blocks]


def test_the_best_trial_is_released_and_nothing_else(planned, five, tmp_path):
    released = tune(planned, tmp_path)
    alone = trained_alone(five)
    best = max(range(5), key=lambda place: (alone[place][0], -place))
    assert len({score for score, _ in alone}) > 1
    assert released.score == pytest.approx(alone[best][0], abs=1e-9)
    assert released.setting == dict(five[best].point)
    state = load_file(tmp_path / "tuned.safetensors")
    for name, value in alone[best][1].items():
        np.testing.assert_allclose(state[name], value[0], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tuned.json", "tuned.safetensors"]
    text = (tmp_path / "tuned.json").read_text()
    assert str(five[best].spec.seed) not in text
    assert str(five[best].spec.streams.secret) not in json.loads(text).values()
    assert "streams" not in text
    assert read_release(tmp_path).document == released.document


def test_the_released_model_has_the_released_score(planned, five, tmp_path):
    released = tune(planned, tmp_path)
    model = build_model(five[0].spec)
    model.load_state_dict(
        {k: torch.from_numpy(v) for k, v in load_file(tmp_path / "tuned.safetensors").items()}
    )
    rows = load_data(five[0].spec.data, seed=0).test
    with torch.no_grad():
        found = model.eval()(torch.from_numpy(rows.inputs[0])).argmax(-1).numpy() == rows.targets[0]
    assert found.mean() == pytest.approx(released.score)


def test_the_price_is_that_of_the_selection(planned, tools):
    run = SelfComposed(PoissonSampled(0.25, GaussianEvent(4.0)), 30)
    event = RepeatAndSelect(run, NegativeBinomialTrials(mean=3.0))
    relation = planned.neighboring_relation
    assert planned.epsilon == accounting.epsilon(event, delta=1e-5, neighboring_relation=relation)
    assert planned.one_run == accounting.epsilon(run, delta=1e-5, neighboring_relation=relation)


def test_a_release_is_not_made_twice(planned, five, tmp_path, monkeypatch):
    first = tune(planned, tmp_path)
    monkeypatch.setattr(contest_module, "new_secret", lambda: pytest.fail("drawn again"))
    assert tune(planned, tmp_path).document == first.document


class PowerCut(InProcess.__mro__[-1]):
    """Ends after so many outcomes."""

    def __init__(self, outcomes):
        self.left = outcomes

    most_workers = 1

    def run(self, trainer, jobs):
        for found in InProcess().run(trainer, jobs):
            yield found
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_a_stopped_tuning_goes_on_with_the_same_trials(planned, five, tmp_path, monkeypatch):
    undisturbed = tune(planned, tmp_path / "undisturbed")
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        tune(planned, folder, executor=PowerCut(2))
    assert not (folder / "tuned.json").exists()
    secret = folder / NAME
    assert stat.S_IMODE(secret.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secret.iterdir())
    drawn = (secret / DRAWN).read_bytes()
    monkeypatch.setattr(
        contest_module, "new_secret", lambda: pytest.fail("the number of trials was drawn again")
    )
    with pytest.raises(KeyboardInterrupt):
        tune(planned, folder, executor=PowerCut(1))
    assert (secret / DRAWN).read_bytes() == drawn
    assert tune(planned, folder).document == undisturbed.document
    assert not secret.exists()


def test_a_number_of_trials_is_never_drawn_again(planned, five, tmp_path, tools):
    """The state of trials with the list of them gone: drawing anew would void the price."""
    with pytest.raises(KeyboardInterrupt):
        tune(planned, tmp_path, executor=PowerCut(2))
    (tmp_path / NAME / DRAWN).unlink()
    with pytest.raises(tools.TuneError, match="nothing was released") as caught:
        tune(planned, tmp_path)
    assert "\n" not in str(caught.value)


def test_power_may_fail_before_any_change(designed, tools, monkeypatch):
    """At every write and every removal in turn; the winner stays, and so do the trials."""
    secret = secret_with(designed, 5)
    monkeypatch.setattr(contest_module, "new_secret", lambda: secret)
    monkeypatch.setattr(contest_module, "cohort_size", lambda spec: 2)

    def finish(folder):
        memory = tools.Memory(folder)
        drawn = begin(designed, memory)
        trainer = tools.fake_trainer()
        leader = compete(designed, drawn, memory, executor=InProcess(), trainer=trainer)
        return leader, memory.parameters(leader)["w"].tolist()

    whole = tools.DictFolder()
    expected = finish(whole)
    assert whole.changes > 8
    for number in range(1, whole.changes + 1):
        folder = tools.DictFolder(fails_at=number)
        with pytest.raises(KeyboardInterrupt):
            finish(folder)
        folder.fails_at = None
        assert finish(folder) == expected


def test_of_equal_scores_the_first_trial_wins_in_any_order():
    first, second = Leader(trial=1, score=0.5, file="a"), Leader(trial=4, score=0.5, file="b")
    assert first.beats(second)
    assert not second.beats(first)
    assert Leader(trial=9, score=0.6, file="c").beats(first)
    assert first.beats(None)


def test_a_diverged_trial_is_worst_and_may_win_alone(designed, tools, tmp_path, monkeypatch):
    monkeypatch.setattr(contest_module, "new_secret", lambda: secret_with(designed, 1))
    train = tools.fake_trainer()

    def diverging(specs, *, state=None):
        for block in train(specs, state=state):
            if block.finished:
                block.parameters["w"][:] = np.nan
            yield block

    memory = tools.Memory(tools.DictFolder())
    drawn = begin(designed, memory)
    leader = compete(designed, drawn, memory, executor=InProcess(), trainer=diverging)
    assert leader.score == -np.inf
    from clifftop.lab.tuning.release import release

    released = release(tmp_path, designed, (drawn.trials[0], leader, memory.parameters(leader)))
    assert released.score is None
    assert released.document["winner"]["diverged"]
    assert not (tmp_path / "tuned.safetensors").exists()


def test_with_no_trial_nothing_is_released(tools, tmp_path, monkeypatch):
    design = tools.small_design(trials=PoissonTrials(1.0))
    monkeypatch.setattr(contest_module, "new_secret", lambda: secret_with(design, 0))
    released = tune(design, tmp_path)
    assert released.setting is released.score is None
    assert not (tmp_path / "tuned.safetensors").exists()
    assert not (tmp_path / NAME).exists()


def test_a_trial_that_fails_stops_everything(designed, tools, monkeypatch):
    monkeypatch.setattr(contest_module, "new_secret", lambda: secret_with(designed, 3))

    def failing(specs, *, state=None):
        raise RuntimeError("no memory")
        yield

    memory = tools.Memory(tools.DictFolder())
    with pytest.raises(tools.TuneError, match=r"no memory.*nothing was released"):
        compete(designed, begin(designed, memory), memory, executor=InProcess(), trainer=failing)


def test_another_tuning_cannot_go_on_with_these_trials(planned, five, tmp_path, tools):
    with pytest.raises(KeyboardInterrupt):
        tune(planned, tmp_path, executor=PowerCut(1))
    other = plan_tuning(tools.small_sweep(steps=30), NegativeBinomialTrials(mean=4.0), scored=PUBLIC)
    with pytest.raises(tools.TuneError, match="go on as it began"):
        tune(other, tmp_path)
    assert abandon(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not abandon(tmp_path)


def test_a_release_stays_when_another_tuning_comes(planned, five, tmp_path, tools):
    tune(planned, tmp_path)
    other = plan_tuning(tools.small_sweep(steps=30), NegativeBinomialTrials(mean=4.0), scored=PUBLIC)
    with pytest.raises(tools.TuneError, match="another folder"):
        tune(other, tmp_path)


def test_a_model_that_mixes_examples_is_refused(tools):
    mixing = Factory(target="torch.nn:BatchNorm1d", options={"num_features": 10})
    with pytest.raises(SpecError, match="BatchNorm1d"):
        plan_tuning(tools.small_sweep(model=mixing), NegativeBinomialTrials(mean=3.0), scored=PUBLIC)


def test_two_processes_cannot_tune_in_one_folder(planned, five, tmp_path, tools):
    secret = SecretFolder(tmp_path)
    secret.open()
    with secret.held(), pytest.raises(tools.TuneError, match="one process at a time"):
        tune(planned, tmp_path)


def test_what_is_destroyed_is_overwritten(tmp_path):
    secret = SecretFolder(tmp_path)
    secret.open()
    secret.write("a", b"secret")
    (secret.path / "a").rename(tmp_path / "kept")
    (secret.path / "a").hardlink_to(tmp_path / "kept")
    secret.destroy("a")
    assert (tmp_path / "kept").read_bytes() == bytes(6)
    secret.write("b", b"first")
    (tmp_path / "old").hardlink_to(secret.path / "b")
    secret.write("b", b"second")
    assert (tmp_path / "old").read_bytes() == bytes(5)
    assert secret.read("b") == b"second"
    # A process that was killed before it replaced the file has left a second name for it.
    (secret.path / "b.old").hardlink_to(secret.path / "b")
    secret.write("b", b"third")
    assert secret.read("b") == b"third"
    assert secret.names() == ["b"]


def same_rows() -> ArrayDataset:
    rows, targets = np.eye(8, dtype=np.float32), np.arange(8) % 2
    return ArrayDataset(
        train_inputs=rows, train_targets=targets, test_inputs=rows[:4], test_targets=targets[:4]
    )


def test_scores_on_training_rows_are_refused(tools, monkeypatch):
    monkeypatch.setattr("clifftop.datasets.same_rows", same_rows, raising=False)
    sweep = tools.small_sweep(data=Factory(target="clifftop.datasets:same_rows"), expected_batch_size=4)
    for scored in (PUBLIC, PRIVATE):
        with pytest.raises(tools.TuneError, match="none trains on"):
            plan_tuning(sweep, NegativeBinomialTrials(mean=3.0), scored=scored)


def test_data_that_change_with_the_seed_are_refused(tools):
    sweep = tools.small_sweep(data=Factory(target="clifftop.datasets:gaussian_clusters"))
    with pytest.raises(tools.TuneError, match="takes a seed"):
        plan_tuning(sweep, NegativeBinomialTrials(mean=3.0), scored=PUBLIC)
