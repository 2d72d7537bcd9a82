"""What an audit is asked of: an object that a user's own module makes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def keep_to_one_thread() -> None:
    """Libraries that are not loaded yet will compute on one thread, unless the caller says how many."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def made(factory: str) -> Any:
    """What MODULE:CALLABLE gives when it is called; modules of the working folder are found too.

    Raises:
        SpecError: no such module or callable; one line.
    """
    return named(factory)()


def named(target: str) -> Callable[..., Any]:
    """The callable that MODULE:CALLABLE names; modules of the working folder are found too.

    Raises:
        SpecError: no such module or callable; one line.
    """
    keep_to_one_thread()
    from clifftop.lab import Factory

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return Factory(target=target).resolve()
