"""Gaussian noise: nanoseconds a number, on one thread, beside what others draw with.

Every way is run in turn, in another order each round, and compared with ``torch.randn`` of the same
round. CPU time; the wall clock only where a background thread draws ahead. What each way must do at
least: 4 bytes of keystream a number (16 of AES a block), half a logarithm and root, one sine or cosine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from common import record
from torch import Tensor

from clifftop.noise import KeyedStreams, Secure, SecureStreams
from clifftop.noise.keystream import Keystreams

SIZES = (1_010, 26_010, 270_000, 7_000_000)
SEED = 2**127 + 12345

Work = Callable[[], object]


def main() -> None:
    """Measure draws, noise added to a gradient, and drawing ahead; print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, object] = {}
    for size in SIZES:
        figures[f"draw {size}"] = compare(drawers(size), size, options.rounds, base="torch.randn")
        figures[f"add to a gradient of {size}"] = compare(
            adders(size), size, options.rounds, base="p + std * torch.randn"
        )
    figures["wall clock of a step with 7000000 numbers"] = ahead()
    record("noise", figures)


def drawers(size: int) -> dict[str, Work]:
    """Ways to draw ``size`` standard normals."""
    out, words = torch.empty(1, size), np.empty(size, dtype=np.uint32)
    like = {"w": out}
    secure, keyed = SecureStreams([SEED]), KeyedStreams([SEED])
    streams, steps = Keystreams(), count()
    philox = np.random.Generator(np.random.Philox(1))
    return {
        "torch.randn": lambda: torch.randn(1, size),
        "clifftop Secure, in place": lambda: secure.normals_into(next(steps), out),
        "clifftop Secure": lambda: secure.flat_normals(next(steps), like),
        "clifftop Keyed": lambda: keyed.flat_normals(next(steps), like),
        "numpy Philox": lambda: philox.standard_normal(size, dtype=np.float32),
        "sum of four torch.normal, halved (Opacus, secure mode)": lambda: sum_of_four(size),
        "keystream alone": lambda: streams.at(seed=SEED, purpose="noise", step=next(steps)).fill(
            words, at_byte=0
        ),
    }


def adders(size: int) -> dict[str, Work]:
    """Ways to get a gradient with noise."""
    gradient, std = torch.zeros(1, size), torch.tensor([0.5])
    value = {"w": gradient}
    secure, keyed = SecureStreams([SEED]), KeyedStreams([SEED])
    steps = count()
    return {
        "p + std * torch.randn": lambda: torch.addcmul(gradient, std[:, None], torch.randn(1, size)),
        "clifftop Secure, in place": lambda: secure.add_into(next(steps), gradient, std),
        "clifftop Secure": lambda: secure.add_normals(next(steps), value, std),
        "clifftop Keyed": lambda: keyed.add_normals(next(steps), value, std),
    }


def sum_of_four(size: int) -> Tensor:
    """The arithmetic of Opacus' secure mode (Holohan and Braghin 2021), without its generator."""
    total = torch.zeros(1, size)
    for _ in range(4):
        total += torch.normal(0.0, 1.0, (1, size))
    return total / 2


def compare(ways: dict[str, Work], size: int, rounds: int, *, base: str) -> dict[str, object]:
    """Nanoseconds of CPU a number, the least and the median, and the median ratio to ``base`` over rounds."""
    repeats = max(1, 1_000_000 // size)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        order = list(ways) if turn % 2 else list(reversed(ways))
        for name in order:
            begin = time.process_time()
            for _ in range(repeats):
                ways[name]()
            if turn:  # the first round warms up
                seconds[name].append((time.process_time() - begin) / repeats)
    return {
        name: {
            "least_ns": round(min(times) / size * 1e9, 2),
            "ns": round(statistics.median(times) / size * 1e9, 2),
            "ratio": round(statistics.median(t / b for t, b in zip(times, seconds[base], strict=True)), 2),
        }
        for name, times in seconds.items()
    }


def ahead(size: int = 7_000_000, blocks: int = 5, steps: int = 5) -> dict[str, object]:
    """Wall milliseconds of a step that multiplies matrices and adds noise, by where noise is drawn.

    The ways take turns in blocks of steps; a block's first step, which nothing has drawn ahead, is left
    out. With one torch thread a second core may be idle; with two, none of two is.
    """
    matrix, std = torch.randn(1024, 1024), torch.tensor([0.5])
    value = {"w": torch.zeros(1, size)}
    kinds = {"none": None, "in the step": Secure(), "ahead": Secure(prefetch=True)}
    opened = {name: None if kind is None else kind.open([SEED]) for name, kind in kinds.items()}
    figures: dict[str, object] = {"load of the machine before": round(os.getloadavg()[0], 1)}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        wall: dict[str, list[float]] = {name: [] for name in kinds}
        for block in range(blocks):
            for name, streams in opened.items():
                for i in range(steps):
                    begin = time.perf_counter()
                    for _ in range(2 * threads):
                        torch.mm(matrix, matrix)
                    if streams is not None:
                        streams.add_normals(2 * block * steps + i, value, std)
                    if i:
                        wall[name].append(time.perf_counter() - begin)
        figures[f"{threads} torch threads, ms"] = {
            name: {"least": round(1e3 * min(times), 1), "median": round(1e3 * statistics.median(times), 1)}
            for name, times in wall.items()
        }
    torch.set_num_threads(1)
    return figures


if __name__ == "__main__":
    main()
