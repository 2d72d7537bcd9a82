"""A sweep from a file: TOML, or a Python file with a module-level ``sweep``."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from clifftop.lab.sweep.base import Sweep
from clifftop.lab.sweep.errors import SweepFault, SweepFileError, told
from clifftop.lab.sweep.factories import check_factories
from clifftop.lab.sweep.toml import key_in_file, read_document


def load_sweep(path: Path | str) -> Sweep:
    """The sweep that a file describes; its factories are found, and none of them is called.

    The file's folder is put first where modules are looked for, as Python does for a script, and stays
    there: the training looks for the factories again. A Python file, and every module that a factory names,
    is executed.

    Args:
        path: a TOML file, or a Python file (``.py``) with a module-level ``sweep = Sweep(...)``.

    Raises:
        SweepFileError: there is no such file, or it describes no sweep.
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        found = "a folder" if path.is_dir() else "no such file"
        raise SweepFileError(f"{path}: must be a sweep file, found {found}; clifftop sweep --init writes one")
    make_importable(path.parent)
    sweep = _from_python(path) if path.suffix == ".py" else _from_toml(path)
    with faults_name(path):
        check_factories(sweep, path.parent)
    return sweep


@contextmanager
def faults_name(path: Path) -> Generator[None, None, None]:
    """Put a file's name before what is found wrong with its sweep, and name the setting as the file does."""
    try:
        yield
    except SweepFault as fault:
        key = fault.key if path.suffix == ".py" else key_in_file(fault.key)
        raise SweepFileError(f"{path}: {key}: {fault.problem}") from fault


def make_importable(folder: Path) -> None:
    """Let modules be found in ``folder`` first, as Python does for the folder of a script."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
        importlib.invalidate_caches()


def _from_toml(path: Path) -> Sweep:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SweepFileError(f"{path}: must be TOML, found: {error}; mend that line") from None
    except UnicodeDecodeError as error:
        raise SweepFileError(
            f"{path}: must be text in UTF-8, found byte {error.start} that is none; save it as UTF-8"
        ) from None
    except OSError as error:
        raise SweepFileError(f"{path}: must be readable, found: {error.strerror}; allow reading it") from None
    try:
        return read_document(document)
    except SweepFault as fault:
        raise SweepFileError(f"{path}: {fault}") from fault


def _from_python(path: Path) -> Sweep:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    known = sys.modules.setdefault(path.stem, module)  # a factory may be defined in the file itself
    try:
        spec.loader.exec_module(module)
        found = getattr(module, "sweep", None)
        if not isinstance(found, Sweep):
            raise SweepFileError(
                f"{path}: must define sweep = Sweep(...), found sweep={found!r}; "
                "assign a clifftop.lab.sweep.Sweep to that name"
            )
    except BaseException as error:
        if known is module:
            del sys.modules[path.stem]
        if isinstance(error, SweepFileError) or not isinstance(error, Exception):
            raise
        place = f"{path}{_line(error, path)}"
        if isinstance(error, SweepFault):
            raise SweepFileError(f"{place}: {error}") from error
        raise SweepFileError(f"{place}: must run, found {told(error)}; mend it") from error
    return found


def _line(error: Exception, path: Path) -> str:
    """``, line 3``, where the file itself is part of the error's trace."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f", line {lines[-1]}" if lines else ""
