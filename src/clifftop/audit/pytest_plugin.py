"""A pytest plugin: `assert_private` as a fixture, and what was audited at the end of the run.

Installed with the package (entry point ``pytest11``). It loads nothing of clifftop until a test asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_KEPT = pytest.StashKey[set[tuple[str, str]]]()
_LOST = re.compile(r"[\W_]")
"""What the name of an audit's file does not keep of its subject."""
_AUDIT = "clifftop audit"
"""The property of a test that holds an audit's line: it reaches the summary from other processes, too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--audit-save``."""
    parser.getgroup("clifftop", "privacy audits").addoption(
        "--audit-save",
        metavar="FOLDER",
        default=None,
        help="keep every audit as JSON in FOLDER/audits; where FOLDER holds the runs of a sweep, "
        "`clifftop report FOLDER` shows them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Nothing was audited yet."""
    config.stash[_KEPT] = set()
    folder = config.getoption("--audit-save")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise pytest.UsageError(f"--audit-save must name a folder, found the file {folder!r}; name another")


@pytest.fixture
def assert_private(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`clifftop.audit.assert_private`, whose audits the end of the run lists."""

    def audited(subject: Any, **settings: Any) -> Any:
        __tracebackhide__ = True
        from clifftop import audit

        try:
            report = audit.assert_private(subject, **settings)
        except audit.LeaksMore as error:
            _keep(request, error.report)
            raise
        _keep(request, report)
        return report

    return audited


def _keep(request: pytest.FixtureRequest, report: Any) -> None:
    document = report.document(_subject(request, report))
    claim = f" [{document.claim}]" if document.claim else ""
    line = f"{document.verdict}: {document.subject}{claim}: {document.reason}"
    request.node.user_properties.append((_AUDIT, line))
    folder = request.config.getoption("--audit-save")
    if folder is not None:
        document.save(Path(folder))


def _subject(request: pytest.FixtureRequest, report: Any) -> str:
    """The test's name, numbered where a file that was kept would be replaced by the next."""
    kept, name = request.config.stash[_KEPT], request.node.nodeid
    number, subject = 1, name
    while (file := (type(report).__name__, _LOST.sub("-", subject))) in kept:
        number += 1
        subject = f"{name} ({number})"
    kept.add(file)
    return subject


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line an audit."""
    lines = list(_lines(terminalreporter))
    if not lines:
        return
    terminalreporter.section("privacy audits")
    for line in lines:
        terminalreporter.write_line(line)


def _lines(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    """The audits of all tests; what is left of a test after its teardown has each of them once."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                yield from (line for name, line in report.user_properties if name == _AUDIT)
