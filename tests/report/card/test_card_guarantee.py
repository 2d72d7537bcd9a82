"""Numbers that are proven, numbers that are refused, and how they are written."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from clifftop import accounting
from clifftop.clipping import Flat
from clifftop.events import DpEvent, FixedOrder, Gaussian, NeighboringRelation, NonPrivate
from clifftop.noise import Gaussian as GaussianNoise
from clifftop.plan import PrivacyPlan
from clifftop.report.card.base import Card, NotStated, Row, Section, Verdict
from clifftop.report.card.guarantee import guarantee_of
from clifftop.report.card.markdown import markdown
from clifftop.report.card.mechanism import Mechanism, examine
from clifftop.report.card.noise_seen import look_at_noise
from clifftop.report.card.rounding import down, percent_up, up
from clifftop.sampling import BatchSampler

RELATION = NeighboringRelation.ZERO_OUT


@dataclass(frozen=True)
class Unheard(DpEvent):
    """An event that no accountant knows."""


def proven(event):
    return guarantee_of(event, delta=1e-5, neighboring_relation=RELATION)


@pytest.mark.parametrize("event", [Unheard(), NonPrivate()])
def test_what_has_no_finite_epsilon_has_no_number(event):
    found = proven(event)
    assert (found.epsilon, found.gaussian, found.true_positive_rates) == (None, None, ())
    assert len(found.not_stated) == 1


def test_a_vast_epsilon_has_no_curve():
    found = proven(FixedOrder(Gaussian(0.05), 4))
    assert found.epsilon.upper > 100
    assert found.gaussian is None
    assert "above 100" in found.not_stated[0].why


def test_a_gaussian_release_has_its_own_mu():
    found = proven(FixedOrder(Gaussian(4.0), 4))
    assert found.gaussian.mu.lower <= 0.5 <= found.gaussian.mu.upper < 0.5001
    assert found.gaussian.regret < 1e-3
    assert found.epsilon == accounting.epsilon(
        FixedOrder(Gaussian(4.0), 4), delta=1e-5, neighboring_relation=RELATION
    )


def test_a_sampler_without_a_proof_is_refused_with_its_numbers():
    class Whole(BatchSampler):
        def batch(self, step, *, num_examples, rng):
            return np.arange(num_examples)

    plan = PrivacyPlan(
        sampler=Whole(),
        clipping=Flat(clip_norm=1.0),
        noise=GaussianNoise(noise_multiplier=1.0),
        neighboring_relation=RELATION,
        expected_batch_size=4,
    )
    found = examine(Mechanism(plan=plan, steps=3, delta=1e-5, num_examples=4, rng=np.random.default_rng))
    assert found.epsilon is None
    reasons = [str(one) for one in found.not_stated]
    assert any("a plan needs a proven event, found none for Whole" in reason for reason in reasons)
    assert any("batches are checked of Poisson and FixedOrder" in reason for reason in reasons)


def test_noise_is_told_from_noise_a_hundredth_larger():
    rng = np.random.default_rng(5)
    norms = np.linalg.norm(rng.standard_normal((200, 300)), axis=1) * 2.0 / 64
    assert look_at_noise(norms, 64.0, noise_std=2.0, num_parameters=300).holds
    assert not look_at_noise(1.02 * norms, 64.0, noise_std=2.0, num_parameters=300).holds
    assert not look_at_noise(0.98 * norms, 64.0, noise_std=2.0, num_parameters=300).holds
    broken = look_at_noise(norms * math.nan, 64.0, noise_std=2.0, num_parameters=300)
    assert not broken.holds


def test_sound_noise_passes():
    """A false alarm has a chance of 1e-4 a run; one of 300 would be a chance of 3%, two of 4e-4."""
    rng = np.random.default_rng(6)
    norms = np.sqrt(rng.chisquare(50, size=(300, 20)))
    found = [look_at_noise(row, 1.0, noise_std=1.0, num_parameters=50) for row in norms]
    assert sum(not one.holds for one in found) <= 1


def test_numbers_are_rounded_outward():
    rng = np.random.default_rng(7)
    for value in 10.0 ** rng.uniform(-9, 9, size=300):
        shown = [float(text.replace(",", "")) for text in (down(value), up(value))]
        assert shown[0] <= value <= shown[1]
        assert shown[1] <= shown[0] * 1.0001
    for share in rng.uniform(0, 1, size=100):
        assert (
            share
            <= float(percent_up(share).rstrip("%")) / 100 * (1 + 1e-15)
            <= min(1.0, share * 1.01 + 1e-15)
        )
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="only a finite number"):
            up(value)


def test_markdown_keeps_words_as_they_are():
    section = Section(
        name="a", title="A*", paragraphs=("one\ntwo",), rows=(Row(name="r", label="L|", text="<b>"),)
    )
    card = Card(
        title="T_",
        subject={},
        verdict=Verdict(release="nothing", epsilon=None, text="No."),
        sections=(section,),
        not_stated=(NotStated(what="x", why="y"),),
    )
    text = markdown(card)
    assert "# T\\_" in text
    assert "## A\\*" in text
    assert "\none two\n" in text
    assert "| L\\| | \\<b> |" in text
    assert "- not stated: x, because y" in text
