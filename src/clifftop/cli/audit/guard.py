"""What an audit does when the code that it looks at breaks, or when somebody stops it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from traceback import walk_tb

import clifftop
from clifftop.cli.exits import EXIT_INTERRUPTED

_INSTALLED = ("site-packages", "dist-packages")


class BrokenSubject(ValueError):
    """The code under audit broke, so that nothing can be said of it; one line that names the place."""


def guarded(command: Callable[..., int]) -> Callable[..., int]:
    """``command`` with a line and a code for errors of the user's code, and for an interrupt.

    Without it an error there would end with 1, as an audit does that refutes a claim.
    """

    @wraps(command)
    def run(*arguments: object, **options: object) -> int:
        try:
            return command(*arguments, **options)
        except KeyboardInterrupt:
            sys.stderr.write("clifftop: interrupted; an audit keeps nothing before its end, run it again\n")
            return EXIT_INTERRUPTED
        except (Exception, SystemExit) as error:
            place = place_of(error)
            if not place or type(error).__module__.startswith("clifftop."):  # written for a person already
                raise
            raise BrokenSubject(broken(place, error)) from error

    return run


def broken(place: str, error: BaseException) -> str:
    """The line for an error that the user's code raised at ``place``."""
    said = str(error).strip().partition("\n")[0] if not isinstance(error, SyntaxError) else error.msg
    found = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return (
        f"{place}: what is audited must run without an error, found {found}; mend it, or see all of the "
        "traceback with CLIFFTOP_DEBUG=1"
    )


def place_of(error: BaseException) -> str:
    """The innermost line of the user's own code that ``error`` passed; empty where it passed none."""
    if isinstance(error, SyntaxError) and error.filename and is_own(error.filename):
        return f"{Path(error.filename).name}, line {error.lineno}"
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in walk_tb(error.__traceback__)
        if is_own(frame.f_code.co_filename)
    ]
    return f"{Path(own[-1][0]).name}, line {own[-1][1]}" if own else ""


def is_own(name: str) -> bool:
    """Whether a source file is neither Clifftop's nor Python's nor of an installed package.

    >>> import json
    >>> is_own(json.__file__), is_own(clifftop.__file__), is_own("<string>")
    (False, False, False)
    """
    path = Path(name)
    if name.startswith("<") or any(part in _INSTALLED for part in path.parts):
        return False
    python = Path(sysconfig.get_path("stdlib"))
    return not any(path.is_relative_to(root) for root in (Path(clifftop.__file__).parent, python))
