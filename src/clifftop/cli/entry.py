"""Where the command starts: run it, and turn every expected error into one line and an exit code."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Sequence

from clifftop.cli.exits import EXIT_BAD_INPUT, EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (default: those of the process) and return the exit code.

    0 is success and 1 a result that does not hold (`clifftop validate`). Bad input, a full disk or a
    missing package end in one line on standard error and 2; with ``CLIFFTOP_DEBUG=1`` the error is
    raised instead, with its traceback. An interrupt gives 130. An error nobody expected keeps its
    traceback: it is a defect to report.
    """
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail(
            "interrupted; where anything was stored, the same command again goes on from it",
            EXIT_INTERRUPTED,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the exit flush fails too
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if os.environ.get("CLIFFTOP_DEBUG") == "1" or not expected(error):
            raise
        return _fail(describe(error), EXIT_BAD_INPUT)
    return code


def expected(error: Exception) -> bool:
    """Whether ``error`` tells of the input or the machine, not of a defect in Clifftop.

    Every exception class of the library is written for a person to read, in one line.

    >>> expected(ValueError("sigma")), expected(TypeError("a defect"))
    (True, False)
    """
    ours = type(error).__module__.startswith("clifftop.")
    return ours or isinstance(error, (ValueError, OSError, sqlite3.Error, ModuleNotFoundError))


def describe(error: Exception) -> str:
    """The one line that a person reads for an expected error.

    >>> describe(ValueError("clip_norm must be > 0, found clip_norm=-1.0"))
    'clip_norm must be > 0, found clip_norm=-1.0'
    >>> describe(FileNotFoundError(2, "No such file or directory", "out/none"))
    'No such file or directory: out/none'
    """
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, ModuleNotFoundError):
        text = f"this command needs the package {error.name}; run: pip install 'clifftop[lab]'"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _run(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    from clifftop.cli.app import app

    try:
        result = app(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise ValueError(f"{error} Run: clifftop --help") from error
    return result if isinstance(result, int) else EXIT_OK


def _fail(line: str, code: int) -> int:
    sys.stderr.write(f"clifftop: {line}\n")
    return code
