"""Cryptographic keystreams that can be read from anywhere: AES-128 in counter mode."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

_BLOCK_BYTES = 16
_ZEROS = memoryview(bytes(1 << 17))


def derive_key(seed: int, purpose: str) -> bytes:
    """The AES-128 key of one (seed, purpose): HKDF-SHA-256 (RFC 5869) of the seed's decimal digits.

    The key is as strong as the seed: at most 128 bits for a seed of ``secrets.randbits(128)``, so a
    longer key would protect nothing more.

    >>> derive_key(1, "noise") == derive_key(1, "sampling")
    False
    """
    kdf = HKDF(algorithm=hashes.SHA256(), length=16, salt=b"clifftop keystream 1", info=purpose.encode())
    return kdf.derive(str(seed).encode())


@final
class Keystream:
    """The bytes AES(key, step || 0), AES(key, step || 1), ... of one step.

    Step and counter are 64 bits each, most significant first: the keystream of CTR mode in NIST
    SP 800-38A whose initial counter block is ``step * 2^64``. No two steps share an input of AES.
    """

    def __init__(self, cipher: CipherContext, step: int) -> None:
        self._cipher = cipher
        self._step = step.to_bytes(8, "big")

    def fill(self, out: NDArray[Any], *, at_byte: int) -> None:
        """Overwrite the contiguous array ``out`` with the keystream from ``at_byte``.

        Raises:
            ValueError: ``at_byte`` is not a multiple of 16.
        """
        counter, rest = divmod(at_byte, _BLOCK_BYTES)
        if rest:
            raise ValueError(f"at_byte must be a multiple of {_BLOCK_BYTES}, found at_byte={at_byte}")
        self._cipher.reset_nonce(self._step + counter.to_bytes(8, "big"))
        target = out.view(np.uint8).data
        for start in range(0, len(target), len(_ZEROS)):
            piece = target[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS[: len(piece)], piece)


@final
class Keystreams:
    """The keystreams of any (seed, purpose, step); a cipher is set up once for each (seed, purpose).

    For one thread: keystreams of one seed and purpose share the cipher's place in its stream.

    >>> import numpy as np
    >>> whole, part = np.empty(12, dtype=np.uint32), np.empty(4, dtype=np.uint32)
    >>> streams = Keystreams()
    >>> streams.at(seed=1, purpose="noise", step=5).fill(whole, at_byte=0)
    >>> streams.at(seed=1, purpose="noise", step=5).fill(part, at_byte=32)
    >>> bool((part == whole[8:]).all())
    True
    """

    def __init__(self) -> None:
        self._ciphers: dict[tuple[int, str], CipherContext] = {}

    def at(self, *, seed: int, purpose: str, step: int) -> Keystream:
        """The keystream of one step; ``0 <= step < 2^64``, or OverflowError."""
        cipher = self._ciphers.get((seed, purpose))
        if cipher is None:
            key = derive_key(seed, purpose)
            cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK_BYTES))).encryptor()
            self._ciphers[seed, purpose] = cipher
        return Keystream(cipher, step)
