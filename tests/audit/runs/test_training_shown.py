"""What a training shows of its runs must be what was asked: anything else is refused in one line."""

from dataclasses import replace

import numpy as np
import pytest

from clifftop.audit.runs import Observed, TrainingClaim, audit_training

CLAIM = TrainingClaim(sampling_prob=0.1, noise_multiplier=1.5, steps=6, delta=1e-5)


class Shows:
    claim, num_canaries = CLAIM, 8

    def __init__(self, change):
        self._change = change

    def observe(self, present, *, seed):
        noise = np.random.default_rng(seed).normal(0, 1.5, (len(present), CLAIM.steps, 8))
        return self._change(Observed(releases=noise.astype(np.float32), present=present))


class Otherwise(Shows):
    def observe(self, present):
        return None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda seen: None, "must return clifftop.audit.runs.Observed, found NoneType"),
        (lambda seen: replace(seen, releases=seen.releases[:, :2]), r"found \(4, 2, 8\)"),
        (lambda seen: Observed(releases=seen.releases[:2], present=seen.present[:2]), r"found \(2, 6, 8\)"),
        (
            lambda seen: replace(seen, releases=seen.releases[:, 0]),
            r"\(R, T, k\), found shape \(4, 8\)",
        ),
    ],
)
def test_what_is_shown_must_be_what_was_asked(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        audit_training(Shows(change), runs=4)
    assert "\n" not in str(caught.value)
    assert audit_training(Shows(lambda seen: seen), runs=4).runs == 4


def test_other_arguments_are_named():
    with pytest.raises(ValueError, match=r"observe\(present, seed=\), found: got an unexpected keyword"):
        audit_training(Otherwise(None), runs=4)
