"""The asking side: one process an engine, slices of steps in turn."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 600
"""Seconds after which an answer counts as failed."""
PAUSE = 0.02
"""Seconds between two slices, in which the threads of the one before stop spinning."""


class Failed(Exception):
    """An engine gave no answer, and this is why."""


class Worker:
    """The process of one engine on one task."""

    def __init__(self, python: str, task: str, engine: str, threads: int) -> None:
        self.engine = engine
        paths = [str(ROOT / "src"), str(ROOT / "benchmarks")]
        settings = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [python, "-m", "steps.worker", task, engine, str(threads)],
            env=os.environ
            | settings
            | {"PYTHONPATH": os.pathsep.join(paths), "TORCHINDUCTOR_COMPILE_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, what: str, *arguments: object) -> dict[str, Any]:
        """The answer.

        Raises:
            Failed: the engine raised, ended, or took too long.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None
        assert answers is not None
        try:
            requests.write(json.dumps([what, arguments]) + "\n")
            requests.flush()
        except BrokenPipeError:
            raise Failed(f"the process ended with code {self.process.wait()}") from None
        if not select.select([answers], [], [], PATIENCE)[0]:
            self.close()
            raise Failed(f"no answer in {PATIENCE} s")
        line = answers.readline()
        if not line:
            raise Failed(f"the process ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def interleaved(
    workers: list[Worker], seconds: dict[str, float], *, rounds: int, slice_seconds: float
) -> Any:
    """CPU and wall seconds a step: engine to one pair a round; every other round runs backwards.

    An engine that fails in a round is left out from there, its reason in the second result.
    """
    counts = {w.engine: max(1, round(slice_seconds / max(seconds[w.engine], 1e-6))) for w in workers}
    times: dict[str, list[dict[str, float]]] = {w.engine: [] for w in workers}
    failed: dict[str, str] = {}
    for index in range(rounds):
        for worker in workers if index % 2 == 0 else workers[::-1]:
            if worker.engine in failed:
                continue
            time.sleep(PAUSE)
            count = counts[worker.engine]
            try:
                answer = worker.ask("steps", count)
            except Failed as error:
                failed[worker.engine] = str(error)
                continue
            times[worker.engine].append({kind: value / count for kind, value in answer.items()})
    return times, failed
