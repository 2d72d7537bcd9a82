"""Is this a real picture: the PNG container read chunk by chunk."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALLEST = (400, 300)
LARGEST = 20_000


def png_fault(raw: bytes) -> str | None:
    """What is wrong with a plot's PNG, in a few words; None when nothing is.

    The signature, every chunk's checksum, the order of chunks, a width and height that a plot has,
    and pixel data that unpacks to the size announced and is not all one value.
    """
    if not raw.startswith(SIGNATURE):
        return "is not a PNG"
    try:
        chunks = _chunks(raw)
    except (struct.error, ValueError):
        return "is cut short or damaged"
    if not chunks or chunks[0][0] != b"IHDR" or chunks[-1][0] != b"IEND" or len(chunks[0][1]) != 13:
        return "is cut short or damaged"
    width, height = struct.unpack(">II", chunks[0][1][:8])
    if not (SMALLEST[0] <= width <= LARGEST and SMALLEST[1] <= height <= LARGEST):
        return f"is {width} x {height} pixels, which no plot is"
    try:
        pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    except zlib.error:
        return "is cut short or damaged"
    if len(pixels) < height * (1 + width // 8):
        return "holds fewer pixels than it says"
    return "is blank" if _blank(pixels, height) else None


def _chunks(raw: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    at = len(SIGNATURE)
    while at < len(raw):
        length, kind = struct.unpack_from(">I4s", raw, at)
        data = raw[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", raw, at + 8 + length)
        if len(data) != length or zlib.crc32(kind + data) != checksum:
            raise ValueError("chunk")
        found.append((kind, data))
        at += 12 + length
    return found


def _blank(pixels: bytes, height: int) -> bool:
    """Whether every row of the filtered pixel data is the same, first row apart: nothing is drawn."""
    row = len(pixels) // height
    second = pixels[row : 2 * row]
    return all(pixels[at : at + row] == second for at in range(2 * row, row * height, row))
