"""Results documents and their summaries, for the tests of analysis and report."""

import importlib.util
from pathlib import Path

import pytest

from clifftop.analysis.results import parse_results
from clifftop.analysis.summary import summarise


def _documents():
    path = Path(__file__).parent / "oracles" / "no_cliff_results.py"
    spec = importlib.util.spec_from_file_location("no_cliff_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def documents():
    """The module that makes results documents."""
    return _documents()


@pytest.fixture
def published_document(documents):
    return documents.published_document()


@pytest.fixture(scope="session")
def parse():
    return lambda document: parse_results(document, source="results.json", digest="0" * 64)


@pytest.fixture(scope="session")
def published(documents, parse):
    return summarise(parse(documents.published_document()))


@pytest.fixture(scope="session")
def several(documents, parse):
    """Five learning rates, thirty seeds; training without privacy diverges at the largest rate."""
    return summarise(parse(documents.synthetic_document(seeds=range(30))))
