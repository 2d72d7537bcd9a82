"""Checks of how an executor ends with its process: by Ctrl-C, and by a kill.

Each starts a script of its own, as the leader of a session whose processes can be counted, so it takes the
source of an expression that makes the executor and not the executor::

    check_ctrl_c_leaves_nothing("ProcessPool(workers=2)", tmp_path)

They need Linux, whose table of processes they read.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_START_SECONDS = 60.0
_END_SECONDS = 20.0

_SCRIPT = """
import sys
from pathlib import Path
from clifftop.lab.executors import InProcess, ProcessPool, RayCluster
from clifftop.lab.jobs import Job
from clifftop.testing.stores import ToyTrainer, toy_spec

if __name__ == "__main__":
    jobs = [Job(specs=(toy_spec(seed=seed, steps=100_000),)) for seed in range(2)]
    for _ in {construct}.run(ToyTrainer(log=Path(sys.argv[1]), pause=float(sys.argv[2])), jobs):
        print("block", flush=True)
"""


def check_ctrl_c_leaves_nothing(construct: str, folder: Path) -> None:
    """Ctrl-C reaches the whole session, as in a terminal: one traceback, the parent's, and no process."""
    with _session(construct, folder, pause=0.05) as parent:
        assert parent.stdout is not None
        if parent.stdout.readline() != "block\n":
            raise AssertionError(f"a block must come first, found {parent.communicate()[1]}")
        os.killpg(parent.pid, signal.SIGINT)
        said, errors = parent.communicate(timeout=_END_SECONDS)
        if not set(said.splitlines()) <= {"block"}:
            raise AssertionError(f"standard output must be the script's own, found {said}")
        if not errors.startswith("Traceback") or errors.count("\nKeyboardInterrupt") != 1:
            raise AssertionError(f"only the parent must say that it was interrupted, found {errors}")
        _must_end(parent.pid, [])


def check_a_killed_parent_takes_its_workers(construct: str, folder: Path, *, pause: float) -> None:
    """No process that trains outlives its parent; ``pause`` seconds long are its blocks."""
    log = folder / "log"
    with _session(construct, folder, pause=pause) as parent:
        end = time.monotonic() + _START_SECONDS
        while not log.exists() and time.monotonic() < end:
            time.sleep(0.02)
        parent.kill()
        parent.communicate(timeout=_END_SECONDS)
        _must_end(parent.pid, [int(line.split()[0]) for line in log.read_text().splitlines()])


@contextmanager
def _session(construct: str, folder: Path, *, pause: float) -> Iterator[subprocess.Popen[str]]:
    """The script as the leader of a session, all of which is gone afterwards."""
    script = folder / "script.py"
    script.write_text(_SCRIPT.replace("{construct}", construct))
    with subprocess.Popen(
        [sys.executable, str(script), str(folder / "log"), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        try:
            yield parent
        finally:
            for pid in {parent.pid, *_members(parent.pid)}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _members(session: int) -> list[int]:
    """The live processes of a session."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if owner == str(session) and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def _must_end(session: int, workers: list[int]) -> None:
    """Soon there is none of these processes, or none of the session if none are named."""
    end = time.monotonic() + _END_SECONDS
    while left := (set(workers) & set(_live()) if workers else set(_members(session))):
        if time.monotonic() > end:
            raise AssertionError(f"no process must be left, found {sorted(left)}")
        time.sleep(0.05)


def _live() -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(stat.parent.name))
    return found
