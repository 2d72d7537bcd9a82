"""The rules of the house that a machine can check."""

import ast
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import clifftop

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAX_MODULE_LINES = 400
MAX_BODY_LINES = 40
WITHOUT_TORCH = ["", ".accounting", ".analysis", ".cli", ".datasets", ".events", ".sampling"]


def lint_imports(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the house in ``folder``, whose own ``src`` comes first."""
    program = "import sys; from importlinter.cli import lint_imports_command as c; sys.path[0] = 'src'; c()"
    command = [sys.executable, "-c", program, "--no-logo", "--no-cache", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def empty_house(tmp_path_factory) -> Path:
    """The real contracts over modules of the real names with nothing in them."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path in SOURCES:
        empty = folder / path.relative_to(ROOT)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    return folder


def test_the_layers_hold():
    ran = lint_imports(ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        ("layers", "lab/bad.py", "import clifftop.report"),
        ("layers", "clipping/bad.py", "import clifftop.noise"),
        ("layers", "new_room.py", ""),
        ("no-torch", "accounting/bad.py", "import torch"),
        ("testing-aside", "gradients/bad.py", "import clifftop.testing"),
        ("datasets-alone", "datasets/bad.py", "import clifftop.events"),
    ],
)
def test_a_broken_contract_is_found(empty_house, contract, module, statement):
    before = lint_imports(empty_house, "--contract", contract)
    bad = empty_house / "src/clifftop" / module
    bad.write_text(f"{statement}\n")
    after = lint_imports(empty_house, "--contract", contract)
    bad.unlink()
    assert (before.returncode, after.returncode) == (0, 1), before.stdout + after.stdout


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_starts_without_torch(module):
    program = f"import sys, clifftop{module}; sys.exit('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr or "torch was imported"


def test_one_version():
    assert clifftop.__version__ == PROJECT["project"]["version"]
    assert clifftop.__version__ == importlib.metadata.version("clifftop")
    assert f"## [{clifftop.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_one_licence():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_every_dependency_is_pinned():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = PROJECT["project"]
    wanted = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower() for requirement in wanted}
    assert names - {"clifftop"} <= pinned
    assert "torch==2.13.0" in lines


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(node) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_modules_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES
    long = {node.name: body_lines(node) for node in functions(path) if body_lines(node) >= MAX_BODY_LINES}
    assert not long


def test_names_of_test_files_are_unique():
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names))


def test_no_path_of_a_machine():
    """Nothing that is shipped names a folder of the machine that it was written on."""
    machine = re.compile(r"/(work|root|farm|tmp)/")
    shipped = [*SOURCES, *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
    shipped += [ROOT / name for name in ("README.md", "Makefile", "CONTRIBUTING.md", "CHANGELOG.md")]
    found = [path for path in shipped if machine.search(path.read_text())]
    assert not found


def test_the_makefile_has_what_the_readme_promises():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"study", "test", "check", "docs", "bench", "ci", "clean", "help"} <= targets


@pytest.mark.parametrize("required", [False, True])
def test_a_marked_test_cannot_skip_where_its_need_is_required(tmp_path, required):
    shutil.copy(ROOT / "conftest.py", tmp_path)
    marked = "@pytest.mark.{0}\ndef test_{0}():\n    pytest.skip('absent')\n"
    plain = "def test_plain():\n    pytest.skip('for another reason')\n"
    tests = ["import pytest\n", marked.format("browser"), marked.format("data"), plain]
    (tmp_path / "test_three.py").write_text("".join(tests))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  browser\n  data\n")
    variables = {"CLIFFTOP_REQUIRE_BROWSER": "1", "CLIFFTOP_REQUIRE_DATA": "1"}
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment | (variables if required else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == int(required), ran.stdout
    assert ("2 failed, 1 skipped" if required else "3 skipped") in ran.stdout
