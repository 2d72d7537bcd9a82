"""How far an audit is: said by a clock of its own, on a terminal and in a log, and not if it is short."""

import io
import re
import time

from clifftop.cli.audit.telling import told


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_a_line_now_and_then_from_an_audit_that_says_nothing():
    stream = io.StringIO()
    with told("checking my_audit:step", stream=stream, between=0.02) as tell:
        time.sleep(0.1)
        tell(0.5, "training")
        time.sleep(0.1)
    first, *_, last = stream.getvalue().splitlines()
    assert re.fullmatch(r"checking my_audit:step, \d+ s", first)
    assert re.fullmatch(r"50% training, \d+ s", last)


def test_a_terminal_is_left_as_it_was():
    stream = Terminal()
    with told("checking", stream=stream, before=0.02):
        time.sleep(0.1)
    shown, blank = stream.getvalue().split("\r")[1:3]
    assert re.fullmatch(r"checking, \d+ s", shown)
    assert blank == " " * len(shown)


def test_a_short_audit_says_nothing():
    for stream in (io.StringIO(), Terminal()):
        with told(stream=stream) as tell:
            tell(0.5, "training")
        assert stream.getvalue() == ""
