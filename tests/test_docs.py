"""The pages keep up with the code."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "clifftop"
PRIVATE = {"cli", "files", "testing"}
MODULES = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
PUBLIC = sorted(name for name in MODULES - PRIVATE if not name.startswith("_"))


@pytest.fixture(scope="module")
def cli_reference():
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "scripts" / "cli_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_line_page_is_the_help(cli_reference):
    page = (DOCS / "cli.md").read_text()
    assert page == cli_reference.filled(page), "run: python scripts/cli_reference.py"


def test_a_stale_page_would_be_found(cli_reference):
    page = (DOCS / "cli.md").read_text()
    stale = page.replace("--sampling-prob FLOAT", "--sampling-probability FLOAT")
    assert stale != page
    assert cli_reference.filled(stale) == page


def test_every_command_is_on_its_page(cli_reference):
    page = (DOCS / "cli.md").read_text()
    commands = {name for name in cli_reference.app if not name.startswith("-")}
    assert set(re.findall(r"<!-- help: ([a-z]+) -->", page)) == commands


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_package_is_in_the_reference(module):
    reference = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    assert f".. automodule:: clifftop.{module}\n" in reference


def test_the_layers_of_the_page_are_the_contracts():
    page = (DOCS / "architecture.md").read_text()
    drawn = re.search(r"```text\n(cli\n.*?)```", page, flags=re.DOTALL)[1].split("\n")
    contract = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^layers = \[\n(.*?)\]", contract, flags=re.DOTALL | re.MULTILINE)[1]
    assert [line for line in drawn if line] == re.findall(r'"(.*?)"', listed)
