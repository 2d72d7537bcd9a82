"""Audits compute on one thread, and leave the caller's number as it was."""

import pytest
import torch

from clifftop.audit.threads import on_one_thread, one_thread


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread_within_and_three_after(three_threads):
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_also_after_an_error(three_threads):
    @on_one_thread
    def fails():
        assert torch.get_num_threads() == 1
        raise KeyError("seen")

    with pytest.raises(KeyError, match="seen"):
        fails()
    assert torch.get_num_threads() == 3
