"""Reader for IDX files, the plain format of MNIST and its kin, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


class IdxError(ValueError):
    """A file is not the IDX file it should be."""


def read_idx(path: Path, *, ndim: int, remedy: str) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with ``ndim`` axes.

    The header is two zero bytes, the element type (0x08: unsigned byte), the number of axes, then each
    axis as a big-endian 32-bit count; the elements follow in row-major order.

    Args:
        path: the file; gzip is recognised by its first bytes, not by its name.
        ndim: how many axes the file must have.
        remedy: ends the error line: what a person can do.

    Raises:
        IdxError: the file is absent, unreadable, damaged, truncated, too long, or of another type; the
            line names the file.
    """
    content = _content(path, remedy)
    header_size = 4 + 4 * ndim
    expected = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    if content[:4] != expected:
        raise IdxError(
            f"{path} must start with the IDX magic number {expected.hex()} (unsigned bytes, ndim={ndim}), "
            f"found {content[:4].hex() or 'nothing'}; {remedy}"
        )
    if len(content) < header_size:
        raise IdxError(
            f"{path} must hold a header of {header_size} bytes, found {len(content)}: truncated; {remedy}"
        )
    shape = tuple(np.frombuffer(content, dtype=">u4", count=ndim, offset=4).tolist())
    found, wanted = len(content) - header_size, math.prod(shape)
    if found != wanted:
        fault = "truncated" if found < wanted else "trailing bytes"
        raise IdxError(
            f"{path} must hold {wanted} elements for shape {shape}, found {found}: {fault}; {remedy}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_size).reshape(shape)


def _content(path: Path, remedy: str) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    except FileNotFoundError:
        raise IdxError(f"{path} must exist, found no such file; {remedy}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise IdxError(f"{path} must be whole gzip data, found: {error}; {remedy}") from None
    except OSError as error:
        raise IdxError(f"{path} must be readable, found: {error.strerror}; {remedy}") from None
