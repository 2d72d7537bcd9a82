"""The process of one engine: reads requests as lines of JSON, answers likewise.

``python -m steps.worker TASK ENGINE THREADS`` with ``benchmarks`` on the path. What libraries print goes
to standard error. An engine that fails answers ``{"failed": reason}`` and goes on.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, TextIO

MEMORY = 14 << 30
"""Bytes of address space after which an engine counts as out of memory."""

PHASE_SECONDS = 0.3
"""CPU seconds that are spent on the parts of a step, at least."""


class Bench:
    """One engine on one task, and what may be asked of it."""

    def __init__(self, task: str, engine: str, threads: int) -> None:
        import torch

        from steps.tasks import TASKS

        torch.set_num_threads(threads)
        self.task, self.engine, self.subject = TASKS[task], engine, None

    def load(self) -> dict[str, Any]:
        """Build the engine; the resident bytes before its first step are where peaks are counted from."""
        from steps.base import Settings
        from steps.registry import build
        from steps.tasks import TASKS

        with contextlib.suppress(Exception):  # what it cannot do here, it need not do there
            small = build(self.engine, TASKS["tiny"], Settings())
            small.step()  # so that the engine's code is in memory already: what is counted is the model's
            small.step()
        self.subject = build(self.engine, self.task, Settings())
        gc.collect()
        self.resident = _resident()
        return {}

    def warm(self) -> dict[str, Any]:
        """The first steps, in which engines trace, compile and measure; then steady ones, for their peak."""
        _reset_peak()
        self.steps(2)
        first = _peak() - self.resident
        _reset_peak()
        seconds = self.steps(2)["wall"] / 2
        return {"first_peak": first, "peak": max(_peak() - self.resident, 0), "step_seconds": seconds}

    def steps(self, count: int) -> dict[str, float]:
        """CPU and wall seconds of ``count`` steps."""
        subject = self.subject
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            subject.advance()
            subject.step()
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}

    def check(self, path: str) -> dict[str, Any]:
        """Two steps without noise against the reference in a file; then the noise of the timed engine."""
        import torch

        from steps.reference import CHECK, STEPS, noise_found, noise_tolerance, relative_error
        from steps.registry import build

        expected = torch.load(path, weights_only=True)
        subject = build(self.engine, self.task, CHECK)
        before = {name: p.clone() for name, p in subject.parameters().items()}
        for _ in range(STEPS):
            subject.step()
        error = relative_error(expected, before, subject.parameters())
        del expected, before, subject
        noise = noise_found(self.subject)
        return {
            "error": error,
            "noise": noise,
            "noise_agrees": abs(noise - 1) <= noise_tolerance(self.subject),
        }

    def refer(self, path: str) -> dict[str, Any]:
        """Write the reference."""
        import torch

        from steps.reference import updates

        torch.save(updates(self.task), path)
        return {}

    def phases(self, rounds: int) -> dict[str, Any]:
        """Median milliseconds of CPU time and the FLOPs of each part of a step."""
        from steps.flops import counting

        for _, work in self.subject.phases():
            work()
        flops = {}
        for name, work in self.subject.phases():
            with counting() as counter:
                work()
            flops[name] = counter.get_total_flops()
        if not flops:
            return {"phases": {}}
        times: dict[str, list[float]] = {name: [] for name in flops}
        until = time.process_time() + PHASE_SECONDS
        while len(times[name]) < rounds or time.process_time() < until:
            for name, work in self.subject.phases():
                begin = time.process_time()
                work()
                times[name].append(time.process_time() - begin)
        parts = {
            name: {"cpu_ms": 1e3 * statistics.median(times[name]), "gflop": flops[name] / 1e9}
            for name in flops
        }
        return {"phases": parts, "parameters": sum(p.numel() for p in self.subject.parameters().values())}


def reason(error: BaseException) -> str:
    """One short line, with no path of this machine."""
    lines = str(error).strip().splitlines() or [""]
    words = [word for word in lines[0].split() if "/" not in word]
    return f"{type(error).__name__}: {' '.join(words)}"[:160]


def _status(field: str) -> int:
    """Bytes of a field of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def serve(task: str, engine: str, threads: int, requests: TextIO, answers: TextIO) -> None:
    """Answer until the requests end."""
    bench = None
    for line in requests:
        what, arguments = json.loads(line)
        try:
            bench = bench or Bench(task, engine, threads)
            answer = getattr(bench, what)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is its reason
            answer = {"failed": reason(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Keep standard output for the answers."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task, engine, threads = sys.argv[1:]
    serve(task, engine, int(threads), sys.stdin, answers)


if __name__ == "__main__":
    main()
