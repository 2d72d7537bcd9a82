"""Telling a real plot from a broken, blank or absurd one."""

import struct
import zlib

import pytest

from clifftop.report.png import png_fault


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(*, width=500, height=400, rows=None):
    """A grey 8-bit PNG; by default each row differs."""
    rows = rows or [bytes([0]) + bytes([index % 251]) * width for index in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_real_picture():
    assert png_fault(picture()) is None


def test_a_real_plot(built):
    assert png_fault((built / "frontier.png").read_bytes()) is None


@pytest.mark.parametrize("keep", [7, 8, 20, 60, -1, -12])
def test_cut_short(keep):
    assert png_fault(picture()[:keep]) in ("is not a PNG", "is cut short or damaged")


def test_one_bit_flipped():
    raw = bytearray(picture())
    raw[len(raw) // 2] ^= 1
    assert png_fault(bytes(raw)) == "is cut short or damaged"


def test_another_file():
    assert png_fault(b"") == "is not a PNG"
    assert png_fault(b"GIF89a" + bytes(1000)) == "is not a PNG"


def test_too_small():
    assert png_fault(picture(width=20, height=20)) == "is 20 x 20 pixels, which no plot is"


def test_blank():
    assert png_fault(picture(rows=[bytes(501)] * 400)) == "is blank"


def test_fewer_pixels_than_it_says():
    assert png_fault(picture(rows=[bytes([0]) + b"ab"] * 3)) == "holds fewer pixels than it says"


def test_pixels_that_do_not_unpack():
    header = struct.pack(">IIBBBBB", 500, 400, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"not zlib") + chunk(b"IEND", b"")
    assert png_fault(b"\x89PNG\r\n\x1a\n" + body) == "is cut short or damaged"
