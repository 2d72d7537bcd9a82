"""Results folders and their reports for the tests of the report."""

import shutil
from pathlib import Path

import pytest

from clifftop.analysis.jsonio import dumps
from clifftop.analysis.summary import summarise
from clifftop.report import drawings
from clifftop.report.build import build_report


@pytest.fixture(scope="session")
def unpublished(documents, parse):
    """Poisson sampling, one learning rate, no published epsilons."""
    document = documents.synthetic_document(sampling="poisson", seeds=(1, 2, 3), lrs=(1.0,))
    for row in document["epsilons"]:
        row |= {"published": None, "fixed_order": None}
    return summarise(parse(document))


@pytest.fixture(scope="session")
def built(documents, tmp_path_factory):
    """The published study's folder with its report, to read only."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "results.json").write_bytes(dumps(documents.published_document()))
    build_report(folder)
    return folder


@pytest.fixture(scope="session")
def built_several(documents, tmp_path_factory):
    """A study of several learning rates with its report, to read only."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "results.json").write_bytes(dumps(documents.synthetic_document(seeds=range(1, 31))))
    every = drawings.drawings
    with pytest.MonkeyPatch.context() as patch:  # a chart takes a third of a second, and two are enough here
        few = ("frontier", "learning_rate")
        patch.setattr(drawings, "drawings", lambda material: [d for d in every(material) if d.name in few])
        build_report(folder)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """A copy of the published study's folder, to break."""
    return Path(shutil.copytree(built, tmp_path / "results"))
