"""What an audit is asked of: an object that a user's own module makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
    from clifftop.lab import Factory

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return Factory(target=target).resolve()
