"""Giving back memory that a model's study needed once."""

from __future__ import annotations

import ctypes
import sys


def return_free_memory() -> None:
    """Let the C library return free pages to the system, where it can; else nothing happens.

    A study holds a model in float64 for a moment. The C library keeps what was freed, and the steps that
    follow would be counted as larger than they are.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another C library
        return
    trim(0)
