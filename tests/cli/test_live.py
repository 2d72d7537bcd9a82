"""The live view: in a process of its own on a pseudo-terminal, and its pictures one by one."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clifftop.cli import live
from clifftop.cli.live import live_view
from clifftop.cli.live_panel import Moment, ending, line, panel
from clifftop.cli.pace import Rates
from clifftop.cli.process_memory import memory_in_use
from clifftop.lab.reading.scoreboard import Best, Scoreboard
from clifftop.lab.runner import Progress

SCRIPT = Path(__file__).with_name("live_script.py")
PROGRESS = Progress(
    runs_done=6144,
    runs_total=10_000,
    steps_done=640,
    steps_total=1000,
    cohorts_done=24,
    cohorts_total=40,
    cohort_runs=256,
    cohort_step=70,
    processes=1,
    seconds=60.0,
)
BEST = tuple(
    Best(epsilon=epsilon, setting={"lr": 0.1, "clip_norm": epsilon}, mean=0.9 + epsilon / 100, n=3)
    for epsilon in (0.50001, 1.0, 2.0, 4.0, 8.0)
)
MOMENT = Moment(
    progress=PROGRESS,
    rates=Rates(runs=81.23, steps=11_420.0),
    seconds=71.0,
    seconds_left=45.0,
    board=Scoreboard(counts={"done": 6141, "diverged": 3}, workers_lost=1, best=BEST),
    metric="accuracy",
    workers=2,
    memory=812 * 2**20,
)


def on_a_terminal(*arguments, columns=100, rows=30, interrupt=None, **environment):
    """Standard error on a pseudo-terminal: what was written there, on standard output, and the exit code.

    ``interrupt``: a text after which the process gets the signal of Ctrl-C.
    """
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=end,
        env=variables | {"TERM": "xterm-256color"} | environment,
    )
    os.close(end)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not piece:
                break
            written += piece
        if interrupt is not None and re.search(interrupt, written):
            process.send_signal(signal.SIGINT)
            interrupt = None
    os.close(terminal)
    out, _ = process.communicate(timeout=30)
    return written.decode(), out.decode(), process.returncode


def screen(written):
    """What a terminal shows after all of ``written``: enough of it for what rich writes."""
    lines, row = [""], 0
    for piece in re.split(r"(\x1b\[[0-9;?]*[a-zA-Z]|\r|\n)", written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\x1b[1A":
            row -= 1
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith(("\x1b", "\r")):
            lines[row] += piece
    return [text.rstrip() for text in lines if text.strip()]


def test_a_terminal_sees_the_sweep_go_and_keeps_one_line(tmp_path):
    written, out, code = on_a_terminal(tmp_path, 0.15, 8)
    assert (code, out) == (0, "done\n")
    for text in ("of 16", "of 8; 2 runs at step", "runs/s", "steps/s", "left", "of memory"):
        assert text in written
    assert "\x1b[" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back
    (last,) = screen(written)
    assert re.fullmatch(r"trained 16 of 16 runs \(8 diverged\) after 0:\d\d", last)


def test_an_interrupt_leaves_the_terminal_clean(tmp_path):
    written, out, code = on_a_terminal(tmp_path, 0.2, 20, interrupt=rb"of 40")
    assert code == -signal.SIGINT
    assert out == ""
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    first = screen(written)[0]
    assert re.fullmatch(r"stopped at \d+ of 40 runs( \(\d+ diverged\))? after 0:\d\d", first)
    again, _, code = on_a_terminal(tmp_path, 0.0, 20)
    assert code == 0
    assert screen(again)[-1].startswith("trained 40 of 40 runs (20 diverged)")


def test_no_colour_where_it_is_not_wanted(tmp_path):
    written, _, code = on_a_terminal(tmp_path, 0.1, 4, columns=40, rows=12, NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", written)
    drawn_over = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written).partition("trained")[0]
    assert max(map(len, re.split(r"[\r\n]+", drawn_over))) <= 40  # a line that wraps could not be drawn over


def test_a_dumb_terminal_gets_lines(tmp_path):
    written, out, code = on_a_terminal(tmp_path, 0.0, 4, TERM="dumb")
    assert (written, out, code) == ("", "done\n", 0)


def test_elsewhere_a_short_sweep_says_nothing(tmp_path):
    command = [sys.executable, SCRIPT, tmp_path, "0", "2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_elsewhere_there_is_a_line_now_and_then(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LINES", 0.0)
    with live_view(tmp_path, "accuracy") as show:
        show(PROGRESS)
        time.sleep(0.01)
        show(replace(PROGRESS, runs_done=7000, steps_done=700))
    first, second = stream.getvalue().splitlines()
    assert first == "training: 6,144 of 10,000 runs, 64% of the steps"
    assert second.startswith("training: 7,000 of 10,000 runs, 70% of the steps, ")
    assert second.endswith(" left")


def test_rounds_of_a_search_add_up(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LINES", 0.0)
    with live_view(tmp_path, "accuracy") as show:
        show(replace(PROGRESS, runs_done=8, runs_total=8, steps_done=80, steps_total=80))
        show(replace(PROGRESS, runs_done=0, runs_total=8, steps_done=20, steps_total=80))
        show(replace(PROGRESS, runs_done=4, runs_total=4, steps_done=40, steps_total=40))
    assert [text.split(",")[0] for text in stream.getvalue().splitlines()] == [
        "training: 8 of 8 runs",
        "training: 8 of 16 runs",
        "training: 20 of 20 runs",
    ]


def drawn(moment, *, width, height):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(panel(moment, width=width, height=height))
    return [text.rstrip() for text in console.file.getvalue().splitlines()]


def test_the_picture():
    shown = drawn(MOMENT, width=100, height=30)
    assert shown[0].endswith("64% 0:45 left")
    assert [" ".join(text.split()) for text in shown[1:]] == [
        "runs 6,144 of 10,000 (3 diverged)",
        "cohorts 24 of 40; 256 runs at step 70",
        "pace 81 runs/s, 11,400 steps/s over all runs",
        "time 1:11",
        "machine 1 worker lost, 2 workers, 812 MiB of memory",
        "",
        "epsilon best accuracy runs setting",
        "─" * len(shown[8]),
        "0.5001 0.9050 3 clip_norm=0.50001",
        "1 0.9100 3 clip_norm=1",
        "2 0.9200 3 clip_norm=2",
        "4 0.9400 3 clip_norm=4",
        "8 0.9800 3 clip_norm=8",
    ]


@pytest.mark.parametrize("width", [12, 20, 40, 60, 99])
@pytest.mark.parametrize("height", [5, 12, 24])
def test_the_picture_fits(width, height):
    shown = drawn(MOMENT, width=width, height=height)
    assert max(map(len, shown)) <= width
    assert len(shown) <= max(6, height)


def test_a_low_terminal_has_the_smallest_and_the_largest_epsilon():
    rows = [text.split()[0] for text in drawn(MOMENT, width=80, height=12)[-2:]]
    assert rows == ["0.5001", "8"]


def test_failures_are_told():
    moment = replace(MOMENT, board=replace(MOMENT.board, counts={"done": 1, "failed": 1200, "diverged": 1}))
    assert (
        ending(moment, stopped=False) == "trained 6,144 of 10,000 runs (1 diverged, 1,200 failed) after 1:11"
    )


def test_reading_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """A store that takes 20 ms to read is read once a second, and once more at the end."""
    reads = []

    def look(reader, since):
        reads.append(time.monotonic())
        time.sleep(0.02)
        return None, since

    monkeypatch.setattr(live, "_SECONDS_BETWEEN_READS", 0.001)
    monkeypatch.setattr(live._Reader, "_look", look)
    reader = live._Reader(tmp_path, "accuracy", live._View("accuracy", workers=None), maximize=None)
    reader.start()
    time.sleep(0.3)
    reader.stop()
    assert len(reads) == 2
    assert not reader._thread.is_alive()


def test_before_the_first_block():
    moment = replace(MOMENT, progress=None, rates=None, board=None)
    assert drawn(moment, width=80, height=24) == ["waiting for the first block, 1:11"]
    assert line(moment) == "training: waiting for the first block"
    assert ending(moment, stopped=True) == ""


def test_without_epsilons_there_is_no_such_column():
    best = tuple(replace(item, epsilon=None) for item in BEST)
    shown = drawn(replace(MOMENT, board=replace(MOMENT.board, best=best)), width=80, height=24)
    assert not any("epsilon" in text for text in shown)


def test_memory_counts_children():
    before = memory_in_use()
    if before is None:
        pytest.skip("the system does not tell")
    script = "x = bytearray(64 * 2**20); x[::4096] = b'1' * len(x[::4096]); input()"
    with subprocess.Popen(
        [sys.executable, "-c", f"print(1, flush=True); {script}"], stdin=-1, stdout=-1
    ) as child:
        deadline = time.monotonic() + 20
        while (grown := memory_in_use() - before) < 60 * 2**20 and time.monotonic() < deadline:
            time.sleep(0.05)
        child.communicate(b"\n")
    assert grown > 60 * 2**20
