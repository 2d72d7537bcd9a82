"""How fast a sweep goes: right at once after a resume, fair to pauses, anew in each round of a search."""

from dataclasses import dataclass

import pytest

from clifftop.cli.pace import Pace


@dataclass(frozen=True)
class Told:
    steps_done: int
    runs_done: int = 0
    steps_total: int = 100_000


def told(*marks, total=100_000):
    pace = Pace()
    for at, steps, runs in marks:
        pace.tell(Told(steps, runs, total), at)
    return pace


def test_nothing_is_known_before_the_second_block():
    assert told().rates(1.0) is None
    pace = told((0.0, 500, 5))
    assert pace.rates(5.0) is None
    assert pace.seconds_left(5.0) is None


def test_what_was_done_before_is_in_no_pace():
    """Resumed at 90,000 steps: the pace is of the 200 steps seen since."""
    pace = told((0.0, 90_000, 900), (1.0, 90_100, 901), (2.0, 90_200, 902))
    assert pace.rates(2.0).steps == pytest.approx(100)
    assert pace.rates(2.0).runs == pytest.approx(1)
    assert pace.seconds_left(2.0) == pytest.approx(98)


def test_the_last_ten_seconds_count_for_the_pace_and_the_last_minute_for_the_end():
    slow = [(float(at), 10 * at, 0) for at in range(41)]
    fast = [(40.0 + at, 400 + 100 * at, 0) for at in range(1, 21)]
    pace = told(*slow, *fast)
    assert pace.rates(60.0).steps == pytest.approx(100)
    assert pace.seconds_left(60.0) == pytest.approx((100_000 - 2400) / (2400 / 60))


def test_time_left_runs_down_between_blocks():
    pace = told((0.0, 0, 0), (10.0, 1000, 0))
    assert pace.seconds_left(10.0) == pytest.approx(990)
    assert pace.seconds_left(14.0) == pytest.approx(986)


def test_long_blocks_have_a_pace():
    """One block in 30 s: there are never two within ten seconds."""
    pace = told((0.0, 0, 0), (30.0, 300, 1), (60.0, 600, 2))
    assert pace.rates(61.0).steps == pytest.approx(10)


def test_a_pace_falls_where_blocks_stop_coming():
    pace = told((0.0, 0, 0), (1.0, 100, 0), (2.0, 200, 0))
    assert pace.rates(9.0).steps == pytest.approx(100)
    assert pace.rates(102.0).steps == pytest.approx(100 / 101)
    assert pace.rates(1002.0).steps == pytest.approx(100 / 1001)


def test_each_round_of_a_search_starts_anew():
    pace = told((0.0, 0, 0), (1.0, 100, 1), total=100)
    pace.tell(Told(0, 0, 300), 2.0)
    assert pace.rates(2.0) is None
    pace.tell(Told(10, 0, 300), 3.0)
    assert pace.rates(3.0).steps == pytest.approx(10)
    pace.tell(Told(0, 0, 300), 4.0)  # a round of the same size
    assert pace.rates(4.0) is None


def test_many_blocks_a_second_take_little_memory():
    pace = Pace()
    for at in range(50_000):
        pace.tell(Told(at, 0), at / 100)
    assert len(pace._marks) < 300
    assert pace.rates(500.0).steps == pytest.approx(100, rel=0.05)
    assert pace.seconds_left(500.0) == pytest.approx(500, rel=0.05)


def test_done_is_no_time_left():
    assert told((0.0, 0, 0), (1.0, 100, 1), total=100).seconds_left(5.0) == 0
