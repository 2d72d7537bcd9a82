"""Running the command line in this process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clifftop.cli.entry import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that bad input must end in, and nothing on standard output."""
        assert self.code == 2
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert self.err.startswith("clifftop: ")
        return self.err.removeprefix("clifftop: ").rstrip("\n")


@pytest.fixture
def run(capsys) -> Callable[..., Ran]:
    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
