"""A pytest plugin: `assert_private` as a fixture, and what was audited at the end of the run.

Installed with the package (entry point ``pytest11``). It loads nothing of clifftop until a test asks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clifftop.audit.document import AuditDocument

_DOCUMENTS = pytest.StashKey[list["AuditDocument"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--audit-save``."""
    parser.getgroup("clifftop", "privacy audits").addoption(
        "--audit-save",
        metavar="FOLDER",
        default=None,
        help="keep every audit as JSON in FOLDER/audits; `clifftop report FOLDER` shows them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Nothing was audited yet."""
    config.stash[_DOCUMENTS] = []


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
    document = report.document(request.node.nodeid)
    request.config.stash[_DOCUMENTS].append(document)
    folder = request.config.getoption("--audit-save")
    if folder is not None:
        document.save(Path(folder))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line an audit."""
    documents = config.stash[_DOCUMENTS]
    if not documents:
        return
    terminalreporter.section("privacy audits")
    for document in documents:
        claim = f" [{document.claim}]" if document.claim else ""
        terminalreporter.write_line(f"{document.verdict}: {document.subject}{claim}: {document.reason}")
