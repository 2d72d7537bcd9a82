"""The keystream is AES in counter mode, and its keys are HKDF."""

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.noise.bits import KeystreamGenerator
from clifftop.noise.keystream import Keystream, Keystreams, derive_key


def drawn(stream: Keystream, count: int, at_byte: int = 0) -> bytes:
    out = np.empty(count, dtype=np.uint8)
    stream.fill(out, at_byte=at_byte)
    return out.tobytes()


def test_the_output_blocks_of_sp_800_38a():
    """Section F.5.1 of NIST SP 800-38A: CTR-AES128, whose counter begins at f0f1...feff."""
    cipher = Cipher(
        algorithms.AES(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")), modes.CTR(bytes(16))
    ).encryptor()
    stream = Keystream(cipher, 0xF0F1F2F3F4F5F6F7)
    assert drawn(stream, 64, at_byte=16 * 0xF8F9FAFBFCFDFEFF).hex() == (
        "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae"
        "6a2cc3787889374fbeb4c81b17ba6c44e89c399ff0f198c6d40a31db156cabfe"
    )


def test_keys_are_hkdf_of_the_seed():
    """RFC 5869 by hand: extract with the salt, expand with the purpose."""
    extracted = hmac.digest(b"clifftop keystream 1", b"12345", "sha256")
    assert derive_key(12345, "noise") == hmac.digest(extracted, b"noise\x01", hashlib.sha256)[:16]


def test_the_streams_of_today_are_the_streams_of_tomorrow():
    """A resumed run depends on these bytes."""
    first = drawn(Keystreams().at(seed=7, purpose="noise/float32", step=3), 16)
    assert first.hex() == "5463fbeb053d837a8f24e60be172ea0a"


@settings(derandomize=True, max_examples=30, deadline=None)
@given(start=st.integers(0, 20_000), count=st.integers(0, 300_000))
def test_any_stretch_can_be_read_alone(start: int, count: int):
    streams = Keystreams()
    whole = drawn(streams.at(seed=1, purpose="noise", step=2), 16 * start + count)
    assert (
        drawn(streams.at(seed=1, purpose="noise", step=2), count, at_byte=16 * start) == whole[16 * start :]
    )


def test_seeds_purposes_and_steps_give_streams_of_their_own():
    keys = [(1, "noise", 0), (2, "noise", 0), (1, "noises", 0), (1, "noise", 1), (-1, "noise", 0)]
    streams = Keystreams()
    first = [drawn(streams.at(seed=s, purpose=p, step=k), 16) for s, p, k in keys]
    assert len(set(first)) == len(keys)


def test_streams_that_share_a_cipher_do_not_disturb_each_other():
    streams = Keystreams()
    one, other = (streams.at(seed=1, purpose="noise", step=step) for step in (0, 1))
    before = drawn(one, 64)
    drawn(other, 48)
    assert drawn(one, 64) == before


def test_a_place_between_blocks_is_refused():
    stream = Keystreams().at(seed=1, purpose="noise", step=0)
    with pytest.raises(ValueError, match="at_byte must be a multiple of 16, found at_byte=8"):
        drawn(stream, 16, at_byte=8)


@pytest.mark.parametrize("step", [-1, 2**64])
def test_a_step_beyond_64_bits_is_refused(step: int):
    with pytest.raises(OverflowError):
        Keystreams().at(seed=1, purpose="noise", step=step)


def generator(step: int = 0) -> KeystreamGenerator:
    return KeystreamGenerator(Keystreams().at(seed=5, purpose="sampling", step=step))


def test_numpy_draws_the_same_numbers_one_by_one_as_at_once():
    at_once, one_by_one = generator(), generator()
    words = np.empty(700, dtype=np.uint64)
    Keystreams().at(seed=5, purpose="sampling", step=0).fill(words, at_byte=0)
    assert at_once.random(700).tolist() == [one_by_one.random() for _ in range(700)]
    assert ((words >> np.uint64(11)) * 2.0**-53).tolist() == generator().random((7, 100)).ravel().tolist()


def test_later_draws_of_a_generator_use_fresh_words():
    rng = generator()
    draws = np.concatenate([rng.random(5), [rng.random()], rng.random((2, 3)).ravel(), rng.random(600)])
    assert len(set(draws.tolist())) == len(draws)


def test_every_method_of_numpys_generator_reads_the_keystream():
    def draw(step: int) -> list[object]:
        rng = generator(step)
        return [
            rng.permutation(20).tolist(),
            rng.integers(1 << 40, size=3).tolist(),
            rng.random(3, dtype=np.float32).tolist(),
            rng.standard_normal(2).tolist(),
            rng.choice(100, size=5, replace=False).tolist(),
        ]

    assert draw(0) == draw(0)
    assert all(one != other for one, other in zip(draw(0), draw(1), strict=True))


def test_integers_are_uniform():
    """Chi-squared with 9 degrees of freedom exceeds 46.9 with probability 4e-7."""
    counts = np.bincount(generator().integers(10, size=20_000), minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 46.9
