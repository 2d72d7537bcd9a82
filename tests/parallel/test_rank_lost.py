"""A rank that dies or hangs: the others end with one clear line, in bounded time."""

import re
import signal

import pytest

FATES = {
    "killed": (signal.SIGKILL, 30, r".*(Connection (reset|closed) by peer|Broken pipe).*", 10),
    "hanging": (signal.SIGSTOP, 2, "Timed out waiting 2000ms for .*", 15),
}


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("lost", [0, 1])
def test_the_other_rank_says_so_in_one_line(job, rank_script, tmp_path, fate, lost):
    """Killed, its connection breaks at once; hanging, it is given up after the timeout."""
    sent, timeout, reason, limit = FATES[fate]
    with job(tmp_path, rank_script.add_up_for_ever, timeout, world_size=2) as running:
        running.wait_for("under-way")
        running.send(lost, sent)
        line, seconds = running.failure(1 - lost)
    assert re.fullmatch(
        f"clifftop.parallel.ranks.RankLost: rank {1 - lost} of 2: another rank must answer, found none "
        rf"\({reason}\); end all ranks and start them again from the last checkpoint",
        line,
    )
    assert seconds < limit
