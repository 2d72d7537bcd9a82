"""The trials of a tuning follow the law that its price presumes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clifftop.lab.executors import InProcess
from clifftop.lab.tuning import contest
from clifftop.lab.tuning.trials import draw_trials, require_sound

TUNINGS = 400


@pytest.fixture
def quick(monkeypatch):
    """Secrets from a counter, and cohorts of two without a look at the model."""
    secrets = iter(range(10**6, 10**7))
    monkeypatch.setattr(contest, "new_secret", lambda: next(secrets))
    monkeypatch.setattr(contest, "cohort_size", lambda spec: 2)


class StopsAtGoodScores(InProcess.__mro__[1] if InProcess.__mro__[1] is not object else object):
    """What the price forbids: the tuning ends at the first cohort with a good score."""

    most_workers = 1

    def run(self, trainer, jobs):
        for job in jobs:
            last = None
            for _, last in InProcess().run(trainer, [job]):
                yield job, last
            if (last.block.metrics["accuracy"][1] >= 0.2).any():
                return


def surprise(seen, expected):
    """Chi-square in standard deviations above its mean."""
    seen, expected = np.asarray(seen, float), np.asarray(expected, float)
    freedom = len(seen) - 1
    return (float(((seen - expected) ** 2 / expected).sum()) - freedom) / math.sqrt(2 * freedom)


def outcomes(design, tools, executor):
    """How many trials were trained, and the place of the winner's learning rate, of many tunings."""
    counts, winners = [], []
    for _ in range(TUNINGS):
        trained = []
        memory = tools.Memory(tools.DictFolder())
        drawn = contest.begin(design, memory)
        leader = contest.compete(
            design, drawn, memory, executor=executor, trainer=tools.fake_trainer(trained=trained)
        )
        counts.append(len(trained))
        winners.append(tools.LRS.index(drawn.trials[leader.trial].spec.optimizer.lr))
    return counts, winners


def count_surprise(counts, law):
    pmf = [law.pmf(k) for k in range(1, 7)]
    seen = np.bincount(np.minimum(counts, 7), minlength=8)[1:]
    return surprise(seen, TUNINGS * np.array([*pmf, 1 - sum(pmf)]))


def winner_surprise(winners, law):
    """The best of K settings, each of four as likely as the others: P(best <= j) = f((j + 1) / 4)."""
    below = np.array([law.generating_function((j + 1) / 4) for j in range(4)])
    return surprise(np.bincount(winners, minlength=4), TUNINGS * np.diff(below, prepend=0.0))


def test_the_number_of_trials_and_the_winner_follow_the_law(designed, tools, quick):
    """Two tests of chi-square at 6 deviations: a false alarm below 1e-4 each; the secrets are fixed."""
    counts, winners = outcomes(designed, tools, InProcess())
    assert count_surprise(counts, designed.trials) < 6
    assert winner_surprise(winners, designed.trials) < 6


def test_a_tuning_that_stops_at_a_good_score_is_seen(designed, tools, quick):
    """The negative control of the test above."""
    counts, winners = outcomes(designed, tools, StopsAtGoodScores())
    assert count_surprise(counts, designed.trials) > 6
    assert winner_surprise(winners, designed.trials) > 6


def test_settings_that_trials_share_are_seen(designed, tools, quick, monkeypatch):
    """Another control: one setting for all trials of a tuning."""
    monkeypatch.setattr(contest, "draw_trials", one_setting)
    counts, winners = outcomes(designed, tools, InProcess())
    assert count_surprise(counts, designed.trials) < 6
    assert winner_surprise(winners, designed.trials) > 6


def one_setting(design, secret):
    trials = draw_trials(design, secret)
    lr = trials[0].spec.optimizer.lr
    return tuple(replace(t, spec=replace(t.spec, optimizer=replace(t.spec.optimizer, lr=lr))) for t in trials)


def test_trials_have_secret_draws_of_their_own(designed):
    trials = next(
        found for found in (draw_trials(designed, secret) for secret in range(50)) if len(found) > 3
    )
    specs = [trial.spec for trial in trials]
    assert len({spec.seed for spec in specs}) == len(specs)
    assert all(spec.streams.secret == specs[0].streams.secret for spec in specs)
    assert "secret" not in repr(specs[0].streams)
    assert all(spec.evaluate_every == spec.steps for spec in specs)
    again = draw_trials(designed, specs[0].streams.secret)
    assert [t.spec for t in again] == specs
    other = draw_trials(designed, specs[0].streams.secret + 1)
    assert not {t.spec.seed for t in other} & {spec.seed for spec in specs}


def test_trials_that_share_noise_are_refused(designed, tools):
    trials = next(
        found for found in (draw_trials(designed, secret) for secret in range(50)) if len(found) > 1
    )
    require_sound(designed, trials)
    shared = (trials[0], replace(trials[1], spec=replace(trials[1].spec, seed=trials[0].spec.seed)))
    with pytest.raises(tools.TuneError, match="independent"):
        require_sound(designed, shared)


def test_a_trial_that_costs_more_than_was_priced_is_refused(designed, tools):
    (trial, *_) = draw_trials(designed, 1)
    for change in ({"noise": replace(trial.spec.plan.noise, noise_multiplier=3.9)},):
        spec = replace(trial.spec, plan=replace(trial.spec.plan, **change))
        with pytest.raises(tools.TuneError, match="no more than was priced"):
            require_sound(designed, (replace(trial, spec=spec),))
    with pytest.raises(tools.TuneError, match="no more than was priced"):
        require_sound(designed, (replace(trial, spec=replace(trial.spec, steps=21)),))
