"""Every draw of a trial but its initialisation hangs on the secret."""

import torch

from clifftop.lab.tuning.streams import SecretStreams
from clifftop.noise import Secure

LIKE = {"w": torch.zeros(2, 3, 4), "b": torch.zeros(2, 5)}


def draws(kind, seeds=(3, 9)):
    streams = kind.open(seeds)
    step = streams.at(4)
    return {
        "noise": step.normal(LIKE)["w"],
        "added": step.add_normal(LIKE, torch.ones(2))["b"],
        "dropout": step.uniform("dropout", (6,)),
        "batch": torch.from_numpy(streams.sampling(seeds[0], 4).random(6)),
    }


def test_all_draws_follow_from_secret_and_seed():
    first, again, other = (draws(SecretStreams(secret)) for secret in (1, 1, 2))
    plain = draws(Secure())
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
        assert not torch.equal(value, other[name]), name
        assert not torch.equal(value, plain[name]), name


def test_a_run_draws_the_same_alone_and_among_others():
    among = SecretStreams(5).open([3, 9, 3])
    alone = SecretStreams(5).open([9])
    like = {name: value[:1] for name, value in LIKE.items()}
    assert torch.equal(
        among.at(2).normal({n: v[:1].expand(3, *v.shape[1:]) for n, v in LIKE.items()})["w"][1],
        alone.at(2).normal(like)["w"][0],
    )
    out, expected = torch.zeros(1, 7), torch.zeros(1, 7)
    alone.add_into(2, out, torch.ones(1))
    among.add_into(2, three := torch.zeros(3, 7), torch.ones(3))
    assert torch.equal(three[1:2], out)
    assert not torch.equal(out, expected)


def test_a_secret_and_a_seed_are_told_apart():
    one, other = SecretStreams(1).open([2]), SecretStreams(2).open([1])
    assert one.sampling(2, 0).random() != other.sampling(1, 0).random()


def test_the_secret_is_not_printed():
    assert "123456789" not in repr(SecretStreams(123456789))


def test_a_secret_and_a_long_noise_seed_do_not_run_together():
    """Every pair of a secret and a seed has draws of its own; with fewer bits apart, two of these had one."""
    pairs = [(secret, seed) for secret in (0, 1, 2) for seed in (1, 2**64 + 1, 2**65 + 1)]
    first = {draws(SecretStreams(secret), (seed, 9))["batch"][0].item() for secret, seed in pairs}
    assert len(first) == len(pairs)
